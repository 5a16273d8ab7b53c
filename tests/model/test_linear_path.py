"""The linear path's logits against float64 numpy."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests import tiny
from textclf_jax.config.schema import Architecture, ClassificationHead
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.model.heads import SequenceClassifier
from textclf_jax.model.linear_path import LinearPath

FEATURES, CLASSES = 50, 3


def drawn_variables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    idf = rng.uniform(1, 5, FEATURES) * (rng.random(FEATURES) < 0.8)
    arrays = {"table": rng.normal(size=(FEATURES, CLASSES)), "bias": rng.normal(size=CLASSES), "idf": idf}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return arrays | {"weights": np.float32([0.7, 0.4]), "keys": np.zeros((FEATURES, 2), np.uint32)}


def logits_by_numpy(variables, ids, values) -> np.ndarray:
    rows = []
    for row, value in zip(ids, values.astype(np.float64), strict=True):
        features = np.zeros(FEATURES)
        features[row[value > 0]] = value[value > 0]
        features *= variables["idf"]
        features /= np.linalg.norm(features) or 1.0
        rows.append(features @ variables["table"] + variables["bias"])
    return np.stack(rows)


def drawn_ngrams(rows: int = 4, width: int = 10):
    rng = np.random.default_rng(1)
    ids = np.stack([rng.choice(FEATURES, width, replace=False) for _ in range(rows)]).astype(np.int32)
    values = rng.uniform(1, 3, ids.shape).astype(np.float32)
    values[1, 4:] = values[2] = 0.0  # padding, and a text without n-grams
    return ids, values


def test_logits_are_those_of_the_normalised_features():
    variables, (ids, values) = drawn_variables(), drawn_ngrams()
    found: Any = LinearPath(CLASSES, FEATURES).apply({LINEAR: variables}, ids, values)
    np.testing.assert_allclose(found, logits_by_numpy(variables, ids, values), rtol=1e-5)
    np.testing.assert_allclose(found[2], variables["bias"])


def test_a_classifier_gives_both_parts_in_evaluation_and_the_encoder_alone_in_training():
    head = ClassificationHead.model_validate(
        {"num_labels": CLASSES, "linear": {"enabled": True, "max_features": FEATURES}}
    )
    module = SequenceClassifier(Architecture.model_validate(tiny.architecture()), head, tiny.VOCAB_SIZE)
    ids, lengths = jnp.full((4, 8), 7), jnp.array([8, 5, 8, 3])
    drawn: Any = jax.jit(module.init)(jax.random.key(0), ids, lengths)
    assert drawn[LINEAR][LINEAR_PATH]["weights"].tolist() == [0.5, 0.5]
    variables = {"params": drawn["params"], LINEAR: {LINEAR_PATH: drawn_variables()}}
    batch: Any = {"input_ids": ids, "lengths": lengths, "targets": jnp.array([0, 1, 2, 0])}
    losses: Any = jax.jit(partial(module.apply, train=False, method=SequenceClassifier.losses))
    _, alone = losses(variables, batch)
    ngram_ids, values = drawn_ngrams()
    batch |= {"ngram_ids": ngram_ids, "ngram_values": values}
    (loss, hits), parts = losses(variables, batch)
    beside = logits_by_numpy(variables[LINEAR][LINEAR_PATH], ngram_ids, values)
    expected = [np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))) for logits in (alone, beside)]
    np.testing.assert_allclose(parts, np.stack(expected, axis=1), rtol=1e-4, atol=1e-5)
    mixed = 0.7 * expected[0].astype(np.float64) + 0.4 * expected[1]
    true = np.take_along_axis(mixed, np.array([[0], [1], [2], [0]]), axis=1)[:, 0]
    np.testing.assert_allclose(loss, np.log(np.exp(mixed).sum(axis=1)) - true, rtol=1e-4)
    assert hits.tolist() == (mixed.argmax(axis=1) == [0, 1, 2, 0]).tolist()
