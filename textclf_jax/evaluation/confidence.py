"""Probabilities that can be relied on: a temperature, and a confidence below which a classifier says "don't know".

Both come from the validation split. All arithmetic is float64 numpy on the host.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.errors import UserError
from textclf_jax.evaluation.calibration import calibration
from textclf_jax.tasks.confidence import TEMPERATURE, Abstention, temperature_of
from textclf_jax.tasks.metrics import class_probabilities

# the inverse temperature is drawn towards 1 as if by a row with this curvature, as the weights of a mixture are: rows
# that are all classified without a mistake do not say how far to trust the model
RIDGE = 1.0
HIGHEST_TEMPERATURE = 100.0  # of a model whose logits say nothing
BISECTIONS = 100
CHANCE_NATS = (
    1.92  # of log-likelihood, that a temperature gains by chance in one of 20 cases: half of chi-squared's 3.84
)


def fit_temperature(logits: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]) -> float:
    """The number that logits are to be divided by: the one with the lowest loss on these rows, and a ridge around 1.

    The loss is convex in its inverse, whose derivative is followed to zero by bisection. No label changes: the order of
    a row's logits stays.

    Args:
      logits: [N, C].
      labels: [N] true classes.

    Returns:
      Above 0; 1 where there are no rows, or logits that are not finite.

    Source: Guo et al. 2017, On calibration of modern neural networks.
    """
    if not len(logits) or not np.isfinite(logits).all():
        return 1.0
    scores = logits.astype(np.float64)
    low, high = 1 / HIGHEST_TEMPERATURE, 1.0
    while _slope(scores, labels, high) < 0:
        high *= 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(scores, labels, middle) < 0 else (low, middle)
    return 1 / high


def _slope(scores: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], inverse: float) -> float:
    """The derivative of the mean loss and the ridge at an inverse temperature."""
    true = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    slope = ((class_probabilities(inverse * scores) * scores).sum(axis=1) - true).mean()
    return float(slope) + RIDGE / len(scores) * (inverse - 1)


def stored_temperature(logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """What the metadata of a model has of its temperature: nothing for MLM, and with several labels a text.

    It is 1 where another one is better by no more than chance (likelihood-ratio test): that could make it worse.
    """
    if labels is None or labels.ndim > 1:
        return {}
    temperature = fit_temperature(logits, labels)
    if temperature != 1.0:  # so all logits are finite
        gain = _log_likelihood(logits / temperature, labels) - _log_likelihood(logits, labels)
        temperature = temperature if gain > CHANCE_NATS else 1.0
    return {TEMPERATURE: temperature}


def _log_likelihood(logits: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]) -> float:
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    true = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    return float((true - np.log(np.exp(scores).sum(axis=1))).sum())


class Confidence(NamedTuple):
    """How far a model's own probabilities can be relied on, on a split.

    Attributes:
      temperature: of the model.
      error_before, error: expected calibration error of its logits as they are, and divided by the temperature.
      answered, wrong: shares of the rows that get a label, and a wrong one.
      max_error: the limit on `wrong`; None: every row gets a label.
    """

    temperature: float
    error_before: float
    error: float
    answered: float
    wrong: float
    max_error: float | None

    @classmethod
    def of(
        cls, logits: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], metadata: Mapping[str, Any]
    ) -> "Confidence":
        """That of a model, by its metadata, on rows of known classes."""
        temperature, abstention = temperature_of(metadata), Abstention.of_model(metadata)
        classes, confidence = top_class(logits, temperature)
        is_right = classes == labels
        before, after = (calibration(each, is_right).error for each in (top_class(logits, 1.0)[1], confidence))
        answered = np.ones(len(labels), bool) if abstention is None else confidence > abstention.threshold
        wrong = answered & ~is_right
        limit = None if abstention is None else abstention.max_error
        return cls(temperature, before, after, float(answered.mean()), float(wrong.mean()), limit)

    def remarks(self) -> list[str]:
        """Lines to print."""
        told = f"calibration error of the probabilities {self.error:.4f}"
        if self.temperature != 1.0:
            told += f" with the model's temperature {self.temperature:.3f}, {self.error_before:.4f} without"
        if self.max_error is None:
            return [told]
        limit = f"{1 - self.answered:.1%} of the rows get no label (don't know), {self.wrong:.1%} a wrong one"
        return [told, f"{limit}; the limit is {self.max_error:.1%}"]


def limit_errors(confidence: Float[np.ndarray, " N"], is_right: Bool[np.ndarray, " N"], max_error: float) -> Abstention:
    """Chooses the lowest threshold that keeps the share of texts with a wrong label below a limit.

    With w wrong answers among N rows, (w + 1) / (N + 1) must not be above the limit. For rows that are drawn like those
    to come, and that had no part in the choice of the model, the expected share of wrong answers is then at most the
    limit.

    Args:
      confidence: [N] the probability of each row's label.
      is_right: [N].
      max_error: the limit, in (0, 1).

    Raises:
      UserError: there are too few rows for this limit.

    Source: Angelopoulos et al. 2022, Conformal risk control, theorem 1, with the loss "answered, and wrong".
    """
    count = len(confidence)
    allowed = allowed_mistakes(count, max_error)
    of_wrong = np.sort(confidence[~is_right])[::-1]
    threshold = float(of_wrong[allowed]) if allowed < len(of_wrong) else 0.0
    answered = confidence > threshold
    wrong = answered & ~is_right
    return Abstention(max_error, threshold, count, float(answered.mean()), float(wrong.mean()))


def allowed_mistakes(count: int, max_error: float) -> int:
    """How many of `count` rows may get a wrong label; raises UserError where these are too few for the limit."""
    allowed = math.floor(max_error * (count + 1) - 1 + 1e-9)
    if allowed < 0:
        needed, least = math.ceil(1 / max_error) - 1, math.ceil(1000 / (count + 1)) / 1000
        raise UserError(
            f"--max-error {max_error:g} cannot be promised by {count:,} rows: {needed:,} or more are needed, even "
            f"without a mistake among them. Give more rows, or --max-error {least:g} or more."
        )
    return allowed


def top_class(
    logits: Float[np.ndarray, "N C"], temperature: float
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The class of each row, and its probability."""
    probabilities = class_probabilities(logits / temperature)
    return logits.argmax(axis=1), probabilities.max(axis=1)
