"""Whether an attention_mask (True = PAD) and the [PAD] ids of a file agree, and what a mask that does not may be."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from textclf_jax.errors import UserError

TOLERATED_ROWS = 0.02  # the share of the rows with padding that may disagree; one of several may always
SHIFTS = (-2, -1, 1, 2)  # places by which masks are known to slip: of [CLS], of [SEP], of both


@dataclass
class PaddingCheck:
    """Counts, chunk by chunk, where mask and [PAD] disagree, row by row; then refuses the file or says what it found.

    [PAD] at the start or the end of a row is padding; between real tokens it is a token that the text has.

    Attributes:
      path: the file.
      pad_id: the id of [PAD].
      is_bool: whether the mask is bool; else numbers, 1 = PAD.
      third_is_mask: whether the third tensor looks like a mask, as in what BERT tokenizers return.
    """

    path: Path
    pad_id: int
    is_bool: bool
    third_is_mask: bool = False

    rows: int = 0
    padded_rows: int = 0  # rows with padding, by the mask or by [PAD]: only these show whether the two agree
    positions: int = 0
    masked: int = 0  # positions that the mask calls padding
    masked_pads: int = 0  # those among them that hold [PAD]
    pads: int = 0  # [PAD]
    pads_as_real: int = 0  # padding that counts as real
    words_as_padding: int = 0  # other ids that count as padding
    inner_pads: int = 0  # [PAD] between real tokens
    inner_rows: int = 0
    wrong_rows: int = 0  # rows in which mask and padding disagree
    wrong_if_inverted: int = 0  # rows in which they would if the mask were inverted
    first_wrong: int | None = None
    emptied_rows: int = 0  # rows with real tokens that are all masked
    first_emptied: int | None = None
    starts_masked: bool = False  # whether any row's first position is masked
    masked_ids: tuple[int, int] | None = None  # the lowest and the highest id, [PAD] aside, that is masked
    masked_widths: set[int] = field(default_factory=set)  # how many positions of a row are masked
    shifts: set[int] = field(default_factory=lambda: set(SHIFTS))  # places by which all rows' masks may have slipped
    hole: int | None = None  # the first row with padding before real tokens
    hole_has_pads: bool = False  # whether that row has [PAD] where the mask has padding, and nowhere else

    def add(self, start: int, ids: Int[np.ndarray, "R L"], mask: Bool[np.ndarray, "R L"]) -> None:
        """Counts the rows from number `start` on."""
        pad = ids == self.pad_id
        self.rows += len(ids)
        self.positions += mask.size
        self.pads += int(pad.sum())
        self.masked += int(mask.sum())
        self.starts_masked |= bool(mask[:, 0].any())
        holes = (mask[:, :-1] & ~mask[:, 1:]).any(axis=1)
        if self.hole is None and holes.any():
            row = int(np.flatnonzero(holes)[0])
            self.hole, self.hole_has_pads = start + row, np.array_equal(pad[row], mask[row])
        widths = mask.sum(axis=1)
        if len(self.masked_widths) < 2:
            self.masked_widths.update(np.unique(widths).tolist())
        differing = np.flatnonzero((pad != mask).any(axis=1))
        alike = np.delete(widths, differing)
        self.padded_rows += int((alike > 0).sum())
        if ((alike > 0) & (alike < mask.shape[1])).any():  # rows that would not agree if the mask were shifted
            self.shifts.clear()
        self.masked_pads += int((pad & mask).sum())
        self.wrong_if_inverted += len(ids) - len(differing)
        if len(differing):
            self._add_differing(start, differing, ids[differing], mask[differing])

    def _add_differing(
        self, start: int, numbers: Int[np.ndarray, " R"], ids: Int[np.ndarray, "R L"], mask: Bool[np.ndarray, "R L"]
    ) -> None:
        word = ids != self.pad_id
        inner = (
            ~word & np.logical_or.accumulate(word, axis=1) & np.logical_or.accumulate(word[:, ::-1], axis=1)[:, ::-1]
        )
        padding = ~word & ~inner
        self.inner_pads += int((inner & ~mask).sum())
        self.inner_rows += int((inner & ~mask).any(axis=1).sum())
        self.pads_as_real += int((padding & ~mask).sum())
        self.words_as_padding += int((mask & word).sum())
        self.padded_rows += int((padding | mask).any(axis=1).sum())
        wrong = ((padding & ~mask) | (word & mask)).any(axis=1)
        self.wrong_rows += int(wrong.sum())
        self.wrong_if_inverted += int((mask == padding).any(axis=1).sum())
        emptied = mask.all(axis=1) & word.any(axis=1)
        self.emptied_rows += int(emptied.sum())
        if self.first_wrong is None and wrong.any():
            self.first_wrong = start + int(numbers[wrong][0])
        if self.first_emptied is None and emptied.any():
            self.first_emptied = start + int(numbers[emptied][0])
        if (masked := ids[mask & word]).size:
            low, high = self.masked_ids or (int(masked.min()), int(masked.max()))
            self.masked_ids = min(low, int(masked.min())), max(high, int(masked.max()))
        self.shifts = {shift for shift in self.shifts if _is_shifted(mask, padding, shift)}

    # --- what it means ----------------------------------------------------------------------------------------

    def notes(self) -> Iterator[str]:
        """Yields what the user should know of a mask that is used.

        Raises:
          UserError: the mask cannot be meant, or rows have padding before real tokens; the remedy is named.
        """
        if self.pads == self.positions:
            raise UserError(
                f"{self.path}: there is no real token: all ids are {self.pad_id} ([PAD]). Encode the texts again."
            )
        other = self._other_padding()
        if other is None and (told := self._mistaken()):
            raise UserError(f"{self.path}: {told}")
        if self.hole is not None:
            remedy = f", by attention_mask but not by [PAD]. {self._rebuild}"
            if self.hole_has_pads or other is not None:
                remedy = ". Move the padding of each row to its end, in input_ids and in attention_mask."
            raise UserError(f"{self.path}: in row {self.hole} real tokens follow padding{remedy}")
        if other is not None:
            yield (
                f"{self.path}: padding holds the id {other}, not {self.pad_id} ([PAD]); the {self.masked} positions "
                "where attention_mask is True are padding all the same"
            )
        elif self._is_much(self.wrong_rows):
            raise UserError(f"{self.path}: {self._disagreement}. {self._either_remedy}")
        elif self.wrong_rows:
            yield f"{self.path}: {self._disagreement}; the mask is believed"
        if self.inner_pads:
            yield (
                f"{self.path}: {self.inner_pads} [PAD] stand between real tokens, in {self.inner_rows} of {self.rows} "
                "rows, and count as real"
            )

    def _other_padding(self) -> int | None:
        """The one id that all padding holds, where no [PAD] is in the file and rows differ in their padding."""
        low, high = self.masked_ids or (0, 1)
        fits = self.pads == 0 and low == high and len(self.masked_widths) > 1
        return low if fits and self.masked < self.positions else None

    def _mistaken(self) -> str | None:
        """What the mask is instead of one, with the remedy; None where it is one, as far as can be told."""
        if self.wrong_rows == 0:
            return None
        if self.masked == self.positions:
            return (
                "attention_mask is True everywhere, so that no token would be real. Is it one with 1 = real, of rows "
                f"without padding? {self._rebuild}"
            )
        if self.masked == 0:
            return f"attention_mask marks no padding, but {self._disagreement}.{self._tokenizer_hint} {self._rebuild}"
        if self._is_much(self.wrong_rows):
            if not self._is_much(self.wrong_if_inverted):
                return self._inverted
            if self.shifts and self.pads:
                places = min(self.shifts, key=abs)
                return f"attention_mask seems shifted by {places:+d}: {self._disagreement}. {self._rebuild}"
            if self.masked_pads == 0 and not self.starts_masked:
                return (
                    f"attention_mask looks like token_type_ids, 1 in the second text of a pair: {self._disagreement}."
                    f"{self._tokenizer_hint} {self._either_remedy}"
                )
        if self.emptied_rows:
            return (
                f"row {self.first_emptied} has real tokens, but attention_mask is True at all of them, as in "
                f"{self.emptied_rows} of {self.rows} rows. {self._rebuild} Or leave these rows out."
            )
        return None

    def _is_much(self, rows: int) -> bool:
        """Whether so many rows in which mask and padding disagree are more than a slip."""
        return rows > max(1, TOLERATED_ROWS * self.padded_rows) or 0 < rows == self.padded_rows

    @property
    def _inverted(self) -> str:
        agreeing = (self.positions - self.pads_as_real - self.words_as_padding) / self.positions
        negated = "~attention_mask" if self.is_bool else "attention_mask == 0"
        return (
            f"attention_mask seems inverted. Read as True = PAD it agrees with the {self.pad_id}s (PAD) in input_ids "
            f"on {agreeing:.0%} of all positions, read as True = real on {1 - agreeing:.0%}. "
            + (f"Save {negated}." if self.wrong_if_inverted == 0 else self._rebuild)
        )

    @property
    def _disagreement(self) -> str:
        counts = {
            f"{self.pads_as_real} positions with [PAD] count as real": self.pads_as_real,
            f"{self.words_as_padding} tokens other than [PAD] count as padding": self.words_as_padding,
        }
        told = " and ".join(what for what, count in counts.items() if count)
        return f"{told}, in {self.wrong_rows} of {self.rows} rows (the first: row {self.first_wrong})"

    @property
    def _rebuild(self) -> str:
        return f"Save attention_mask = (input_ids == {self.pad_id})."

    @property
    def _either_remedy(self) -> str:
        if self.pads_as_real:
            return self._rebuild
        return (
            f"If all tokens are meant to be read: {self._rebuild} If those that the mask marks are to be left out: set "
            f"input_ids to {self.pad_id} ([PAD]) there."
        )

    @property
    def _tokenizer_hint(self) -> str:
        if not self.third_is_mask:
            return " Is it token_type_ids?"
        return (
            " The three tensors look like input_ids, token_type_ids and attention_mask (1 = real), the order in which "
            "BERT tokenizers give them; here the second is attention_mask (True = PAD), and a third one is labels [N]."
        )


def _is_shifted(mask: Bool[np.ndarray, "R L"], padding: Bool[np.ndarray, "R L"], places: int) -> bool:
    """Whether every row's mask is its padding, moved by so many places; what came in at the edge is free."""
    if places < 0:
        mask, padding, places = padding, mask, -places
    return np.array_equal(mask[:, places:], padding[:, :-places])
