"""MLM labels of a batch to the fixed number P of positions that a compiled step predicts."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textclf_jax.constants import IGNORED_LABEL


class Predictions(NamedTuple):
    """The tokens to predict of one batch, padded to P."""

    positions: Int[np.ndarray, " P"]  # row * L + column; 0 at padding
    targets: Int[np.ndarray, " P"]  # token ids; 0 at padding
    weights: Float[np.ndarray, " P"]  # 1, and 0 at padding


def max_predictions(batch_size: int, length: int, mask_p: float) -> int:
    """Computes P, the capacity for predicted tokens, of a batch [batch_size, length].

    The number of masked tokens is binomial. Four standard deviations above the mean hold all but 1 in 30,000 batches of
    full rows; the surplus of such a batch is not predicted. P is a multiple of 8, at most batch_size * length.
    """
    tokens = batch_size * length
    capacity = tokens * mask_p + 4 * math.sqrt(tokens * mask_p * (1 - mask_p)) + 1
    return min(8 * math.ceil(capacity / 8), tokens)


def gather_predictions(labels: Int[np.ndarray, "B L"], capacity: int, rng: np.random.Generator) -> Predictions:
    """Collects the labelled positions of a batch.

    Args:
      labels: [B, L] target ids, -100 where nothing is predicted.
      capacity: P; of more labelled positions a random P are predicted.
      rng: chooses those P.

    Returns:
      positions, targets [P] int32 and weights [P] float32.
    """
    flat = labels.reshape(-1)
    chosen = np.flatnonzero(flat != IGNORED_LABEL)
    if len(chosen) > capacity:
        chosen = np.sort(rng.choice(chosen, capacity, replace=False))
    positions, targets = np.zeros(capacity, np.int32), np.zeros(capacity, np.int32)
    weights = np.zeros(capacity, np.float32)
    positions[: len(chosen)], targets[: len(chosen)], weights[: len(chosen)] = chosen, flat[chosen], 1.0
    return Predictions(positions, targets, weights)
