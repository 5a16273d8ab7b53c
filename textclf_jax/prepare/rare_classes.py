"""Classes with fewer rows than there are splits: each split is to have one of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from textclf_jax.errors import UserError, listed
from textclf_jax.prepare.texts import Label, Row

RareClasses = Literal["drop", "merge", "keep"]
MERGED = "other"  # the class that rare ones become


@dataclass(frozen=True)
class RareTreatment:
    """What became of rare classes.

    Attributes:
      rows: those that are left, in their order.
      counts: the rows of each rare class, the rarest first.
      note: what was done, as a sentence; empty where there was no rare class.
    """

    rows: list[Row]
    counts: dict[str, int]
    note: str


def count_labels(rows: Sequence[Row]) -> Counter[str]:
    """Counts the rows of each class; of a row with several labels, each counts."""
    return Counter(label for row in rows for label in row.labels)


def rare_classes(counts: Mapping[str, int], splits: int) -> dict[str, int]:
    """The classes with fewer rows than `splits`, the rarest first."""
    rare = [label for label in counts if counts[label] < splits]
    return {label: counts[label] for label in sorted(rare, key=lambda label: (counts[label], label))}


def treat_rare_classes(rows: Sequence[Row], splits: int, how: RareClasses | None) -> RareTreatment:
    """Drops or merges classes with fewer rows than splits, or keeps them, which leaves some splits without them.

    Args:
      rows: labelled rows, before they are split.
      splits: how many there will be.
      how: drop: leave the rows of such classes out (of several labels, the rare ones; a row that had no other is left
        out); merge: make them one class, MERGED; keep: all as it is; None: such classes are an error.

    Raises:
      UserError: there are rare classes and `how` is None; all classes are rare; or merged, they are rare still.
    """
    counts = count_labels(rows)
    rare = rare_classes(counts, splits)
    if not rare:
        return RareTreatment(list(rows), {}, "")
    shown = listed([f"{label} ({count:,})" for label, count in rare.items()])
    what = f"{len(rare):,} of {len(counts):,} classes have fewer rows than the {splits} splits: {shown}"
    if how is None:
        raise UserError(
            f"{rows[0].path}: {what}. Leave them out with --rare-classes drop, make them one class with --rare-classes "
            "merge, or keep them, in training alone where there is one row, with --rare-classes keep."
        )
    if how == "keep":
        return RareTreatment(list(rows), rare, f"{what}; kept: not all splits have them")
    if how == "drop":
        kept = _dropped(rows, rare)
        if len(count_labels(kept)) < 2:
            raise UserError(f"{rows[0].path}: {what}: without them, fewer than two classes are left")
        return RareTreatment(kept, rare, f"{what}; left out, with {len(rows) - len(kept):,} rows")
    merged = [row._replace(label=_merged(row.label, rare)) for row in rows]
    if (count := count_labels(merged)[MERGED]) < splits:
        raise UserError(f"{rows[0].path}: {what}; as one class they would have {count}. Pass --rare-classes drop.")
    joined = f", which was there with {counts[MERGED]:,} rows already" * (MERGED in counts.keys() - rare.keys())
    return RareTreatment(merged, rare, f"{what}; they are now the class {MERGED!r}{joined}")


def _dropped(rows: Sequence[Row], rare: Mapping[str, int]) -> list[Row]:
    kept = []
    for row in rows:
        labels = tuple(label for label in row.labels if label not in rare)
        if len(labels) == len(row.labels):
            kept.append(row)
        elif labels:
            kept.append(row._replace(label=labels))
    return kept


def _merged(label: Label | None, rare: Mapping[str, int]) -> Label | None:
    if isinstance(label, tuple):
        return tuple(sorted({MERGED if each in rare else each for each in label}))
    return MERGED if label in rare else label
