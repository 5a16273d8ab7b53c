"""Checks the labels of a file: one class a text, or 0 and 1 for each class; both become labels of the run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8, UInt64

from textclf_jax.data.agreement import Numbering, run_label_sets, run_labels
from textclf_jax.data.equal_rows import contradictions
from textclf_jax.data.torch_files import chunks_of
from textclf_jax.errors import UserError, listed

ENOUGH_ROWS = 20  # of fewer, each may have one label by chance


class LabelCheck(NamedTuple):
    """Checks the labels of a file.

    Attributes:
      path: of the file.
      num_labels: C, classes of the run.
      multi_label: whether a text has several labels: [N, C] of 0 and 1.
      numbering: what the file's labels are in the run's numbers; None: the same.
    """

    path: Path
    num_labels: int
    multi_label: bool
    numbering: Numbering | None

    def checked(self, labels: np.ndarray, notes: list[str]) -> Integer[np.ndarray, "N *C"]:
        """The labels in the run's numbers: [N] int32, or [N, C] uint8 of 0 and 1.

        Args:
          labels: as the file has them, from `read_tensors`.
          notes: gets what the user should know of how they became numbers of the run.

        Raises:
          UserError: names the row and the value at fault, and the remedy.
        """
        labels = self._of_right_form(labels)
        if self.multi_label:
            return self._label_sets(labels, notes)
        return self._single_labels(labels, notes)

    @property
    def _told(self) -> str:
        """What tells the number of classes of this file."""
        if self.numbering is None:
            return f"classification_head.num_labels is {self.num_labels}"
        return f"the classes in {self.numbering.source} are {len(self.numbering.names)}"

    def _of_right_form(self, labels: np.ndarray) -> np.ndarray:
        """The labels; raises UserError for a wrong shape or dtype."""
        expected, form = ("0 and 1 for each class", "[N, C]") if self.multi_label else ("integers", "[N]")
        # torch_files reads integers, floats and bool
        fits = labels.ndim == 2 and labels.shape[1] > 1 if self.multi_label else labels.ndim == 1
        if fits and (self.multi_label or np.issubdtype(labels.dtype, np.integer)):
            return labels
        remedy = _multi_label_remedy(labels) if self.multi_label else _single_label_remedy(labels)
        raise UserError(
            f"{self.path}: labels are {labels.dtype} of shape {list(labels.shape)}, expected {expected} {form}"
            f"{remedy and '. '}{remedy}"
        )

    # --- one label a text ---

    def _single_labels(self, labels: np.ndarray, notes: list[str]) -> Integer[np.ndarray, " N"]:
        count = self.num_labels if self.numbering is None else len(self.numbering.names)
        wrong = np.flatnonzero((labels < 0) | (labels >= count))
        if wrong.size:
            row = int(wrong[0])
            raise UserError(
                f"{self.path}: row {row} has the label {labels[row]}, but {self._told} (labels 0 to {count - 1}); "
                f"{wrong.size} rows are out of range"
            )
        if self.numbering is not None:
            labels = run_labels(self.path, labels, self.numbering, notes)
        return np.asarray(labels, np.int32)

    # --- several labels a text ---

    def _label_sets(self, labels: np.ndarray, notes: list[str]) -> UInt8[np.ndarray, "N C"]:
        count = self.num_labels if self.numbering is None else len(self.numbering.names)
        if labels.shape[1] != count:
            remedy = "S"
            if self.numbering is None:
                remedy = f"Set it to {labels.shape[1]}, and name as many in labels.txt where there is one; or s"
            raise UserError(
                f"{self.path}: labels have shape {list(labels.shape)}, one column a class, but {self._told}. "
                f"{remedy}ave a column for each class."
            )
        labels = self._zeros_and_ones(labels)
        return labels if self.numbering is None else run_label_sets(self.path, labels, self.numbering, notes)

    def _zeros_and_ones(self, labels: np.ndarray) -> UInt8[np.ndarray, "N C"]:
        """The labels as uint8; raises UserError for values that are neither 0 nor 1."""
        result, first, count = np.empty(labels.shape, np.uint8), None, 0
        for start, (part,) in chunks_of(labels):
            wrong = ~((part == 0) | (part == 1))  # NaN is wrong, too
            count += int(wrong.any(axis=1).sum())
            if first is None and count:
                row, column = np.argwhere(wrong)[0].tolist()
                first = start + row, column, part[row, column].item()
            result[start : start + len(part)] = part == 1
        if first is None:
            return result
        row, column, value = first
        name = f" ({self.numbering.names[column]!r})" if self.numbering else ""
        raise UserError(
            f"{self.path}: row {row} has {value} for the label {column}{name}, expected 0 or 1; {count} of "
            f"{len(labels)} rows have such values. {_value_remedy(value)}"
        )


# --- all labels of a split --------------------------------------------------------------------------------------


def label_notes(
    path: Path,
    labels: Integer[np.ndarray, "N *C"],
    hashes: UInt64[np.ndarray, " N"],
    num_labels: int,
    row_name: Callable[[int], str],
) -> Iterator[str]:
    """Yields what the user should know of the labels of a split.

    Args:
      path: for messages.
      labels: in the run's numbers, from `LabelCheck.checked`.
      hashes: of the rows, equal where these are.
      num_labels: C.
      row_name: what to call a row by its number.
    """
    told = contradictions(path, hashes, labels, row_name)
    if told:
        yield told
    is_single = labels.ndim == 1
    rows_of_class = np.bincount(labels, minlength=num_labels) if is_single else labels.sum(axis=0, dtype=np.int64)
    absent = np.flatnonzero(rows_of_class == 0)
    if absent.size:
        yield f"{path}: no row has the label {listed(list(map(str, absent)))}"
    if not is_single:
        yield from _set_notes(path, labels, rows_of_class)


def _set_notes(path: Path, labels: UInt8[np.ndarray, "N C"], rows_of_class: Integer[np.ndarray, " C"]) -> Iterator[str]:
    """Yields what is unusual about sets of labels."""
    labels_of_row = labels.sum(axis=1, dtype=np.int64)
    always = np.flatnonzero(rows_of_class == len(labels))
    if always.size:
        yield f"{path}: every row has the label {listed(list(map(str, always)))}"
    empty = int(np.count_nonzero(labels_of_row == 0))
    if empty == len(labels):
        yield f"warning: {path}: no row has a label: all {labels.size} labels are 0"
    elif empty:
        yield f"{path}: {empty} of {len(labels)} rows have no label, and count as none of the classes"
    if len(labels) >= ENOUGH_ROWS and (labels_of_row == 1).all():
        yield (
            f"{path}: every row has one label. If no text can have several, one class a text suits better: "
            "save labels.argmax(1), or prepare the texts again without --label-separator, and set "
            "classification_head.multi_label to false"
        )


# --- remedies ---------------------------------------------------------------------------------------------------


def _single_label_remedy(labels: np.ndarray) -> str:
    """What to do about labels that are not integers [N]; empty where that is plain."""
    if labels.ndim != 2 or not labels.size:
        return ""
    if labels.shape[1] == 1:
        return "Save labels.squeeze(1).long()" if (labels == np.floor(labels)).all() else ""
    if not ((labels == 0) | (labels == 1)).all():
        return (
            "Save the number of one class a row; where texts have several labels, save 0 and 1 for each class [N, C], "
            "and set classification_head.multi_label to true"
        )
    several = f"set classification_head.multi_label to true and classification_head.num_labels to {labels.shape[1]}"
    if (labels.sum(axis=1, dtype=np.int64) == 1).all():
        return f"Each row has one 1: save the numbers of these classes, labels.int().argmax(1); or {several}"
    return f"Several labels a text? Then {several}"


def _multi_label_remedy(labels: np.ndarray) -> str:
    """What to do about labels that are not [N, C]."""
    if labels.ndim == 2 and labels.shape[1] == 1 and (labels == np.floor(labels)).all():
        yes_or_no = ((labels == 0) | (labels == 1)).all()
        return (
            "One column is one label a text: save labels.squeeze(1).long(), and set classification_head.multi_label to "
            f"false{' and classification_head.num_labels to 2' if yes_or_no else ''}"
        )
    if labels.ndim != 1:
        return ""
    return (
        "One label a text: set classification_head.multi_label to false. Several: save a column of 0 and 1 for each "
        "class, or prepare the texts again with textclf prepare --label-separator"
    )


def _value_remedy(value: float) -> str:
    """What to do about a value that is neither 0 nor 1."""
    if value < 0 or value != value:
        return "What is not known cannot be left out of the loss: write 0, or leave these rows out."
    if value < 1:
        return "Probabilities are no labels: decide them, for instance labels > 0.5."
    return "Are these counts, or numbers of classes? Write 1 where a text has the label."
