"""The language model's and the classifier's heads."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF, KINDS, VOCAB_SIZE, architecture, batch, normal, random_variables, real_lengths
from textclf_jax.config.schema import ClassificationHead, MlmHead
from textclf_jax.kernels.cross_entropy import LOGITS_AT_ONCE
from textclf_jax.kernels.precision import FULL
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier

IDS, LENGTHS = batch((9, 4), 9)
POSITIONS = np.array([1, 5, 8, 9, 11, 0, 0], np.int32)  # of the flattened batch; the last two are padding
CONFIG = architecture(num_layers=1)


def language_model(config=CONFIG, precision=FULL, **head):
    module = MaskedLanguageModel(config, MlmHead(**head), VOCAB_SIZE, precision)
    return module, random_variables(module, IDS, LENGTHS)


def classifier(precision=FULL, **head):
    module = SequenceClassifier(CONFIG, ClassificationHead(num_labels=3, **head), VOCAB_SIZE, precision)
    return module, random_variables(module, IDS, LENGTHS)


@pytest.mark.parametrize("head", [{}, {"tie_mlm_weights": False}, {"decoder_bias": True}])
def test_decoding_some_positions_equals_decoding_all(head):
    """Logits at these positions, and the gradients of a loss that looks at them alone."""
    module, variables = language_model(**head)
    weights = normal((len(POSITIONS), VOCAB_SIZE))

    def few(variables):
        logits: Any = module.apply(variables, IDS, LENGTHS, POSITIONS)
        return (logits * weights).sum(), logits

    def all_of_them(variables):
        logits: Any = module.apply(variables, IDS, LENGTHS)
        logits = logits.reshape(-1, VOCAB_SIZE)[POSITIONS]
        return (logits * weights).sum(), logits

    @jax.jit
    def both(variables):
        return [jax.value_and_grad(way, has_aux=True)(variables) for way in (few, all_of_them)]

    ((_, logits), gradients), ((_, expected), expected_gradients) = both(variables)
    assert logits.shape == (len(POSITIONS), VOCAB_SIZE)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradients, expected_gradients)


@pytest.mark.parametrize("head", [{}, {"tie_mlm_weights": False}, {"decoder_bias": True}])
def test_losses_and_gradients_do_not_depend_on_how_many_logits_are_held(head, monkeypatch):
    module, variables = language_model(**head)
    targets, weights = np.array([3, 1, 4, 1, 5, 0, 0]), normal((len(POSITIONS),))

    def losses_and_gradients(at_once):
        monkeypatch.setitem(LOGITS_AT_ONCE, "cpu", at_once)

        def weighted(variables):
            found, hits = module.apply(variables, IDS, LENGTHS, POSITIONS, targets)  # pyright: ignore[reportGeneralTypeIssues]
            return (found * weights).sum(), (found, hits)

        return jax.jit(jax.value_and_grad(weighted, has_aux=True))(variables)

    found, expected = losses_and_gradients(1), losses_and_gradients(np.inf)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_tied_weights_decode_with_the_embeddings_and_teach_all_of_them():
    module, variables = language_model()
    assert "decoder" not in variables["params"]

    def loss(variables):
        logits: Any = module.apply(variables, IDS, LENGTHS)
        return jax.nn.logsumexp(logits, axis=-1).sum()

    gradient = jax.jit(jax.grad(loss))(variables)
    by_row = np.abs(gradient["params"]["encoder"]["embeddings"]["word"]["embedding"]).max(axis=1)
    assert (by_row > 0).all(), "words that do not occur, and PAD, learn from the decoder"


def test_decoder_bias_is_added():
    module, variables = language_model(decoder_bias=True)
    without = {"params": {name: value for name, value in variables["params"].items() if name != "decoder_bias"}}
    difference = jax.jit(module.apply)(variables, IDS, LENGTHS) - jax.jit(language_model()[0].apply)(
        without, IDS, LENGTHS
    )
    np.testing.assert_allclose(
        difference, np.broadcast_to(variables["params"]["decoder_bias"], difference.shape), atol=1e-5
    )


def test_logits_are_float32_in_half_precision():
    for module, variables in (language_model(precision=HALF), classifier(precision=HALF)):
        assert jax.eval_shape(module.apply, variables, IDS, LENGTHS).dtype == jnp.float32


@pytest.mark.parametrize("pooler_type", [None, "bert", "roberta"])
def test_classifier_by_its_definition(pooler_type):
    """Dense and tanh where there is a pooler, then the linear layer, on the mean of the real tokens."""
    module, variables = classifier(pooler_type=pooler_type, pooling="mean")
    params = jax.tree.map(np.float64, variables["params"])
    assert ("pooler" in params) == (pooler_type is not None)
    both = jax.jit(partial(module.apply, method=lambda model, *inputs: (model(*inputs), model.encoder(*inputs))))
    logits, hidden = (np.asarray(out, np.float64) for out in both(variables, IDS, LENGTHS))
    pooled = np.stack([row[:length].mean(axis=0) for row, length in zip(hidden, LENGTHS, strict=True)])
    if pooler_type:
        pooled = np.tanh(pooled @ params["pooler"]["kernel"] + params["pooler"]["bias"])
    expected = pooled @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("pooler_type", [None, "bert", "roberta"])
def test_classifier_dropout_is_for_training_alone(pooler_type):
    module, variables = classifier(pooler_type=pooler_type, classifier_dropout=0.5)
    run = jax.jit(module.apply, static_argnames="train")
    a, b = ({"dropout": jax.random.key(seed)} for seed in (0, 1))
    first, other = (run(variables, IDS, LENGTHS, train=True, rngs=rngs) for rngs in (a, b))
    assert np.abs(first - other).max() > 0
    np.testing.assert_array_equal(run(variables, IDS, LENGTHS, rngs=a), run(variables, IDS, LENGTHS, rngs=b))


def assert_finite_beside_a_row_of_padding(config, head):
    """Logits, and gradients of a loss that gives such a row no weight, as for the rows that fill up a batch."""
    lengths = real_lengths(9, 0)
    ids = np.where(np.arange(9) < lengths[:, None], IDS, 0)
    module = SequenceClassifier(config, head, VOCAB_SIZE)

    def loss(variables):
        logits: Any = module.apply(variables, ids, lengths)
        losses = jax.nn.logsumexp(logits, axis=-1) - logits[:, 0]
        return (losses * jnp.array([1.0, 0.0])).sum(), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(random_variables(module, ids, lengths))
    for leaf in (logits, *jax.tree.leaves(gradients)):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_padding_is_finite_with_every_attention(kind):
    head = ClassificationHead(num_labels=3, pooling="max")
    assert_finite_beside_a_row_of_padding(architecture(kind, num_layers=1), head)


@pytest.mark.parametrize("pooling", ["cls", "mean", "min", "strided_mean"])
def test_a_row_of_padding_is_finite_with_every_pooling(pooling):
    head = ClassificationHead(num_labels=3, pooling=pooling, pooler_type=None)
    assert_finite_beside_a_row_of_padding(CONFIG, head)
