"""Several texts in one row: batches of one shape, with hardly any padding.

A batch holds as many texts as one without packing. Which texts form a batch is chosen so that all batches hold nearly
the same number of tokens: then one shape, and one compiled program, fits them all.
"""

import bisect
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from textclf_jax.data.collate import WINDOW_BATCHES, BatchRows

# row widths to try, as multiples of the longest text: wider rows waste less at their ends, but attention costs more
WIDTH_FACTORS = np.linspace(1.0, 2.0, 17)
WIDTH_UNIT = 8
# a number of rows that holds only this share of the batches is tried, too: most of the others fit after a swap
FITTING_SHARE = 0.9
MAX_PARTNERS = 16


@dataclass(frozen=True)
class Packed:
    """Several texts a row, and batches of nearly the same number of tokens.

    Attributes:
      batch_size: the most texts a batch.
      shape: (B, L) of a batch; B grows for a batch that does not fit.
    """

    batch_size: int
    shape: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.batch_size} texts in {self.shape[0]} rows x {self.shape[1]} tokens"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return (self.shape,)

    @property
    def keys(self) -> None:
        """See `Batching`: those of other texts are masked, but compared."""

    def epoch(self, lengths: Int[np.ndarray, " N"], *, seed: int, epoch: int, shuffle: bool) -> list[BatchRows]:
        """See `Batching`; the order is a function of (seed, epoch)."""
        assert shuffle, "packing chooses which texts go together"
        return self._batches(lengths, np.random.default_rng([seed, epoch]))

    def evaluation(self, lengths: Int[np.ndarray, " N"]) -> list[BatchRows]:
        return self._batches(lengths, np.random.default_rng(0))

    def empty(self, shape: tuple[int, int]) -> BatchRows:
        return BatchRows(np.zeros(0, np.int64), shape, np.zeros(0, np.int64))

    def _batches(self, lengths: Int[np.ndarray, " N"], rng: np.random.Generator) -> list[BatchRows]:
        rows, width = self.shape
        sizes = tokens_taken(lengths)
        batches = balance_batches(sizes, self.batch_size, rng)
        fits = [best_fit(sizes[texts], width) for texts in batches]
        for i in range(len(batches)):
            if fits[i].rows > rows:
                swap_to_fit(batches, fits, i, sizes, self.shape, rng)
        return [
            BatchRows(texts, (max(rows, fit.rows), width), fit.starts) for texts, fit in zip(batches, fits, strict=True)
        ]


class Fit(NamedTuple):
    """Where the texts of one batch lie."""

    starts: Int[np.ndarray, " texts"]  # the place (row * L + column) of each text's first token
    rows: int  # that they need


def candidate_packings(lengths: Int[np.ndarray, " N"], batch_size: int) -> list[Packed]:
    """Lists ways to pack texts of `lengths` [N] tokens, from narrow rows to wide ones.

    Which is best depends on what attention costs.
    """
    sizes = tokens_taken(lengths)
    batches = balance_batches(sizes, batch_size, np.random.default_rng(0))
    widths = sorted({WIDTH_UNIT * -(-int(sizes.max() * factor) // WIDTH_UNIT) for factor in WIDTH_FACTORS})
    found = []
    for width in widths:
        needed = np.sort([best_fit(sizes[batch], width).rows for batch in batches])
        enough = {int(needed[-1]), int(needed[int(FITTING_SHARE * (len(needed) - 1))])}
        found += [Packed(batch_size, (rows, width)) for rows in sorted(enough)]
    return found


def tokens_taken(lengths: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Tokens [N] that each text takes in a row: an empty text takes one."""
    return np.maximum(lengths, 1)


def balance_batches(
    sizes: Int[np.ndarray, " N"], batch_size: int, rng: np.random.Generator
) -> list[Int[np.ndarray, " texts"]]:
    """Groups texts into ceil(N / batch_size) batches that hold nearly the same number of tokens.

    Within a window of random texts each batch gets one of the longest, one of the next longest, and so on down to the
    shortest; each time the batch with the fewest tokens so far gets the longest text.

    Args:
      sizes: [N] tokens of each text.
      batch_size: the most texts a batch.
      rng: decides which texts share a window, and the batches' order.

    Returns:
      The indices of the texts of each batch.
    """
    count = -(-len(sizes) // batch_size)
    # the indices from N on stand for missing texts, which fall on random batches
    texts = rng.permutation(count * batch_size)
    known = np.append(sizes, np.zeros(len(texts) - len(sizes), sizes.dtype))
    batches = []
    for window in np.array_split(texts.reshape(count, batch_size), -(-count // WINDOW_BATCHES)):
        longest_first = window.reshape(-1)[np.argsort(-known[window.reshape(-1)], kind="stable")]
        layers = longest_first.reshape(batch_size, len(window))
        filled, chosen = np.zeros(len(window), np.int64), np.full((len(window), batch_size), len(sizes))
        for i, layer in enumerate(layers[: -(-int((window < len(sizes)).sum()) // len(window))]):
            emptiest_first = np.argsort(filled, kind="stable")
            chosen[emptiest_first, i] = layer
            filled[emptiest_first] += known[layer]
        batches += [batch[batch < len(sizes)] for batch in chosen]
    return [batches[i] for i in rng.permutation(count)]


def best_fit(sizes: Int[np.ndarray, " texts"], width: int) -> Fit:
    """Packs texts into rows: the longest first, each into the fullest row that still holds it (best-fit decreasing).

    Args:
      sizes: tokens of each text, 1 to `width`.
      width: tokens a row.
    """
    starts, rows = np.empty(len(sizes), np.int64), 0
    free: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for text in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[text])
        at = bisect.bisect_left(free, (size, 0))
        if at < len(free):
            left, row = free.pop(at)
        else:
            left, row = width, rows
            rows += 1
        starts[text] = row * width + width - left
        bisect.insort(free, (left - size, row))
    return Fit(starts, rows)


def swap_to_fit(
    batches: list[Int[np.ndarray, " texts"]],
    fits: list[Fit],
    misfit: int,
    sizes: Int[np.ndarray, " N"],
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Swaps a text of a batch that needs too many rows for one of nearly its length, so that both batches fit.

    Where no such pair is found, nothing changes.

    Args:
      batches: the texts of each batch; two of them are replaced.
      fits: of each batch, from `best_fit`; replaced likewise.
      misfit: the batch that needs too many rows.
      sizes: [N] tokens of each text, at least 1.
      shape: (B, L) of a batch.
      rng: chooses which batches are tried.
    """
    rows, width = shape

    def longest_first(batch: int) -> Int[np.ndarray, " texts"]:
        return batches[batch][np.argsort(-sizes[batches[batch]], kind="stable")]

    mine = longest_first(misfit)
    mine_sizes, most = sizes[mine], rows * width
    for other in map(int, rng.permutation(len(batches))[:MAX_PARTNERS]):
        if other == misfit:
            continue
        theirs = longest_first(other)
        theirs_sizes, tried = sizes[theirs], set()
        for rank in range(min(len(mine), len(theirs))):
            pair = int(mine_sizes[rank]), int(theirs_sizes[rank])
            gain = pair[0] - pair[1]
            # equal sizes change nothing, equal pairs have equal fits, and more tokens than places fit in no way
            if not gain or pair in tried or mine_sizes.sum() - gain > most or theirs_sizes.sum() + gain > most:
                continue
            tried.add(pair)
            swapped = mine.copy(), theirs.copy()
            swapped[0][rank], swapped[1][rank] = theirs[rank], mine[rank]
            my_fit = best_fit(sizes[swapped[0]], width)
            if my_fit.rows > rows:
                continue
            their_fit = best_fit(sizes[swapped[1]], width)
            if their_fit.rows <= rows:
                batches[misfit], batches[other] = swapped
                fits[misfit], fits[other] = my_fit, their_fit
                return


class Tokens(NamedTuple):
    """The T tokens of a packed batch, text by text."""

    text: Int[np.ndarray, " T"]  # which text of the batch each belongs to, from 0
    column: Int[np.ndarray, " T"]  # its position in that text, from 0
    place: Int[np.ndarray, " T"]  # its place in the batch (row * L + column of the row)


def token_places(starts: Int[np.ndarray, " texts"], sizes: Int[np.ndarray, " texts"]) -> Tokens:
    """Where all tokens of texts lie that begin at the places `starts` and take `sizes` tokens each."""
    text = np.repeat(np.arange(len(sizes)), sizes)
    column = np.arange(len(text)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Tokens(text, column, starts[text] + column)
