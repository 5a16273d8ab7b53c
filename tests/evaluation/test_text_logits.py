"""The logits of a text: the same to the bit with whatever other texts, and nearly the same in bfloat16."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from textclf_jax.evaluation import prediction
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.kernels.precision import Precision


def texts_of(count: int, seed: int) -> list[str]:
    """Texts of all lengths, some of them cut."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"word{i}" for i in rng.integers(0, 60, rng.integers(0, 40))) for _ in range(count)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "architecture": tiny.architecture(attention={"kind": "favor"}, pos_encoding="rope"),
            "classification_head": {"num_labels": 3, "pooling": "mean"},
        },
    ],
    ids=["softmax", "favor"],
)
def test_an_answer_does_not_depend_on_the_other_texts(tmp_path, changes):
    predictor = Predictor(tiny.untrained(tmp_path, **changes))
    mine = texts_of(20, seed=0)
    alone = [next(predictor([text])).probabilities for text in mine]
    rng = np.random.default_rng(1)
    for seed in range(5):
        others = texts_of(150, seed=10 + seed)
        places = rng.choice(len(others), len(mine), replace=False)
        for place, text in zip(places, mine, strict=True):
            others[place] = text
        found = list(predictor(others))
        np.testing.assert_array_equal([found[place].probabilities for place in places], alone)
    # several threads, each with a batch
    predictor._logits._threads = 3
    for answer, before in zip(predictor(others), found, strict=True):
        np.testing.assert_array_equal(answer.probabilities, before.probabilities)


def test_all_at_once_the_answers_are_nearly_the_same(tmp_path):
    folder, texts = tiny.untrained(tmp_path), texts_of(100, seed=0)
    expected, found = ([p.probabilities for p in Predictor(folder, batched=b)(texts)] for b in (False, True))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_in_bfloat16_labels_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "compute_precision", lambda _: Precision(jnp.float32, jnp.bfloat16))
    folder, texts = tiny.untrained(tmp_path), texts_of(200, seed=0)
    rounded, full = ([*Predictor(folder, full_precision=full)(texts)] for full in (False, True))
    differences = [np.abs(a.probabilities - b.probabilities).max() for a, b in zip(rounded, full, strict=True)]
    assert 0 < max(differences) < 0.02
    # an untrained model is seldom sure: where it is, the labels are the same
    for a, b, difference in zip(rounded, full, differences, strict=True):
        best, second = np.sort(b.probabilities)[[-1, -2]]
        assert a.label == b.label or best - second <= 2 * difference
    assert np.mean([a.label == b.label for a, b in zip(rounded, full, strict=True)]) > 0.95
