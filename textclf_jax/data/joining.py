"""Texts end to end: batches of one shape with next to no padding, for attention that is told where each text lies.

A batch is one line of texts, cut into rows wherever they end: a text may go on in the next row. What is left over is
padding before the first text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from textclf_jax.data.collate import BatchRows
from textclf_jax.data.packing import balance_batches, tokens_taken

ROOM = 3.0  # for more tokens than a batch has on average, in standard deviations
ROUNDS = 8  # of swaps between batches


@dataclass(frozen=True)
class Joined:
    """Texts end to end, and batches of nearly the same number of tokens.

    Attributes:
      batch_size: the most texts a batch.
      shape: (B, L) of a batch, L at least the longest text; B grows for a batch that does not fit.
      keys: see `Batching`.
    """

    batch_size: int
    shape: tuple[int, int]
    keys: int

    def __str__(self) -> str:
        return f"{self.batch_size} texts end to end in {self.shape[0]} rows x {self.shape[1]} tokens"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return (self.shape,)

    def epoch(self, lengths: Int[np.ndarray, " N"], *, seed: int, epoch: int, shuffle: bool) -> list[BatchRows]:
        """See `Batching`; the order is a function of (seed, epoch)."""
        assert shuffle, "the numbers of tokens decide which texts go together"
        return self._batches(lengths, np.random.default_rng([seed, epoch]))

    def evaluation(self, lengths: Int[np.ndarray, " N"]) -> list[BatchRows]:
        return self._batches(lengths, np.random.default_rng(0))

    def empty(self, shape: tuple[int, int]) -> BatchRows:
        return BatchRows(np.zeros(0, np.int64), shape, np.zeros(0, np.int64), has_spans=True)

    def _batches(self, lengths: Int[np.ndarray, " N"], rng: np.random.Generator) -> list[BatchRows]:
        sizes = tokens_taken(lengths)
        batches = balance_batches(sizes, self.batch_size, rng)
        level(batches, sizes, math.prod(self.shape))
        return [self._joined(texts[np.argsort(-sizes[texts], kind="stable")], sizes) for texts in batches]

    def _joined(self, texts: Int[np.ndarray, " texts"], sizes: Int[np.ndarray, " N"]) -> BatchRows:
        """A batch of texts that are in order, the longest first, which `spans_of` relies on."""
        ends, (rows, width) = np.cumsum(sizes[texts]), self.shape
        rows = max(rows, -(-int(ends[-1]) // width))
        return BatchRows(texts, (rows, width), ends - sizes[texts] + rows * width - ends[-1], has_spans=True)


def level(batches: list[Int[np.ndarray, " texts"]], sizes: Int[np.ndarray, " N"], most: int) -> None:
    """Swaps texts between batches with more than `most` tokens and those with fewest, until all have at most so many.

    A batch for which no swap is found stays as it is. `batches` are changed in place.
    """
    totals = np.array([sizes[texts].sum() for texts in batches])
    for _ in range(ROUNDS):
        (over,) = np.nonzero(totals > most)
        for heavy, light in zip(
            over[np.argsort(-totals[over], kind="stable")], np.argsort(totals, kind="stable"), strict=False
        ):
            wanted = (totals[heavy] - totals[light]) / 2
            gains = sizes[batches[heavy]][:, None] - sizes[batches[light]]
            i, j = np.unravel_index(np.argmin(np.abs(gains - wanted)), gains.shape)
            gain = gains[i, j]
            if 0 < gain < 2 * wanted:
                batches[heavy][i], batches[light][j] = batches[light][j], batches[heavy][i]
                totals[heavy], totals[light] = totals[heavy] - gain, totals[light] + gain


def candidate_joinings(
    lengths: Int[np.ndarray, " N"], sample: Int[np.ndarray, " S"], batch_size: int, widths: Sequence[int]
) -> list[Joined]:
    """Lists ways to join texts of `lengths` [N] tokens, of which `sample` are some, in rows of each of the widths.

    There are as many rows as nearly all batches need; `level` sees to the others.
    """
    sizes, known = tokens_taken(lengths), tokens_taken(sample)
    tokens = [known[batch].sum() for batch in balance_batches(known, batch_size, np.random.default_rng(0))]
    most = sizes.sum() / -(-len(sizes) // batch_size) + ROOM * float(np.std(tokens))
    keys = round(float((sizes.astype(np.float64) ** 2).sum() / sizes.sum()))
    return [Joined(batch_size, (math.ceil(most / width), width), keys) for width in widths]


class Spans(NamedTuple):
    """Where texts and padding lie: each token is in one of the spans, none of which is longer than a row.

    They are in order, M to each row of these arrays, one row after the other; at the end there may be fewer. A span
    need not begin in its array's row, but in that or a later one.

    Attributes:
      span_sizes: [B, M] int32 tokens of each; -1 where there is none.
      span_offsets: [B, M + 1] int32 where each begins, in tokens from its array's row on; -1 where there is none.
    """

    span_sizes: Int[np.ndarray, "B M"]
    span_offsets: Int[np.ndarray, "B M1"]


def spans_of(batch: BatchRows, sizes: Int[np.ndarray, " texts"], batch_size: int) -> Spans:
    """The spans of a batch from `Joined` whose texts take `sizes` tokens each; M follows from B and `batch_size`.

    The s-th of n spans does not begin before row s // M. For with p spans of padding, P tokens, this is so for the
    first text (p <= P / L + 1, M >= 2) and the end (p + n <= B M), and the longest texts come first: between the two,
    the place where a text begins grows faster than in proportion.
    """
    assert batch.starts is not None
    (rows, width), in_order = batch.shape, np.argsort(batch.starts)
    padding = np.arange(0, int(batch.starts.min()) if len(sizes) else rows * width, width)
    places = np.concatenate([padding, batch.starts[in_order]])
    ends = np.append(places[1:], rows * width)
    a_row = spans_a_row(rows, batch_size)
    row = np.arange(len(places)) // a_row
    assert (places >= row * width).all()
    assert (ends - places <= width).all()
    assert (ends[len(padding) :] - places[len(padding) :] == sizes[in_order]).all()
    found = np.full(rows * a_row, -1, np.int32)
    found[: len(places)] = ends - places
    offsets = np.full((rows, a_row + 1), -1, np.int32)
    offsets[row, np.arange(len(places)) % a_row] = places - row * width
    return Spans(found.reshape(rows, a_row), offsets)


def spans_a_row(rows: int, batch_size: int) -> int:
    """How many spans each row of the arrays has room for: all texts, and padding that takes part of each row."""
    return -(-batch_size // rows) + 1
