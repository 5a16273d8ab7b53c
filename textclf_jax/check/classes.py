"""The labels of the rows: classes and their counts, spellings, and classes that some split lacks."""

from collections import Counter
from dataclasses import dataclass

from textclf_jax.check.data import Data
from textclf_jax.constants import SPLITS
from textclf_jax.errors import UserError
from textclf_jax.prepare.labels import look_alikes, notes_on_lists, oddities, require_classes
from textclf_jax.prepare.rare_classes import count_labels, rare_classes
from textclf_jax.prepare.texts import Row


@dataclass(frozen=True)
class ClassFacts:
    """What the labels are.

    Attributes:
      counts: rows of each class, the largest first.
      by_split: the same in each split.
      is_multi_label: whether a text can have several.
      no_classes: why the labels are hardly classes; empty where they may be.
      remarks: what is odd about some of them, or that they look like lists.
      alike: groups of labels that differ only by case, width, spaces or the like, such as "'Good' (9), 'good' (3)".
      rare: rows of each class with fewer rows than splits, where the files are not split yet.
      untrained: classes that training lacks, where the files are split.
    """

    counts: dict[str, int]
    by_split: dict[str, dict[str, int]]
    is_multi_label: bool
    no_classes: str
    remarks: list[str]
    alike: list[str]
    rare: dict[str, int]
    untrained: list[str]


def _doubts(rows: list[Row], counts: Counter[str], data: Data) -> tuple[str, list[str]]:
    """Why labels are hardly classes, empty where they may be; and what is odd about some of them."""
    try:
        require_classes(rows, data.read)
    except UserError as error:
        return str(error), oddities(counts)
    return "", [*oddities(counts), *notes_on_lists(rows, data.read)]


def describe_classes(data: Data, *, are_named: bool = False) -> ClassFacts | None:
    """Describes the labels of rows; None where no row has one.

    Args:
      data: the rows.
      are_named: the user has said which classes there are, so labels are not asked whether they are classes.
    """
    rows = [row for row in data.rows if row.label is not None]
    counts = count_labels(rows)
    if not counts:
        return None
    by_split = {
        name: dict(count_labels([r for r in part if r.label is not None])) for name, part in data.parts().items()
    }
    no_classes, remarks = ("", []) if are_named else _doubts(rows, counts, data)
    trained: Counter[str] | dict[str, int] = by_split.get("train", {})
    return ClassFacts(
        counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        by_split=by_split,
        is_multi_label=data.read.label_separator is not None,
        no_classes=no_classes,
        remarks=remarks,
        alike=look_alikes(counts),
        rare=rare_classes(counts, len(SPLITS)) if data.is_drawn and not no_classes else {},
        untrained=[] if data.is_drawn else [name for name in counts if name not in trained],
    )
