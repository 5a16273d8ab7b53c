"""Several labels in a cell: taken apart by a separator, and recognised where none is given."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from textclf_jax.class_names import same_name
from textclf_jax.errors import UserError, listed, shortened

JSON = "json"  # in place of a separator: cells are lists such as ["a", "b"]
SEPARATORS = ("|", ";", ",")  # that are looked for
LIST_SHARE, LIST_ROWS = 0.1, 3  # rows that look like lists before it is said
ITEM = r"""'[^'\\]*'|"[^"\\]*"|[-+\w.]+"""
# as Python prints a list; numpy prints no commas, and ['a' 'b'] would be the text 'ab' in Python
PYTHON_LIST = re.compile(rf"\[\s*(?:(?:{ITEM})\s*(?:,\s*(?:{ITEM})\s*)*(?:,\s*)?)?\]")
NUMBER_WITH_COMMAS = re.compile(r"[$€£]?[-+−]?(\d*,\d+|\d{1,3}(,\d{3})+(\.\d+)?)\s*%?")


def as_list(cell: str) -> list[str] | None:
    """The items of a list in JSON, or as Python prints it; None where a cell is no list of names and numbers."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    if PYTHON_LIST.fullmatch(cell):
        return [item[1:-1] if item[0] in "'\"" else item for item in re.findall(ITEM, cell)]
    try:
        items = json.loads(cell, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return items if all(isinstance(item, str) for item in items) else None


def _is_surely_list(cell: str, items: list[str] | None) -> bool:
    """Whether a cell is a list, and not a name in brackets."""
    return items is not None and (len(items) > 1 or '"' in cell or "'" in cell)


def cell_of(labels: Sequence[str], separator: str) -> str:
    """The cell that `CellReader` reads as these labels."""
    if separator == JSON:
        return json.dumps(labels, ensure_ascii=False) if labels else ""
    return separator.join(labels)


@dataclass
class CellReader:
    """Reads the label cells of a file.

    Attributes:
      path: the file, for messages.
      separator: between the labels of a cell; JSON: cells are lists.
    """

    path: Path
    separator: str

    cells: int = 0  # with something in them
    lists: int = 0  # cells that are lists in JSON or of Python, beyond doubt
    blank: list[int] = field(default_factory=list)  # lines whose cells have nothing between two separators
    repeated: list[int] = field(default_factory=list)  # lines whose cells name a label twice

    def read(self, cell: str, line: int) -> tuple[str, ...] | None:
        """The labels of a cell, sorted, each once; None where there is none.

        Raises:
          UserError: cells are to be lists, and this is none.
        """
        self.cells += 1
        items = as_list(cell)
        self.lists += _is_surely_list(cell, items)
        if self.separator == JSON:
            if items is None:
                raise UserError(
                    f"{self.path} line {line}: the label cell {shortened(cell)!r} is no list such as [\"a\", 'b', 3], "
                    "which --label-separator json reads. Mend it, or name the character between labels."
                )
        else:
            items = cell.split(self.separator)
        names = [name for item in items if (name := same_name(item))]
        if len(names) < len(items) and self.separator.strip():
            self.blank.append(line)
        if len(set(names)) < len(names):
            self.repeated.append(line)
        return tuple(sorted(set(names))) or None

    def notes(self) -> Iterator[str]:
        """Yields what is odd about the cells.

        Raises:
          UserError: most are lists in JSON, and were not to be.
        """
        if self.separator != JSON and 2 * self.lists > self.cells:
            raise UserError(
                f"{self.path}: most label cells are lists such as [\"a\", 'b']: {self.lists:,} of {self.cells:,}. Pass "
                f"--label-separator {JSON}."
            )
        for lines, what in (
            (self.repeated, "name a label more than once (it counts once)"),
            (self.blank, "have nothing between two separators, or beside one (skipped)"),
        ):
            if lines:
                yield f"label cells that {what}: {len(lines):,} (first: line {lines[0]})"


# --- lists that are not asked for -------------------------------------------------------------------------------


class Lists(NamedTuple):
    """Labels that look like lists of labels.

    Attributes:
      separator: of the lists, or JSON.
      rows: that have such labels.
      parts: the labels in the lists, the most frequent first.
      example: a list.
    """

    separator: str
    rows: int
    parts: list[str]
    example: str

    def __str__(self) -> str:
        kind = "" if self.separator == JSON else f" separated by {self.separator!r}"
        return (
            f"In {self.rows:,} rows the label looks like a list{kind}, such as {shortened(self.example)!r}, of the "
            f"labels {listed(self.parts, 5)}: as it is, each different list is a class of its own. If a text can have "
            f"several labels, pass --label-separator '{self.separator}'."
        )


def find_lists(counts: Mapping[str, int]) -> Lists | None:
    """Looks for lists among labels: their parts stand alone, too, or in several lists.

    Labels such as "science, technology" or "Paris, France" have parts that mostly occur in no other label.

    Args:
      counts: rows of each label.
    """
    found = {label: items for label in counts if (items := as_list(label)) is not None}
    if 2 * sum(counts[label] for label in found if _is_surely_list(label, found[label])) > sum(counts.values()):
        return _lists(JSON, found, counts)
    for separator in SEPARATORS:
        parts = {label: list(filter(None, map(same_name, label.split(separator)))) for label in counts}
        several = {label: items for label, items in parts.items() if len(items) > 1}
        rows = sum(counts[label] for label in several)
        if rows < max(LIST_ROWS, LIST_SHARE * sum(counts.values())):
            continue
        if separator == "," and all(NUMBER_WITH_COMMAS.fullmatch(label) for label in several):
            continue
        labels_of_part = Counter(part for items in parts.values() for part in set(items))
        listed_parts = {part for items in several.values() for part in items}
        if 2 * sum(labels_of_part[part] > 1 for part in listed_parts) > len(listed_parts):
            return _lists(separator, several, counts)
    return None


def _lists(separator: str, found: Mapping[str, list[str]], counts: Mapping[str, int]) -> Lists:
    parts: Counter[str] = Counter()
    for label, items in found.items():
        parts.update(dict.fromkeys(items, counts[label]))
    longest_first = sorted(found, key=lambda label: (-min(len(found[label]), 2), -counts[label], label))
    names = sorted(parts, key=lambda part: (-parts[part], part))
    return Lists(separator, sum(counts[label] for label in found), names, longest_first[0])


def look_at_separator(label_sets: Collection[Sequence[str]], separator: str) -> Iterator[str]:
    """Yields a note where no row has several labels.

    Args:
      label_sets: of the rows to train on.
      separator: that they were taken apart with.

    Raises:
      UserError: they are lists with another separator.
    """
    if any(len(labels) > 1 for labels in label_sets):
        return
    counts = Counter(label for labels in label_sets for label in labels)
    if (lists := find_lists(counts)) is not None:
        raise UserError(f"--label-separator {separator!r} is in no label. {lists}")
    yield (
        f"With --label-separator {separator!r} no row to train on has several labels. If no text can have several, "
        "leave the flag out: a model of one class a text is better then."
    )
