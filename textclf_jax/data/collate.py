"""Which rows form which batch, and how long it is: a pure function of (lengths, seed, epoch)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

# Rows are sorted by length within windows of this many batches: wide enough to put like with like, narrow enough that
# an epoch stays well mixed
WINDOW_BATCHES = 64
MAX_CANDIDATES = 128


class BatchRows(NamedTuple):
    """One batch before it is gathered: row indices [<= batch_size] and the padded length L, a bucket."""

    rows: Int[np.ndarray, " rows"]
    length: int


def choose_buckets(lengths: Int[np.ndarray, " N"], max_length: int, count: int) -> tuple[int, ...]:
    """Chooses the padded lengths that waste least on rows of these lengths.

    Args:
      lengths: [N] real tokens of each row.
      max_length: rows are cut to this many tokens.
      count: the most buckets; each costs one compilation.

    Returns:
      Increasing lengths, multiples of 8 but for `max_length` itself; the last holds every row.
    """
    cut = np.clip(lengths, 1, max_length)
    unit = 8 * -(-max_length // (8 * MAX_CANDIDATES))
    ends = np.minimum(np.arange(unit, max_length + unit, unit), max_length)
    rows = np.bincount(np.searchsorted(ends, cut), minlength=len(ends))
    below = np.concatenate([[0], np.cumsum(rows)])
    last = int(np.flatnonzero(rows)[-1])
    # cost[e]: fewest padded tokens of the rows up to candidate e with e the longest bucket; refined bucket by bucket
    cost = ends * below[1:].astype(np.float64)
    choices = []
    for _ in range(min(count, last + 1) - 1):
        # extended[s, e]: buckets up to s as before, then one more of length ends[e]
        extended = cost[:, None] + ends[None, :] * (below[None, 1:] - below[1:, None])
        extended[np.tril_indices(len(ends))] = np.inf
        best = np.argmin(extended, axis=0)
        improved = extended[best, np.arange(len(ends))]
        choices.append(np.where(improved < cost, best, -1))
        cost = np.minimum(cost, improved)
    buckets, end = [int(ends[last])], last
    for previous in reversed(choices):
        if previous[end] >= 0:
            end = int(previous[end])
            buckets.append(int(ends[end]))
    return tuple(sorted(buckets))


def bucket_of(length: int, buckets: tuple[int, ...]) -> int:
    """The smallest bucket that holds `length` tokens; the largest where none does (the rest is cut off)."""
    return next((bucket for bucket in buckets if bucket >= length), buckets[-1])


def _cut_to_batches(
    rows: np.ndarray, lengths: np.ndarray, batch_size: int, buckets: tuple[int, ...]
) -> list[BatchRows]:
    # an incomplete batch comes first, where rows are shortest: it is padded with empty rows
    first = len(rows) % batch_size or batch_size
    pieces = np.split(rows, range(first, len(rows), batch_size))
    return [BatchRows(piece, bucket_of(int(lengths[piece].max()), buckets)) for piece in pieces]


def epoch_batches(
    lengths: Int[np.ndarray, " N"], *, batch_size: int, buckets: tuple[int, ...], seed: int, epoch: int, shuffle: bool
) -> list[BatchRows]:
    """Lists the batches of one epoch: every row once, similar lengths together, in random order.

    Args:
      lengths: [N] real tokens of each row.
      batch_size: rows a batch; one batch may have fewer.
      buckets: padded lengths from `choose_buckets`.
      seed, epoch: the order is a function of them alone.
      shuffle: False keeps the file's order.

    Returns:
      ceil(N / batch_size) batches.
    """
    if not shuffle:
        starts = range(0, len(lengths), batch_size)
        in_order = [np.arange(start, min(start + batch_size, len(lengths))) for start in starts]
        return [BatchRows(rows, bucket_of(int(lengths[rows].max()), buckets)) for rows in in_order]
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(lengths))
    batches: list[BatchRows] = []
    window = WINDOW_BATCHES * batch_size
    for start in range(0, len(shuffled), window):
        rows = shuffled[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += _cut_to_batches(rows, lengths, batch_size, buckets)
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluation_batches(lengths: Int[np.ndarray, " N"], *, batch_size: int, buckets: tuple[int, ...]) -> list[BatchRows]:
    """Lists batches that hold every row once, sorted by length: the order does not matter, padding does."""
    return _cut_to_batches(np.argsort(lengths, kind="stable"), lengths, batch_size, buckets)


def padding_waste(lengths: Int[np.ndarray, " N"], batches: list[BatchRows], batch_size: int) -> float:
    """The share of all computed tokens, in [0, 1], that is padding: inside rows and in missing rows."""
    computed = sum(batch.length * batch_size for batch in batches)
    real = sum(int(np.minimum(lengths[batch.rows], batch.length).sum()) for batch in batches)
    return 1.0 - real / computed
