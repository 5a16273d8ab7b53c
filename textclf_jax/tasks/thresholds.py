"""From which probability each of several labels is predicted: chosen on the validation split, kept with the model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from textclf_jax.tasks.multi_label import HALF, cuts, label_probabilities

ENOUGH_ROWS = 5  # of a class; fewer say nothing about where its threshold belongs
KEY = "thresholds"  # in the metadata of a model


class Thresholds(NamedTuple):
    """The probabilities from which classes are predicted.

    Attributes:
      values: C probabilities in [0, 1].
      shared: numbers of the classes that have the threshold of all of them, for want of rows.
    """

    values: list[float]
    shared: list[int]

    def stored(self) -> dict[str, Any]:
        """What the metadata of a model has of them."""
        return {KEY: self._asdict()}

    @classmethod
    def of_model(cls, metadata: Mapping[str, Any]) -> "Thresholds | None":
        """Those in the metadata of a model; None where none were chosen."""
        return cls(**metadata[KEY]) if KEY in metadata else None


def choose_thresholds(
    logits: Float[np.ndarray, "N C"], labels: Shaped[np.ndarray, "N C"], *, enough_rows: int = ENOUGH_ROWS
) -> Thresholds | None:
    """Chooses for each class the threshold of the highest F1.

    A class with less than `enough_rows` rows gets the one of the highest micro F1, over all classes. Of equally good
    ones the nearest to 0.5 is chosen; between two probabilities it lies in the middle, or at 0.5.

    Args:
      logits: [N, C] of the validation split.
      labels: [N, C], 1 where a text has the class, otherwise 0.
      enough_rows: of a class, to have a threshold of its own.

    Returns:
      The thresholds; None where logits are NaN.
    """
    if np.isnan(logits).any():
        return None
    probabilities, truth = label_probabilities(logits), labels.astype(bool)
    is_shared = truth.sum(axis=0) < enough_rows
    common = best_threshold(probabilities.ravel(), truth.ravel()) if is_shared.any() else HALF
    columns = zip(is_shared, probabilities.T, truth.T, strict=True)
    values = [common if shares else best_threshold(*column) for shares, *column in columns]
    return Thresholds(values, np.flatnonzero(is_shared).tolist())


def best_threshold(probabilities: Float[np.ndarray, " M"], truth: Shaped[np.ndarray, " M"]) -> float:
    """The threshold of the highest F1, as in `choose_thresholds`; 0.5 where nothing is true."""
    if not truth.any():
        return HALF
    hits, calls, lowest = cuts(probabilities, truth)
    f1 = 2 * hits / (calls + hits[-1])
    next_lower = np.append(lowest[1:], 0.0)
    middle = (lowest + next_lower) / 2
    middle = np.where(middle > next_lower, middle, lowest)  # neighbours among the numbers have none
    places = np.where((next_lower < HALF) & (lowest >= HALF), HALF, middle)
    best = places[f1 == f1.max()]
    return float(best[np.argmin(np.abs(best - HALF))])
