"""Batches of one text a row: which texts, padded to which length. A pure function of (lengths, seed, epoch)."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

# texts are sorted by length within windows of this many batches: enough to find similar lengths, and not so many that
# epochs resemble each other
WINDOW_BATCHES = 64
MAX_CANDIDATES = 128


class BatchRows(NamedTuple):
    """Which texts form one batch.

    Attributes:
      rows: indices of the texts in the data, at most batch_size.
      shape: (B, L) of the token ids, padding included.
      starts: where rows hold several texts, the place (row * L + column) of each text's first token; None: one a row.
      has_spans: whether attention is told where each text lies; then they may go on in the next row.
    """

    rows: Int[np.ndarray, " rows"]
    shape: tuple[int, int]
    starts: Int[np.ndarray, " rows"] | None = None
    has_spans: bool = False


def choose_buckets(lengths: Int[np.ndarray, " N"], max_length: int, count: int) -> tuple[int, ...]:
    """Chooses the padded lengths that waste least, by dynamic programming over candidate lengths.

    Args:
      lengths: [N] real tokens of each text.
      max_length: texts are cut to this many tokens.
      count: the most buckets; each costs one compilation.

    Returns:
      Increasing lengths, multiples of 8 but for `max_length` itself; the last holds every text.
    """
    cut = np.clip(lengths, 1, max_length)
    unit = 8 * -(-max_length // (8 * MAX_CANDIDATES))
    ends = np.minimum(np.arange(unit, max_length + unit, unit), max_length)
    texts = np.bincount(np.searchsorted(ends, cut), minlength=len(ends))
    below = np.concatenate([[0], np.cumsum(texts)])
    last = int(np.flatnonzero(texts)[-1])
    # cost[e]: fewest tokens, padding included, of texts up to ends[e] if that is the longest bucket; each round allows
    # one bucket more
    cost = ends * below[1:].astype(np.float64)
    choices = []
    for _ in range(min(count, last + 1) - 1):
        # extended[s, e]: the best buckets up to ends[s], and one more of length ends[e]
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
    """The smallest bucket that holds `length` tokens, else the largest (the text is cut)."""
    return next((bucket for bucket in buckets if bucket >= length), buckets[-1])


class Batching(Protocol):
    """A way to form batches from texts of `lengths` [N] tokens."""

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shapes (B, L) that batches have; each costs one compilation."""
        ...

    @property
    def keys(self) -> int | None:
        """The keys that attention compares a query with, on average; None: all of its row."""
        ...

    def epoch(self, lengths: Int[np.ndarray, " N"], *, seed: int, epoch: int, shuffle: bool) -> list[BatchRows]:
        """Lists the ceil(N / batch_size) batches of one training epoch; every text is in one."""
        ...

    def evaluation(self, lengths: Int[np.ndarray, " N"]) -> list[BatchRows]:
        """Lists batches that hold every text once, formed for little padding."""
        ...

    def empty(self, shape: tuple[int, int]) -> BatchRows:
        """A batch without texts."""
        ...


@dataclass(frozen=True)
class Bucketed:
    """One text a row, and similar lengths together.

    Attributes:
      batch_size: rows a batch; rows without a text are all padding.
      buckets: padded lengths, from `choose_buckets`.
    """

    batch_size: int
    buckets: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.batch_size} rows x {', '.join(map(str, self.buckets))} tokens"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.batch_size, bucket) for bucket in self.buckets)

    @property
    def keys(self) -> None:
        """See `Batching`."""

    def epoch(self, lengths: Int[np.ndarray, " N"], *, seed: int, epoch: int, shuffle: bool) -> list[BatchRows]:
        """See `Batching`; the order is a function of (seed, epoch), or without `shuffle` that of the file."""
        size = self.batch_size
        if not shuffle:
            starts = range(0, len(lengths), size)
            return [self._batch(np.arange(start, min(start + size, len(lengths))), lengths) for start in starts]
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(len(lengths))
        batches: list[BatchRows] = []
        for start in range(0, len(shuffled), WINDOW_BATCHES * size):
            rows = shuffled[start : start + WINDOW_BATCHES * size]
            batches += self._cut(rows[np.argsort(lengths[rows], kind="stable")], lengths)
        return [batches[i] for i in rng.permutation(len(batches))]

    def evaluation(self, lengths: Int[np.ndarray, " N"]) -> list[BatchRows]:
        return self._cut(np.argsort(lengths, kind="stable"), lengths)

    def empty(self, shape: tuple[int, int]) -> BatchRows:
        return BatchRows(np.zeros(0, np.int64), shape)

    def _cut(self, rows: Int[np.ndarray, " rows"], lengths: Int[np.ndarray, " N"]) -> list[BatchRows]:
        # an incomplete batch comes first, where texts are shortest: so its empty rows are short, too
        first = len(rows) % self.batch_size or self.batch_size
        return [self._batch(piece, lengths) for piece in np.split(rows, range(first, len(rows), self.batch_size))]

    def _batch(self, rows: Int[np.ndarray, " rows"], lengths: Int[np.ndarray, " N"]) -> BatchRows:
        return BatchRows(rows, (self.batch_size, bucket_of(int(lengths[rows].max()), self.buckets)))


def padding_waste(lengths: Int[np.ndarray, " N"], batches: list[BatchRows]) -> float:
    """The share of all computed tokens, in [0, 1], that is padding: inside rows and in empty rows."""
    computed = sum(math.prod(batch.shape) for batch in batches)
    real = sum(int(np.minimum(lengths[batch.rows], batch.shape[1]).sum()) for batch in batches)
    return 1.0 - real / computed
