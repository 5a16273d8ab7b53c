"""What labels look like: whether they can be classes, and which of them may be meant as one."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean

from textclf_jax.class_names import folded, is_number
from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.label_sets import find_lists, look_at_separator
from textclf_jax.prepare.texts import ReadOptions, Row

FEW_CLASSES = 20  # half stars from 0.5 to 10 are that many
SMALL = 20  # rows; of fewer, many can have a label of their own by chance
LONG_NAME = 200  # characters; class names are shorter
MAX_DECIMALS = 40  # characters of a number with decimals
SHOWN_GROUPS = 5
MISSING = {"nan", "NaN", "NaT", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "null", "NULL"}

WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
WITH_DECIMALS = re.compile(r"[$€£]?[-+−]?(\d*[.,](\d+)|\d+[.,]?\d*[eE][-+]?(\d+))\s*%?")

SECTION = re.compile(r"([1-9][0-9]?)\.([1-9][0-9]{0,2})")
CODE = re.compile(r"0[0-9]")

LabelledSplits = Mapping[str, Sequence[Row]]


# --- whether labels are classes -------------------------------------------------------------------------------


def require_classes(rows: Sequence[Row], read: ReadOptions, otherwise: str = "") -> None:
    """Raises UserError where the labels of rows are hardly meant as classes; it says what they may be instead.

    Args:
      rows: those to train on; rows without a label do not count.
      read: how they were read.
      otherwise: a further way out, as a sentence.
    """
    guess = _other_than_classes(rows, read)
    if guess is None:
        return
    labelled = _one_label_each(rows)
    counts = Counter(label for row in labelled for label in row.labels)
    lists = find_lists(counts)
    few = listed([f"{shortened(str(row.label), 40)!r} (line {row.line})" for row in labelled[:3]])
    raise UserError(
        f"{labelled[0].path}: the labels do not look like classes: {len(counts):,} different ones in {len(labelled):,} "
        f"rows, such as {few}. {guess} If they are classes, pass --accept-labels.{otherwise and ' '}{otherwise}"
        f"{'' if lists is None else f' {lists}'}"
    )


def notes_on_lists(rows: Sequence[Row], read: ReadOptions) -> list[str]:
    """Says where labels look like lists and are not read as such, or the other way round.

    Raises:
      UserError: they are lists with another separator than the one given.
    """
    if read.label_separator is not None:
        return list(look_at_separator([row.labels for row in rows], read.label_separator))
    lists = find_lists(Counter(label for row in rows for label in row.labels))
    return [] if lists is None else [str(lists)]


def look_like_classes(rows: Sequence[Row]) -> bool:
    """Whether the labels of rows may be classes."""
    return _other_than_classes(rows, ReadOptions()) is None


def _other_than_classes(rows: Sequence[Row], read: ReadOptions) -> str | None:
    """What labels seem to be instead of classes, and what to do about it; None: they may be classes."""
    rows = _one_label_each(rows)
    counts = Counter(str(row.label) for row in rows)
    if len(counts) < 2:
        return None
    many = 2 * len(counts) > len(rows)
    elsewhere = "name the column of the classes with --label-column."
    if mostly_decimals(counts) and (many or (len(counts) > FEW_CLASSES and not _are_sections(counts))):
        return (
            "They are numbers with decimals: a target to regress on? Put them into a few classes first (such as low, "
            f"medium, high), or {elsewhere}"
        )
    longer = fmean(len(str(row.label)) for row in rows) > fmean(len(row.text) for row in rows)
    if longer and len(counts) > len({row.text for row in rows}):
        exchanged = f"--text-column {shlex.quote(read.label_name)} --label-column {shlex.quote(read.text_name)}"
        return f"They are longer than the texts, of which there are fewer: are the columns exchanged? Try {exchanged}."
    length = fmean(map(len, counts))
    if length > LONG_NAME / 2 and 3 * len(counts) > len(rows):
        return f"They have {length:,.0f} characters on average: are these the texts? If so, {elsewhere}"
    alone = sum(count == 1 for count in counts.values())
    if 2 * alone > len(rows) >= SMALL or alone == len(rows) >= SMALL // 2:
        return f"Most rows have a label of their own: an id, a date, a free text? If so, {elsewhere}"
    if 4 * len(counts) > len(rows) and len(counts) > FEW_CLASSES and _far_apart(counts):
        return (
            "They are whole numbers far apart: an amount to regress on? Put them into a few classes first (such as "
            f"low, medium, high), or {elsewhere}"
        )
    return None


def _one_label_each(rows: Sequence[Row]) -> list[Row]:
    """A row for each label of each row."""
    return [row if row.label is label else row._replace(label=label) for row in rows for label in row.labels]


def mostly_decimals(labels: Iterable[str]) -> bool:
    """Whether more than half of the labels are numbers that are not whole."""
    labels = list(labels)
    return 2 * sum(map(_has_decimals, labels)) > len(labels)


def _has_decimals(label: str) -> bool:
    match = WITH_DECIMALS.fullmatch(label) if len(label) <= MAX_DECIMALS else None
    return match is not None and not set(match[2] or match[3]) <= {"0"}


def _are_sections(labels: Iterable[str]) -> bool:
    """Whether labels are numbers of sections: 1.1, 1.2, 2.1 ..., in each chapter from 1 on without a gap."""
    chapters: dict[str, set[int]] = {}
    for label in labels:
        match = SECTION.fullmatch(label)
        if match is None:
            return False
        chapters.setdefault(match[1], set()).add(int(match[2]))
    return all(max(sections) == len(sections) for sections in chapters.values())


def _far_apart(labels: Iterable[str]) -> bool:
    """Whether labels are whole numbers, of which most between the smallest and the largest are missing.

    Codes such as 010 are none: no amount is written with zeros before it.
    """
    labels = list(labels)
    if any(CODE.match(label) for label in labels):
        return False
    if not all(is_number(label) and WHOLE.fullmatch(label) for label in labels):
        return False
    values = {int(Decimal(label)) for label in labels}
    return max(values) - min(values) + 1 > 2 * len(values)


# --- one name for one class -----------------------------------------------------------------------------------


def in_order(labels: Iterable[str]) -> list[str]:
    """Sorts distinct labels: numbers by value, anything else by code points. The order depends on nothing else."""
    labels = sorted(labels)
    return sorted(labels, key=Decimal) if all(map(is_number, labels)) else labels


def whole_numbers(splits: LabelledSplits) -> dict[str, list[Row]] | None:
    """Rows with 1 for 1.0, where all labels are whole numbers and some are written with decimals; otherwise None.

    Programs write integers that way where a cell of their column was empty.
    """
    labels = {label for rows in splits.values() for row in rows for label in row.labels}
    if not any("." in label for label in labels) or not all(WHOLE.fullmatch(label) for label in labels):
        return None
    whole = {label: label.partition(".")[0].removeprefix("-" * (Decimal(label) == 0)) for label in labels}

    def mended(row: Row) -> Row:
        if row.label is None:
            return row
        if isinstance(row.label, str):
            return row._replace(label=whole[row.label])
        return row._replace(label=tuple(sorted({whole[label] for label in row.label})))

    return {name: [mended(row) for row in rows] for name, rows in splits.items()}


def look_alikes(counts: Mapping[str, int]) -> list[str]:
    """Finds labels that differ only by case, width, spaces or invisible characters, or in how a number is written.

    Args:
      counts: rows of each label.

    Returns:
      Such as "'Positive' (120), 'positive' (34)" for each group; the largest first.
    """
    return [listed([f"{name!r} ({counts[name]:,})" for name in names]) for names in _groups_alike(counts)]


def merge_alike(rows: Sequence[Row]) -> list[Row]:
    """Rows in which labels that look alike, as `look_alikes` finds them, have their most frequent spelling."""
    counts = Counter(label for row in rows for label in row.labels)
    spelling = {name: names[0] for names in _groups_alike(counts) for name in names}

    def spelled(row: Row) -> Row:
        if row.label is None or not spelling.keys() & set(row.labels):
            return row
        found = [spelling.get(label, label) for label in row.labels]
        return row._replace(label=found[0] if isinstance(row.label, str) else tuple(sorted(set(found))))

    return [spelled(row) for row in rows]


def _groups_alike(counts: Mapping[str, int]) -> list[list[str]]:
    """The labels that look alike, the most frequent first; the largest group first."""
    groups: dict[str, list[str]] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        groups.setdefault(folded(name), []).append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    return sorted(alike, key=lambda names: -sum(counts[name] for name in names))


def oddities(counts: Mapping[str, int]) -> list[str]:
    """What is odd about single labels that may be classes, a sentence each."""
    found = []
    if mostly_decimals(counts):
        found.append(
            f"The labels are numbers with decimals ({listed(in_order(counts), 5)}): each is a class of its own, and "
            "that 1.5 lies between 1 and 2 is not used."
        )
    if long := [name for name in in_order(counts) if len(name) > LONG_NAME]:
        found.append(f"These labels have over {LONG_NAME} characters: {listed(long, 3)}. Are they texts?")
    if missing := sorted(MISSING & counts.keys()):
        shown = listed([f"{name!r} ({counts[name]:,})" for name in missing])
        found.append(f"These classes are how programs write a missing label: {shown}. Leave such rows out if they are.")
    return found


def remarks(counts: Mapping[str, int]) -> list[str]:
    """What is worth a look in labels that may be classes, a sentence each."""
    found, groups = oddities(counts), look_alikes(counts)
    found += [
        f"These labels differ only by case, width, spaces or the like: {group}. Are they one class? Mend the file then."
        for group in groups[:SHOWN_GROUPS]
    ]
    if len(groups) > SHOWN_GROUPS:
        found.append(f"... and {len(groups) - SHOWN_GROUPS:,} more groups of labels that look alike.")
    return found
