"""Several texts in one row: batches of one shape, with hardly any padding.

A batch holds as many texts as one without packing. Which texts form a batch is chosen so that all batches hold nearly
the same number of tokens: then one shape, and one compiled program, fits them all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from textclf_jax.data.collate import WINDOW_BATCHES, BatchRows

# widths tried, as multiples of the longest text: wider rows leave less at their ends, and cost more in attention
WIDTHS = np.linspace(1.0, 2.0, 17)
UNIT = 8
# rows that are enough for this share of the batches are tried, too: the others can mostly exchange a text
FITTING = 0.9
EXCHANGES_TRIED = 16


@dataclass(frozen=True)
class Packed:
    """Several texts a row, and batches of nearly the same number of tokens.

    Attributes:
      batch_size: texts a batch; some batches may have fewer.
      shape: (B, L) of a batch; one that needs more rows gets them.
    """

    batch_size: int
    shape: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.batch_size} texts in {self.shape[0]} rows x {self.shape[1]} tokens"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return (self.shape,)

    def epoch(self, lengths: Int[np.ndarray, " N"], *, seed: int, epoch: int, shuffle: bool) -> list[BatchRows]:
        """As for all; the order is a function of (seed, epoch)."""
        assert shuffle, "packing chooses which texts go together"
        return self._batches(lengths, np.random.default_rng([seed, epoch]))

    def evaluation(self, lengths: Int[np.ndarray, " N"]) -> list[BatchRows]:
        return self._batches(lengths, np.random.default_rng(0))

    def empty(self, shape: tuple[int, int]) -> BatchRows:
        return BatchRows(np.zeros(0, np.int64), shape, np.zeros(0, np.int64))

    def _batches(self, lengths: Int[np.ndarray, " N"], rng: np.random.Generator) -> list[BatchRows]:
        rows, width = self.shape
        sizes = tokens_taken(lengths)
        batches = compose(sizes, self.batch_size, rng)
        placed = [place(sizes[texts], width) for texts in batches]
        for i in range(len(batches)):
            if placed[i][1] > rows:
                exchange(batches, placed, i, sizes, self.shape, rng)
        together = zip(batches, placed, strict=True)
        return [BatchRows(texts, (max(rows, needed), width), starts) for texts, (starts, needed) in together]


def candidate_packings(lengths: Int[np.ndarray, " N"], batch_size: int) -> list[Packed]:
    """Lists ways to pack texts, from narrow rows to wide ones; which is best depends on what attention costs.

    Args:
      lengths: [N] tokens of each text.
      batch_size: texts a batch.
    """
    sizes = tokens_taken(lengths)
    batches = compose(sizes, batch_size, np.random.default_rng(0))
    widths = sorted({UNIT * -(-int(sizes.max() * factor) // UNIT) for factor in WIDTHS})
    found = []
    for width in widths:
        needed = np.sort([place(sizes[batch], width)[1] for batch in batches])
        enough = {int(needed[-1]), int(needed[int(FITTING * (len(needed) - 1))])}
        found += [Packed(batch_size, (rows, width)) for rows in sorted(enough)]
    return found


def tokens_taken(lengths: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Tokens that each text takes in a row: one where it has none."""
    return np.maximum(lengths, 1)


def compose(
    lengths: Int[np.ndarray, " N"], batch_size: int, rng: np.random.Generator
) -> list[Int[np.ndarray, " texts"]]:
    """Groups texts into ceil(N / batch_size) batches that hold nearly the same number of tokens.

    Within a window of random texts each batch gets one of the longest, one of the next longest, and so on down to the
    shortest; the batch with the fewest tokens so far gets the longest of them.
    """
    count = -(-len(lengths) // batch_size)
    # places without a text, anywhere: so the batches that are not full are random, too
    texts = rng.permutation(count * batch_size)
    known = np.append(lengths, np.zeros(len(texts) - len(lengths), lengths.dtype))
    batches = []
    for window in np.array_split(texts.reshape(count, batch_size), -(-count // WINDOW_BATCHES)):
        longest_first = window.reshape(-1)[np.argsort(-known[window.reshape(-1)], kind="stable")]
        layers = longest_first.reshape(batch_size, len(window))
        filled, chosen = np.zeros(len(window), np.int64), np.full((len(window), batch_size), len(lengths))
        for i, layer in enumerate(layers[: -(-int((window < len(lengths)).sum()) // len(window))]):
            emptiest_first = np.argsort(filled, kind="stable")
            chosen[emptiest_first, i] = layer
            filled[emptiest_first] += known[layer]
        batches += [batch[batch < len(lengths)] for batch in chosen]
    return [batches[i] for i in rng.permutation(count)]


def place(lengths: Int[np.ndarray, " texts"], width: int) -> tuple[Int[np.ndarray, " texts"], int]:
    """Finds a place for each text, the longest first, in the row that it leaves the least room in (best fit).

    Args:
      lengths: tokens of each text, 1 to `width`.
      width: of the rows.

    Returns:
      The flat place (row * width + column) of each text's first token, and the number of rows.
    """
    starts, room = np.empty(len(lengths), np.int64), []
    for text in np.argsort(-lengths, kind="stable"):
        length = int(lengths[text])
        fitting = [(left, row) for row, left in enumerate(room) if left >= length]
        if fitting:
            left, row = min(fitting)
        else:
            left, row = width, len(room)
            room.append(width)
        starts[text] = row * width + width - left
        room[row] = left - length
    return starts, len(room)


def exchange(
    batches: list[Int[np.ndarray, " texts"]],
    placed: list[tuple[Int[np.ndarray, " texts"], int]],
    misfit: int,
    lengths: Int[np.ndarray, " N"],
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Exchanges a text of a batch that does not fit for one of nearly its length, so that both batches fit.

    Where no such two are found, nothing changes.

    Args:
      batches: the texts of each batch; two of them are replaced.
      placed: of each batch what `place` returned; replaced likewise.
      misfit: the batch that needs too many rows.
      lengths: [N] tokens of each text, at least 1.
      shape: (B, L) of a batch.
      rng: chooses which batches are tried.
    """
    rows, width = shape

    def longest_first(batch: int) -> Int[np.ndarray, " texts"]:
        return batches[batch][np.argsort(-lengths[batches[batch]], kind="stable")]

    mine = longest_first(misfit)
    for other in map(int, rng.permutation(len(batches))[:EXCHANGES_TRIED]):
        if other == misfit:
            continue
        theirs = longest_first(other)
        for rank in range(min(len(mine), len(theirs))):
            texts = mine.copy(), theirs.copy()
            texts[0][rank], texts[1][rank] = theirs[rank], mine[rank]
            places = [place(lengths[t], width) for t in texts]
            if all(needed <= rows for _, needed in places):
                batches[misfit], batches[other] = texts
                placed[misfit], placed[other] = places
                return


class Tokens(NamedTuple):
    """The tokens of a packed batch, text by text.

    Attributes:
      text: which text of the batch each belongs to, from 0.
      column: its position in that text, from 0.
      place: its place in the batch (row * L + column of the row).
    """

    text: Int[np.ndarray, " T"]
    column: Int[np.ndarray, " T"]
    place: Int[np.ndarray, " T"]


def token_places(starts: Int[np.ndarray, " texts"], sizes: Int[np.ndarray, " texts"]) -> Tokens:
    """Where all tokens of texts lie that begin at `starts` and take `sizes` tokens each."""
    text = np.repeat(np.arange(len(sizes)), sizes)
    column = np.arange(len(text)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Tokens(text, column, starts[text] + column)
