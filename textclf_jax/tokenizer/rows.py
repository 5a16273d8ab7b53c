"""Lays out token lists as rows of one length: cut or split, framed by [CLS] and [SEP], padded; counts what is lost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from textclf_jax.errors import UserError

Overflow = Literal["truncate", "split"]


@dataclass(frozen=True)
class Encoded:
    """Encoded rows, and what was lost in encoding.

    Attributes:
      input_ids: [N, L] int64.
      attention_mask: [N, L] bool, True = PAD.
      labels: [N] int64, or None.
      num_tokens: [texts] int64, tokens of each text before cutting, without [CLS] and [SEP].
      num_unknown: number of [UNK] among those.
      unknown_texts: int64 numbers of the texts that have [UNK], increasing.
      num_truncated: number of texts that lost tokens.
      num_dropped_tokens: number of tokens they lost.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray | None
    num_tokens: np.ndarray
    num_unknown: int
    unknown_texts: np.ndarray
    num_truncated: int
    num_dropped_tokens: int


class RowBuilder:
    """Collects the token lists of texts, a batch at a time; `finish` gives the rows.

    Args:
      max_length: L, special tokens included.
      prefix, suffix: ids around every row: [CLS] and [SEP], or none.
      pad_id, unk_id: the ids of [PAD] and [UNK].
      overflow: "truncate" cuts long texts, "split" makes further rows of the rest.

    Raises:
      UserError: max_length is too small for a token beside [CLS] and [SEP].
    """

    def __init__(
        self, max_length: int, prefix: list[int], suffix: list[int], pad_id: int, unk_id: int, overflow: Overflow
    ):
        self.capacity = max_length - len(prefix) - len(suffix)
        if self.capacity < 1:
            raise UserError(f"max_length {max_length} leaves no room for a token beside [CLS] and [SEP]")
        self.max_length, self.prefix, self.suffix = max_length, prefix, suffix
        self.pad_id, self.unk_id, self.overflow = pad_id, unk_id, overflow
        self.blocks: list[np.ndarray] = []  # int32: half the memory of the result they become
        self.row_lengths: list[int] = []
        self.num_tokens: list[int] = []
        self.num_unknown: list[int] = []

    def add(self, token_lists: Sequence[list[int]]) -> None:
        """Adds the ids of a batch of texts, without special tokens."""
        bodies = [body for tokens in token_lists for body in self._cut(tokens)]
        block = np.full((len(bodies), self.max_length), self.pad_id, dtype=np.int32)
        for row, body in zip(block, bodies, strict=True):
            ids = [*self.prefix, *body, *self.suffix]
            row[: len(ids)] = ids
            self.row_lengths.append(len(ids))
        self.blocks.append(block)
        self.num_tokens.extend(map(len, token_lists))
        self.num_unknown.extend(tokens.count(self.unk_id) for tokens in token_lists)

    def _cut(self, tokens: list[int]) -> Iterator[list[int]]:
        """Yields what goes between [CLS] and [SEP] in each row of one text; an empty text has one empty row."""
        yield tokens[: self.capacity]
        if self.overflow == "split":
            for start in range(self.capacity, len(tokens), self.capacity):
                yield tokens[start : start + self.capacity]

    def finish(self, labels: np.ndarray | None) -> Encoded:
        """Gives all rows in the order of their texts, with `labels` [N] or None."""
        empty = np.zeros((0, self.max_length), dtype=np.int64)
        input_ids = np.concatenate(self.blocks, dtype=np.int64) if self.blocks else empty
        lengths = np.array(self.row_lengths, dtype=np.int64)
        num_tokens = np.array(self.num_tokens, dtype=np.int64)
        lost = np.maximum(num_tokens - self.capacity, 0) if self.overflow == "truncate" else np.zeros_like(num_tokens)
        return Encoded(
            input_ids=input_ids,
            attention_mask=np.arange(self.max_length) >= lengths[:, None],
            labels=labels,
            num_tokens=num_tokens,
            num_unknown=sum(self.num_unknown),
            unknown_texts=np.flatnonzero(np.array(self.num_unknown, dtype=np.int64)),
            num_truncated=int(np.count_nonzero(lost)),
            num_dropped_tokens=int(lost.sum()),
        )


def chunks_by_size(texts: Sequence[str], characters: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) of consecutive slices of texts with about so many characters each."""
    start = size = 0
    for i, text in enumerate(texts):
        size += len(text) + 1
        if size >= characters:
            yield start, i + 1
            start, size = i + 1, 0
    if start < len(texts):
        yield start, len(texts)


def unmarked_padding(is_pad: np.ndarray, mask: np.ndarray, max_length: int) -> int | None:
    """The first row that ends with padding which its mask does not mark; None if there is none.

    A tokenizer may end each text with the id of [PAD] as a token of its own: one such id is no padding, unless other
    rows, which are not cut, lack it.

    Args:
      is_pad: [N, L] where the id is that of [PAD].
      mask: [N, L] bool (True = PAD), True at the ends of rows alone.
      max_length: to which rows are cut.
    """
    at_end = np.logical_and.accumulate(is_pad[:, ::-1], axis=1)[:, ::-1]
    unmarked = (at_end & ~mask).sum(axis=1)
    some_lack_it = bool(((unmarked == 0) & ((~mask).sum(axis=1) < max_length)).any())
    wrong = np.flatnonzero(unmarked > (0 if some_lack_it else 1))
    return int(wrong[0]) if wrong.size else None
