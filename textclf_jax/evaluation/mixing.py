"""Encoder and linear path together: a weighted sum of what both say, with weights from the validation split.

All arithmetic is float64 numpy on the host.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.model.linear_path import EQUAL_WEIGHT
from textclf_jax.tasks.multi_label import AT_HALF, label_probabilities, predicted_labels

Parts = Float[np.ndarray, "N 2 C"]  # `log_scores` of the encoder and of the linear path
Weights = Float[np.ndarray, " 2"]  # of the same two
Labels = Int[np.ndarray, " N"] | UInt8[np.ndarray, "N C"]  # true classes; of several labels a text 0 and 1

PART_NAMES = ("encoder", "linear")
SCORES = ACCURACY, F1 = "accuracy", "f1_micro"  # of one label a text, and of several
# the weights are drawn towards equal ones as if by a row with this curvature: rows that both parts classify without a
# mistake, or a few rows, say nothing of how far to trust them
RIDGE = 1.0
MAX_ITERATIONS, PRECISION = 100, 1e-10


class Mixture(NamedTuple):
    """Both parts together on a split.

    Attributes:
      logits: [N, C].
      loss: mean cross-entropy in nats; with several labels a text mean binary cross-entropy.
      metrics: `encoder_` and `linear_` `accuracy` (with several labels a text `f1_micro`, at the threshold 0.5), `loss`
        and `weight`.
    """

    logits: Float[np.ndarray, "N C"]
    loss: float
    metrics: dict[str, float]


def mixture(parts: Parts, labels: Labels, weights: Weights) -> Mixture:
    """Mixes the parts on rows of known classes; where they are not finite, every figure is NaN."""
    logits, metrics = mix(parts, weights), {}
    for i, name in enumerate(PART_NAMES):
        metrics |= {f"{name}_{figure}": value for figure, value in _figures(parts[:, i], labels).items()}
        metrics[f"{name}_weight"] = float(weights[i])
    return Mixture(logits, _figures(logits, labels)["loss"], metrics)


def mix(parts: Parts, weights: Weights) -> Float[np.ndarray, "N C"]:
    """The logits of both parts together."""
    return (parts.astype(np.float64) * weights.astype(np.float64)[:, None]).sum(axis=1)


def weights_of(variables: Any) -> Weights:
    """The weights in a model's variables."""
    return np.asarray(variables[LINEAR][LINEAR_PATH]["weights"])


def with_weights(variables: dict[str, Any], weights: Weights | None) -> dict[str, Any]:
    """A model's variables with other weights; with None as they are."""
    if weights is None:
        return variables
    return {**variables, LINEAR: {LINEAR_PATH: {**variables[LINEAR][LINEAR_PATH], "weights": weights}}}


def weights_in(metrics: dict[str, float]) -> Weights | None:
    """The weights among the metrics of an evaluation; None of a model without a linear path."""
    names = [f"{name}_weight" for name in PART_NAMES]
    return np.array([metrics[name] for name in names], np.float32) if names[0] in metrics else None


def score_of_parts(metrics: Mapping[str, float]) -> str | None:
    """The score that metrics have of both parts, "accuracy" or "f1_micro"; None of a model without a linear path."""
    return next((score for score in SCORES if f"{PART_NAMES[0]}_{score}" in metrics), None)


def score_of_both(metrics: Mapping[str, float]) -> float:
    """The same score of the mixture: at the threshold 0.5, as that of its parts."""
    score = score_of_parts(metrics)
    return metrics[f"{score}{AT_HALF}"] if f"{score}{AT_HALF}" in metrics else metrics[str(score)]


def figures_of_parts(metrics: dict[str, float]) -> dict[str, Any]:
    """What a saved model tells of its parts: validation scores. Nothing without a linear path."""
    score = score_of_parts(metrics)
    if score is None:
        return {}
    return {"parts": {score: score_of_both(metrics)} | {f"{n}_{score}": metrics[f"{n}_{score}"] for n in PART_NAMES}}


def fit_weights(parts: Parts, labels: Labels) -> Weights:
    """The weights, at least 0, that minimise the loss of the mixture, and a ridge around equal ones.

    The function is convex. Newton's method finds its minimum; where that is beyond an axis, the minimum on the axes.

    Args:
      parts: [N, 2, C].
      labels: [N] true classes, or [N, C].

    Returns:
      [2] float32: equal weights where there are no rows, or numbers that are not finite.
    """
    equal = np.full(2, EQUAL_WEIGHT)
    if not len(parts) or not np.isfinite(parts).all():
        return equal.astype(np.float32)
    both = _minimum(parts, labels, equal, np.ones(2))
    if both.min() >= 0:
        return both.astype(np.float32)
    on_axes = [np.maximum(_minimum(parts, labels, equal * free, free), 0.0) for free in np.eye(2)]
    return min(on_axes, key=lambda weights: _objective(parts, labels, weights)).astype(np.float32)


def _minimum(parts: Parts, labels: Labels, start: Weights, free: Weights) -> Weights:
    """Newton's method with halved steps, for the weights that are `free` (1, others 0)."""
    weights, parts = start, parts.astype(np.float64)
    for _ in range(MAX_ITERATIONS):
        gradient, curvature = _derivatives(parts, labels, weights)
        # those that are not free stay
        step = np.linalg.solve(curvature * np.outer(free, free) + np.diag(1 - free), gradient * free)
        before, size = _objective(parts, labels, weights), 1.0
        while size > PRECISION and _objective(parts, labels, weights - size * step) > before:
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max() < PRECISION:
            break
    return weights


def _objective(parts: Parts, labels: Labels, weights: Weights) -> float:
    ridge = RIDGE / (2 * len(parts)) * ((weights - EQUAL_WEIGHT) ** 2).sum()
    return _losses(mix(parts, weights), labels).mean() + float(ridge)


def _derivatives(
    parts: Parts, labels: Labels, weights: Weights
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "2 2"]]:
    """Gradient and Hessian of the objective."""
    ridge = RIDGE / len(parts)
    of_loss = _derivatives_of_classes if labels.ndim == 1 else _derivatives_of_labels
    gradient, hessian = of_loss(parts, labels, mix(parts, weights))
    return gradient + ridge * (weights - EQUAL_WEIGHT), hessian + ridge * np.eye(2)


def _figures(logits: Float[np.ndarray, "N C"], labels: Labels) -> dict[str, float]:
    """Score and `loss` of logits; NaN where they are not finite, and of no rows."""
    name = ACCURACY if labels.ndim == 1 else F1
    if not len(logits) or not np.isfinite(logits).all():
        return {name: float("nan"), "loss": float("nan")}
    score = float((logits.argmax(axis=1) == labels).mean()) if labels.ndim == 1 else _f1_micro(logits, labels)
    return {name: score, "loss": float(_losses(logits, labels).mean())}


def _losses(logits: Float[np.ndarray, "N C"], labels: Labels) -> Float[np.ndarray, " N"]:
    """The loss of each row in nats: cross-entropy, or the mean binary cross-entropy of its classes."""
    if labels.ndim == 1:
        return -np.take_along_axis(_normalised(logits), labels[:, None], axis=1)[:, 0]
    # of a class that the text has -ln sigmoid(x), of another -ln sigmoid(-x)
    return np.logaddexp(0.0, np.where(labels, -logits, logits).astype(np.float64)).mean(axis=1)


# --- one label a text -------------------------------------------------------------------------------------------


def _derivatives_of_classes(
    parts: Parts, labels: Int[np.ndarray, " N"], mixed: Float[np.ndarray, "N C"]
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "2 2"]]:
    """Of the cross-entropy: means of what classes say, less that of the true one; covariances."""
    probabilities = np.exp(_normalised(mixed))[:, None]
    expected = (probabilities * parts).sum(axis=2)
    true = np.take_along_axis(parts, labels[:, None, None], axis=2)[:, :, 0]
    centred = parts - expected[:, :, None]
    products = [[(probabilities[:, 0] * centred[:, i] * centred[:, j]).sum() for j in (0, 1)] for i in (0, 1)]
    return (expected - true).mean(axis=0), np.array(products) / len(parts)


def _normalised(logits: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Log probabilities, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


# --- several labels a text --------------------------------------------------------------------------------------


def _derivatives_of_labels(
    parts: Parts, labels: UInt8[np.ndarray, "N C"], mixed: Float[np.ndarray, "N C"]
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "2 2"]]:
    """Of the mean binary cross-entropy."""
    probabilities = label_probabilities(mixed)
    gradient = ((probabilities - labels)[:, None] * parts).mean(axis=(0, 2))
    variances = probabilities * (1 - probabilities)
    products = [[(variances * parts[:, i] * parts[:, j]).mean() for j in (0, 1)] for i in (0, 1)]
    return gradient, np.array(products)


def _f1_micro(logits: Float[np.ndarray, "N C"], labels: UInt8[np.ndarray, "N C"]) -> float:
    """Of all decisions, at the threshold 0.5; NaN where no class occurs in labels or predictions."""
    predicted = predicted_labels(label_probabilities(logits), None)
    total = int(predicted.sum()) + int(labels.sum())
    return 2 * int((predicted & (labels == 1)).sum()) / total if total else float("nan")
