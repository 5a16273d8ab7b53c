"""Temperatures against scipy's minimiser, and the promise of a limit over random splits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import chi2

from textclf_jax.errors import UserError
from textclf_jax.evaluation.confidence import (
    RIDGE,
    fit_temperature,
    limit_errors,
    stored_temperature,
    top_class,
)
from textclf_jax.tasks.metrics import class_probabilities


def drawn(rows: int, seed: int, scale: float = 1.0):
    """Logits, and labels that are drawn by the probabilities of these logits divided by `scale`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4)) * 2 * scale
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits / scale, axis=1)])
    return logits, labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_has_the_lowest_loss(scale):
    logits, labels = drawn(400, seed=1, scale=scale)

    def loss(inverse):
        nll = -log_softmax(inverse * logits, axis=1)[np.arange(len(labels)), labels].mean()
        return nll + RIDGE / (2 * len(labels)) * (inverse - 1) ** 2

    best = minimize_scalar(loss, bounds=(1e-3, 20), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(logits, labels) == pytest.approx(1 / best.x, rel=1e-5)


def test_many_rows_tell_the_temperature_that_made_them():
    logits, labels = drawn(20_000, seed=2, scale=3.0)
    assert fit_temperature(logits, labels) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("logits", [np.zeros((0, 3)), np.full((4, 3), np.nan)])
def test_without_rows_or_numbers_the_temperature_is_one(logits):
    assert fit_temperature(logits, np.zeros(len(logits), np.int64)) == 1.0


def test_rows_without_a_mistake_do_not_make_it_certain():
    logits = np.eye(3).repeat(4, axis=0)
    labels = np.arange(3).repeat(4)
    assert 0.05 < fit_temperature(logits, labels) < 1.0
    # and a model that says the opposite of the truth is hardly trusted
    assert fit_temperature(-logits, labels) > 1.0


@pytest.mark.parametrize(("scale", "is_kept"), [(1.0, False), (1.02, False), (2.0, True), (0.5, True)])
def test_a_temperature_that_may_be_chance_is_not_kept(scale, is_kept):
    """By the likelihood-ratio test; of the 300 rows."""
    logits, labels = drawn(300, seed=3, scale=scale)
    fitted = fit_temperature(logits, labels)
    losses = [-log_softmax(logits / t, axis=1)[np.arange(300), labels].sum() for t in (1.0, fitted)]
    assert (2 * (losses[0] - losses[1]) > chi2.ppf(0.95, df=1)) == is_kept
    assert stored_temperature(logits, labels) == {"temperature": fitted if is_kept else 1.0}
    assert stored_temperature(np.full((4, 3), np.inf), np.zeros(4, np.int64)) == {"temperature": 1.0}


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_no_label_changes_and_the_loss_never_rises(seed, scale):
    logits, labels = drawn(60, seed, scale)
    temperature = fit_temperature(logits, labels)
    classes, confidence = top_class(logits, temperature)
    assert (classes == logits.argmax(axis=1)).all()
    np.testing.assert_allclose(confidence, softmax(logits / temperature, axis=1).max(axis=1), rtol=1e-12)

    def loss(t):
        return -log_softmax(logits / t, axis=1)[np.arange(len(labels)), labels].mean()

    assert loss(temperature) <= loss(1.0) + 1e-12


def test_probabilities_do_not_overflow():
    extreme = np.array([[1e4, -1e4, 0.0]])
    np.testing.assert_allclose(class_probabilities(extreme), [[1, 0, 0]])


def test_the_threshold_allows_as_many_mistakes_as_the_limit():
    confidence = np.linspace(0.5, 0.99, 99)
    is_right = np.arange(99) % 3 > 0  # 33 of 99 are wrong
    found = limit_errors(confidence, is_right, 0.1)
    # (w + 1) / 100 <= 0.1: nine wrong answers
    answered = confidence > found.threshold
    assert (answered & ~is_right).sum() == 9
    assert found.threshold in confidence[~is_right]
    assert (found.rows, found.answered, found.wrong) == (99, answered.mean(), 9 / 99)


def test_all_is_answered_where_the_limit_allows_all_mistakes():
    confidence, is_right = np.linspace(0.3, 0.9, 50), np.arange(50) > 2
    assert limit_errors(confidence, is_right, 0.2)[1:] == (0.0, 50, 1.0, 3 / 50)


def test_ties_with_the_threshold_are_not_answered():
    confidence = np.full(40, 0.8)
    assert limit_errors(confidence, np.arange(40) % 2 > 0, 0.1).answered == 0.0


def test_too_few_rows_for_a_limit_are_refused_and_just_enough_are_not():
    with pytest.raises(UserError, match="18 rows: 19 or more are needed"):
        limit_errors(np.full(18, 0.9), np.ones(18, bool), 0.05)
    assert limit_errors(np.full(19, 0.9), np.ones(19, bool), 0.05).answered == 1.0


def test_the_limit_holds_on_average_over_random_splits():
    rng = np.random.default_rng(5)
    confidence = rng.beta(4, 1, size=6000)
    is_right = rng.random(6000) < confidence
    shares = []
    for _ in range(200):
        rows = rng.permutation(6000)
        limit = limit_errors(confidence[rows[:200]], is_right[rows[:200]], 0.05)
        rest = rows[200:]
        shares.append(((confidence[rest] > limit.threshold) & ~is_right[rest]).mean())
    spread = np.std(shares) / math.sqrt(len(shares))
    assert np.mean(shares) < 0.05 + 3 * spread
    assert np.mean(shares) > 0.03  # and it is not kept by answering nothing
