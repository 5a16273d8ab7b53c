"""The weights of encoder and linear path against scipy's minimum; what few or easy rows make of them."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.metrics import f1_score

from textclf_jax.evaluation.mixing import RIDGE, fit_weights, mix, mixture, score_of_both, score_of_parts, weights_in


def drawn(count: int, *, encoder: float, linear: float, classes: int = 4, seed: int = 0):
    """Parts that know the class as well as these factors say, and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    truth = np.eye(classes)[labels]
    parts = [log_softmax(size * truth + rng.normal(size=truth.shape), axis=1) for size in (encoder, linear)]
    return np.stack(parts, axis=1).astype(np.float32), labels


def drawn_with_several(count: int, *, encoder: float, linear: float, classes: int = 4, seed: int = 0):
    """Log odds of parts, and labels of 0 and 1 that any number of classes have."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, classes)) < 0.3).astype(np.uint8)
    parts = [size * (2.0 * labels - 1) + rng.normal(size=labels.shape) for size in (encoder, linear)]
    return np.stack(parts, axis=1).astype(np.float32), labels


def loss_of(logits, labels) -> float:
    """In nats."""
    if labels.ndim == 1:
        return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
    return -np.log(np.where(labels == 1, expit(logits), expit(-logits))).mean()


def by_scipy(parts, labels) -> np.ndarray:
    def objective(weights):
        loss = loss_of((parts.astype(np.float64) * weights[:, None]).sum(axis=1), labels)
        return loss + RIDGE / (2 * len(labels)) * ((weights - 0.5) ** 2).sum()

    exact = {"ftol": 1e-15, "gtol": 1e-10}
    return minimize(objective, [0.5, 0.5], method="L-BFGS-B", jac="3-point", bounds=[(0, None)] * 2, options=exact).x


@pytest.mark.parametrize(
    ("count", "encoder", "linear"),
    [(500, 2.0, 1.5), (500, 3.0, 0.0), (30, 1.0, 2.0), (500, 2.0, -1.0), (500, -1.0, -2.0), (7, 1.0, 1.0)],
)
@pytest.mark.parametrize("draw", [drawn, drawn_with_several])
def test_weights_are_at_the_minimum_of_the_loss(draw, count, encoder, linear):
    parts, labels = draw(count, encoder=encoder, linear=linear)
    found = fit_weights(parts, labels)
    assert found.dtype == np.float32
    assert found.min() >= 0
    np.testing.assert_allclose(found, by_scipy(parts, labels), atol=2e-4)


@pytest.mark.parametrize("count", [1, 3, 20, 1000])
def test_rows_without_a_mistake_give_no_absurd_weights(count):
    """There the loss alone has no minimum."""
    parts, labels = drawn(count, encoder=30.0, linear=20.0)
    assert (mix(parts, np.ones(2)).argmax(axis=1) == labels).all()
    assert 0 <= fit_weights(parts, labels).min() <= fit_weights(parts, labels).max() < 2


def test_many_rows_count_more_than_the_ridge():
    """Scores of a factor s for the true class and noise of variance 1 weigh s, by Bayes."""
    parts, labels = drawn(2000, encoder=0.0, linear=3.0)
    np.testing.assert_allclose(fit_weights(parts, labels), [0.0, 3.0], atol=0.25)


def test_nothing_to_fit_gives_equal_weights():
    parts, labels = drawn(5, encoder=1.0, linear=1.0)
    assert fit_weights(parts[:0], labels[:0]).tolist() == [0.5, 0.5]
    parts[2, 0, 1] = np.nan
    assert fit_weights(parts, labels).tolist() == [0.5, 0.5]


def test_a_mixture_tells_of_its_parts():
    parts, labels = drawn(200, encoder=2.0, linear=1.0)
    weights = fit_weights(parts, labels)
    mixed = mixture(parts, labels, weights)
    expected = log_softmax((parts.astype(np.float64) * weights[:, None]).sum(axis=1), axis=1)
    np.testing.assert_allclose(mixed.loss, -expected[np.arange(200), labels].mean())
    assert mixed.metrics["encoder_accuracy"] == (parts[:, 0].argmax(axis=1) == labels).mean()
    assert mixed.loss < min(mixed.metrics["encoder_loss"], mixed.metrics["linear_loss"])
    found = weights_in(mixed.metrics)
    assert found is not None
    assert found.tobytes() == weights.tobytes()
    assert weights_in({"loss": 1.0}) is None


def test_a_mixture_of_several_labels_tells_of_its_parts():
    parts, labels = drawn_with_several(200, encoder=1.5, linear=1.0)
    weights = fit_weights(parts, labels)
    mixed = mixture(parts, labels, weights)
    logits = (parts.astype(np.float64) * weights[:, None]).sum(axis=1)
    np.testing.assert_allclose(mixed.logits, logits)
    np.testing.assert_allclose(mixed.loss, loss_of(logits, labels))
    for i, name in enumerate(("encoder", "linear")):
        expected = f1_score(labels, parts[:, i] > 0, average="micro")
        np.testing.assert_allclose(mixed.metrics[f"{name}_f1_micro"], expected)
        np.testing.assert_allclose(mixed.metrics[f"{name}_loss"], loss_of(parts[:, i].astype(np.float64), labels))
    assert mixed.loss < min(mixed.metrics["encoder_loss"], mixed.metrics["linear_loss"])
    assert score_of_parts(mixed.metrics) == "f1_micro"
    figures = {**mixed.metrics, "f1_micro": 0.8}
    assert score_of_both(figures) == 0.8
    assert score_of_both({**figures, "f1_micro_at_half": 0.7}) == 0.7, "that of the parts"
