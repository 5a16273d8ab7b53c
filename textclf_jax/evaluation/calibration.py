"""Whether probabilities mean what they say: reliability, and the expected calibration error."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

BINS = 15


class Bin(NamedTuple):
    """Answers whose probability lies in (low, high], the first bin with 0.

    Attributes:
      low, high: the bounds.
      count: answers; the means below are NaN where there are none.
      probability: their mean probability.
      share: how many of them are right.
    """

    low: float
    high: float
    count: int
    probability: float
    share: float


class Calibration(NamedTuple):
    """Probabilities compared with what is right.

    Attributes:
      bins: of equal width.
      error: the expected calibration error: the mean over all answers of |share - probability| of their bin.
    """

    bins: tuple[Bin, ...]
    error: float


def calibration(
    probabilities: Float[np.ndarray, " M"], are_right: Bool[np.ndarray, " M"], num_bins: int = BINS
) -> Calibration:
    """Sorts answers into bins by their probability.

    Source: Guo et al. 2017, On calibration of modern neural networks, eq. 2 and 3.

    Args:
      probabilities: [M] of the answers, in [0, 1]: those of the predicted classes, or with several labels a text those
        of all classes of all texts.
      are_right: [M] whether each answer is right, or whether the text has the class.
      num_bins: how many bins.
    """
    bounds = np.linspace(0.0, 1.0, num_bins + 1)
    place = np.clip(np.searchsorted(bounds, probabilities, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(place, minlength=num_bins)
    sums = (np.bincount(place, weights, num_bins) for weights in (probabilities, are_right.astype(np.float64)))
    means = [np.divide(each, counts, out=np.full(num_bins, np.nan), where=counts > 0) for each in sums]
    error = float(np.nansum(counts * np.abs(means[1] - means[0])) / counts.sum()) if len(place) else float("nan")
    columns = zip(bounds[:-1], bounds[1:], counts, *means, strict=True)
    return Calibration(
        tuple(Bin(float(a), float(b), int(n), float(mean), float(share)) for a, b, n, mean, share in columns), error
    )
