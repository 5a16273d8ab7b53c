"""Whether the rows of a file hold text: tokens that are not special, few [UNK], no padding that is taken for text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import LoadedTokenizer

WARNED_RATE, REFUSED_RATE = 0.05, 0.5  # of [UNK] or [MASK] among the tokens; those of `textclf prepare`
SUSPECT_TAILS, CERTAIN_TAILS = 0.5, 0.9  # the share of the rows that end in the same id
ENOUGH_ROWS = 10  # for a file to be refused by its tails, or one of several by its tokens
UNKNOWN_NAMES, MASK_NAMES = ("[UNK]", "<unk>"), ("[MASK]", "<mask>")


class SpecialTokens(NamedTuple):
    """What is known of a vocabulary's special tokens.

    Attributes:
      is_special: [V] bool.
      unknown_id, mask_id: -1 where they are not told.
    """

    is_special: Bool[np.ndarray, " V"]
    unknown_id: int
    mask_id: int

    @classmethod
    def of(cls, tokenizer: LoadedTokenizer) -> "SpecialTokens | None":
        """Those of a tokenizer; None where it calls all of its tokens special, which tells nothing."""
        if tokenizer.is_special.all():
            return None
        tokens = tokenizer.tokens or ()
        unknown, mask = (
            next((tokens.index(name) for name in names if name in tokens), -1) for names in (UNKNOWN_NAMES, MASK_NAMES)
        )
        return cls(tokenizer.is_special | np.isin(np.arange(tokenizer.vocab_size), (unknown, mask)), unknown, mask)


@dataclass
class ContentCheck:
    """Counts, chunk by chunk, what the tokens of a file are; then refuses the file or says what it found.

    Attributes:
      path: the file.
      special: of the vocabulary.
      is_part: whether it is one of several files; then a few rows without text may be all of it.
    """

    path: Path
    special: SpecialTokens
    is_part: bool = False

    rows: int = 0
    words: int = 0  # tokens that are not special
    unknown: int = 0  # [UNK]
    masks: int = 0  # [MASK]
    bare_rows: int = 0  # rows with special tokens alone, [UNK] aside
    first_bare: int | None = None

    def add(self, start: int, ids: Int[np.ndarray, "R L"], padding: Bool[np.ndarray, "R L"]) -> None:
        """Counts the rows from number `start` on."""
        real = ~padding
        unknown = (ids == self.special.unknown_id) & real
        words = ~self.special.is_special[ids] & real
        self.rows += len(ids)
        self.words += int(np.count_nonzero(words))
        self.unknown += int(np.count_nonzero(unknown))
        self.masks += int(np.count_nonzero((ids == self.special.mask_id) & real))
        bare = ~(words | unknown).any(axis=1) & real.any(axis=1)
        self.bare_rows += int(np.count_nonzero(bare))
        if self.first_bare is None and bare.any():
            self.first_bare = start + int(np.argmax(bare))

    def notes(self) -> Iterator[str]:
        """Yields what the user should know of the file's tokens.

        Raises:
          UserError: no token is of a text, or most are [UNK] or [MASK].
        """
        text = self.words + self.unknown
        if not text and self._may_be_odd:
            yield f"warning: {self.path}: its {self.rows} rows have special tokens alone, such as [CLS] or [MASK]"
            return
        if not text:
            raise UserError(
                f"{self.path}: no row has a token that is not a special one, such as [CLS], [SEP] or [MASK], so there "
                "is no text in it. Encode the texts again: textclf prepare"
            )
        yield from self._told("[UNK]", self.unknown / text, "so a model sees little of the texts", self._other_words)
        remedy = "Save the ids of the texts as they are: pretraining masks them anew in each epoch."
        yield from self._told("[MASK]", self.masks / (text + self.masks), "so their words are hidden", remedy)
        if self.bare_rows:
            yield (
                f"{self.path}: {self.bare_rows} of {self.rows} rows have special tokens alone (the first: row "
                f"{self.first_bare})"
            )

    def _told(self, name: str, rate: float, effect: str, remedy: str) -> Iterator[str]:
        told = f"{self.path}: {rate:.1%} of the tokens are {name}, {effect}. {remedy}"
        if rate > REFUSED_RATE and not self._may_be_odd:
            raise UserError(told)
        if rate > WARNED_RATE:
            yield f"warning: {told}"

    @property
    def _may_be_odd(self) -> bool:
        """Whether these are the few rows that were left for the last of several files."""
        return self.is_part and self.rows < ENOUGH_ROWS

    @property
    def _other_words(self) -> str:
        return (
            f"The vocabulary ({len(self.special.is_special)} tokens) is not one for these texts, or the file was made "
            "with another one. Encode the texts again, with a vocabulary that is trained on them: textclf prepare "
            "without --vocab says what is [UNK], and why."
        )


@dataclass
class TailCheck:
    """Looks, chunk by chunk, for padding with another id than that of [PAD], in a file whose mask marks none.

    Attributes:
      path: the file.
      pad_id: the id of [PAD].
      special: of the vocabulary, where they are known.
    """

    path: Path
    pad_id: int
    special: SpecialTokens | None

    is_masked: bool = False  # whether the mask marks any padding: then it is believed
    tail_id: int | None = None  # the id that most rows of the first chunk end in
    rows: int = 0
    ended_rows: int = 0  # rows that end in that id twice or more, after other ids
    shortest: int = 2**31  # and how often
    longest: int = 0
    occurrences: int = 0  # of that id
    in_tails: int = 0  # those that end a row

    def add(self, ids: Int[np.ndarray, "R L"], padding: Bool[np.ndarray, "R L"]) -> None:
        """Counts rows."""
        self.is_masked = self.is_masked or bool(padding.any())
        if self.is_masked:
            return
        if self.tail_id is None:
            values, counts = np.unique(ids[:, -1], return_counts=True)
            self.tail_id = int(values[np.argmax(counts)])
        same = ids == self.tail_id
        other = ~same[:, ::-1]
        has_other = other.any(axis=1)
        widths = np.where(has_other, other.argmax(axis=1), ids.shape[1])
        ended = widths[has_other & (widths > 1)]
        self.rows += len(ids)
        self.occurrences += int(np.count_nonzero(same))
        self.in_tails += int(widths.sum())
        self.ended_rows += len(ended)
        self.shortest = min(self.shortest, int(ended.min(initial=self.shortest)))
        self.longest = max(self.longest, int(ended.max(initial=0)))

    def notes(self) -> Iterator[str]:
        """Yields that an id looks like padding; raises UserError where it can be nothing else."""
        varies = self.shortest < self.longest
        if self.is_masked or self.tail_id == self.pad_id or not varies or self.ended_rows <= SUSPECT_TAILS * self.rows:
            return
        told = (
            f"{self.path}: attention_mask marks no padding, but {self.ended_rows} of {self.rows} rows end in the id "
            f"{self.tail_id}, {self.shortest} to {self.longest} times. It looks like the padding of another tokenizer, "
            f"and would be read as text. Set input_ids to {self.pad_id} ([PAD]) there, and save attention_mask = "
            f"(input_ids == {self.pad_id})."
        )
        is_no_word = self.special is not None and bool(self.special.is_special[self.tail_id])
        nowhere_else = self.occurrences == self.in_tails
        nearly_all = self.rows >= ENOUGH_ROWS and self.ended_rows >= CERTAIN_TAILS * self.rows
        if nearly_all and (is_no_word or nowhere_else):
            raise UserError(told)
        yield f"warning: {told}"
