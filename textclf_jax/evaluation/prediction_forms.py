"""Predictions as csv and JSON lines: all columns of the input, then what the model says."""

from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import IO, Protocol

from textclf_jax.errors import listed
from textclf_jax.evaluation.prediction import Prediction
from textclf_jax.files import json_text, write_csv

SEPARATORS = ("|", ";", ",", "/")  # of the labels of a text in a csv
SHOWN_NAMES = 5
MARKS = ("empty", "cut")  # whether the text has no token; whether its end was not read
# some readers end lines at these: within a JSON line, they are escaped
LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}

Answered = tuple[Sequence[str], Prediction]  # the fields of a row as they were written, and what the model says


class Form(Protocol):
    """A way to write predictions.

    Attributes:
      notes: what the user should know about it.
    """

    notes: list[str]

    def write_header(self, stream: IO[str]) -> None:
        """Writes what stands before the first row."""
        ...

    def write_rows(self, rows: Iterable[Answered], stream: IO[str]) -> None:
        """Writes rows."""
        ...


class CsvForm:
    """A line a text: its fields, the label or labels, the probability of each class, and MARKS as true or false."""

    def __init__(self, names: Sequence[str], labels: Sequence[str], *, several: bool):
        """Finds names for the columns that are added.

        Args:
          names: of the input's columns.
          labels: of the classes.
          several: whether a text can have several labels.
        """
        wanted = ["labels" if several else "label", *(f"p({label})" for label in labels), *MARKS]
        ours = own_names(wanted, names)
        self._header = [*names, *ours]
        self._separator = separator_of(labels)
        self.notes = _renamed(wanted, ours)
        if several and self._separator != SEPARATORS[0]:
            self.notes.append(f"labels of a text are separated by {self._separator!r}: names of classes have others")

    def write_header(self, stream: IO[str]) -> None:
        """See `Form`."""
        write_csv(stream, [self._header])

    def write_rows(self, rows: Iterable[Answered], stream: IO[str]) -> None:
        """See `Form`."""
        write_csv(stream, (self._row(*row) for row in rows))

    def _row(self, fields: Sequence[str], p: Prediction) -> list[str]:
        marks = ("true" if mark else "false" for mark in (p.is_empty, p.is_cut))
        return [
            *fields,
            self._separator.join(p.labels),
            *(f"{value:.6f}" for value in p.probabilities.tolist()),
            *marks,
        ]


class JsonForm:
    """An object a line: its fields, the label (null: unsure) or labels, the probabilities by class, and MARKS."""

    def __init__(self, names: Sequence[str], labels: Sequence[str], *, several: bool):
        """Finds names for the keys; arguments as of `CsvForm`."""
        self._labels, self._several = labels, several
        keys: list[str] = []
        for name in names:  # an object has each key once
            keys.append(_free(name, keys))
        wanted = ["labels" if several else "label", "probabilities", *MARKS]
        self._keys = [*keys, *own_names(wanted, keys)]
        self.notes = _renamed([*names, *wanted], self._keys)

    def write_header(self, stream: IO[str]) -> None:
        """Nothing; see `Form`."""

    def write_rows(self, rows: Iterable[Answered], stream: IO[str]) -> None:
        """See `Form`."""
        for fields, p in rows:
            values = (round(value, 6) for value in p.probabilities.tolist())
            answer = p.labels if self._several else None if p.is_unsure else p.label
            ours = [answer, dict(zip(self._labels, values, strict=True)), p.is_empty, p.is_cut]
            found = dict(zip(self._keys, [*fields, *ours], strict=True))
            print(json_text(found, indent=None).translate(LINE_ENDS), file=stream)


def separator_of(labels: Sequence[str]) -> str:
    """What stands between the labels of a text in a csv: the first that no name of a class has."""
    longer = (SEPARATORS[0] * length for length in count(2))
    return next(each for each in chain(SEPARATORS, longer) if not any(each in label for label in labels))


def own_names(wanted: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names for the columns that are added, which the input does not have."""
    return [_free(f"predicted_{name}" if name in taken else name, taken) for name in wanted]


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or where it is taken, with the first number from 2 on that makes it free."""
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _renamed(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    changed = [f"{name!r} is {new!r}" for name, new in zip(wanted, names, strict=True) if name != new]
    if not changed:
        return []
    return [f"names that the input has already: in the output, {listed(changed, SHOWN_NAMES, whole=True)}"]
