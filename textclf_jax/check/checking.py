"""Checks data from end to end: reads it, gathers the facts, and says what is wrong and what to do about it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from textclf_jax.check.characters import CharacterFacts, describe_characters
from textclf_jax.check.classes import ClassFacts, describe_classes
from textclf_jax.check.data import CheckOptions, Data, read_data, with_text
from textclf_jax.check.giveaways import Giveaway, find_giveaways
from textclf_jax.check.leaks import GroupFacts, TimeFacts, find_group_leaks, find_time_leaks
from textclf_jax.check.lengths import LengthFacts, describe_lengths
from textclf_jax.check.near_duplicates import near_duplicates
from textclf_jax.check.repeats import RepeatFacts, find_repeats
from textclf_jax.check.suspects import Suspects, find_suspects
from textclf_jax.class_names import same_name
from textclf_jax.constants import SPLITS
from textclf_jax.errors import UserError
from textclf_jax.prepare.rare_classes import treat_rare_classes

SHOWN_PLACES = 5
Stage = Callable[[str], None]  # what is being done
# gives the split of each row, by the rows and the numbers of those that are nearly the same
Divide = Callable[[Data, Int[np.ndarray, " N"]], list[str]]


@dataclass(frozen=True)
class Facts:
    """What is known about some data.

    Attributes:
      data: the rows with text, after rare classes were treated.
      rows: that were read.
      empty: rows without visible text, of which `empty_labelled` are labelled; where the first few are.
      unlabelled: rows with text, but without a label; where the first few are.
      treated: what became of rare classes, as a sentence.
      classes, suspects, groups, times: None where there is no label, group or time to look at.
      repeats, lengths, characters, giveaways: see there.
    """

    data: Data
    rows: int
    empty: int
    empty_labelled: list[str]
    unlabelled: int
    unlabelled_places: list[str]
    treated: str
    classes: ClassFacts | None
    repeats: RepeatFacts
    lengths: LengthFacts
    characters: CharacterFacts
    suspects: Suspects | None
    giveaways: list[Giveaway]
    groups: GroupFacts | None
    times: TimeFacts | None

    def as_json(self) -> dict[str, Any]:
        """The facts as --json writes them; suspects with their texts."""
        data = self.data
        repeats = {name: value for name, value in asdict(self.repeats).items() if name != "groups"}
        repeats["examples"] = {name: [pair._asdict() for pair in p] for name, p in self.repeats.examples.items()}
        return {
            "files": data.files,
            "guesses": data.guesses,
            "notes": data.notes,
            "text_column": data.read.text_column,
            "label_column": data.read.label_column,
            "other_columns": list(data.columns),
            "rows": {
                "read": self.rows,
                "without_text": self.empty,
                "without_label": self.unlabelled,
                "repeated_headers": len(data.repeated_headers),
                "splits": {name: len(part) for name, part in data.parts().items()},
                "splits_are_drawn": data.is_drawn,
            },
            "rare_classes": self.treated,
            "classes": None if self.classes is None else asdict(self.classes),
            "repeats": repeats,
            "lengths": asdict(self.lengths),
            "characters": asdict(self.characters),
            "suspects": None if self.suspects is None else _suspects_json(self.suspects, data),
            "giveaways": [asdict(each) for each in self.giveaways],
            "groups": None if self.groups is None else asdict(self.groups),
            "times": None if self.times is None else asdict(self.times),
        }


def _suspects_json(suspects: Suspects, data: Data) -> dict[str, Any]:
    listed = zip(suspects.rows, suspects.suggested, suspects.probability, suspects.own_probability, strict=True)
    return {
        "accuracy": suspects.accuracy,
        "majority": suspects.majority,
        "judged": suspects.judged,
        "rows": [
            {
                "place": data.rows[i].place,
                "text": data.rows[i].text,
                "label": data.rows[i].label,
                "suggested_label": label,
                "probability": probability,
                "probability_of_label": own,
            }
            for i, label, probability, own in listed
        ],
    }


def check_data(options: CheckOptions, stage: Stage = lambda what: None, divide: Divide | None = None) -> Facts:
    """Reads the files and gathers the facts.

    Args:
      options: what to check.
      stage: called with what is being done.
      divide: draws the split, where that is not the one that `textclf prepare` draws.

    Raises:
      UserError: as `read_data`; no row has text; or as `treat_rare_classes` and `divide`.
    """
    stage("reading")
    whole = read_data(options)
    data = with_text(whole)
    if not data.rows:
        raise UserError(f"{whole.files[0]}: has no row with text")
    empty = [row for row in whole.rows if row.is_blank]
    unlabelled = [row.place for row in data.rows if row.label is None]
    treated = ""
    if options.rare_classes is not None:
        data, treated = _treat(data, options)
    stage("looking for repeated texts")
    groups = near_duplicates([row.text for row in data.rows])
    if divide is not None:
        data = replace(data, splits=divide(data, groups), is_drawn=False)
    repeats = find_repeats(data, groups)
    classes = describe_classes(data, are_named=options.label_names is not None)
    suspects, giveaways = None, []
    if classes is not None and not classes.no_classes:
        stage("asking a simple model about the labels")
        suspects, giveaways = _judge_labels(data, repeats)
    stage("measuring texts")
    return Facts(
        data=data,
        rows=len(whole.rows),
        empty=len(empty),
        empty_labelled=[row.place for row in empty if row.label is not None],
        unlabelled=len(unlabelled),
        unlabelled_places=unlabelled[:SHOWN_PLACES],
        treated=treated,
        classes=classes,
        repeats=repeats,
        lengths=describe_lengths([row.text for row in data.rows]),
        characters=describe_characters(data.rows, SHOWN_PLACES),
        suspects=suspects,
        giveaways=giveaways,
        groups=_groups(data, options.group_column),
        times=_times(data, options.time_column),
    )


def _judge_labels(data: Data, repeats: RepeatFacts) -> tuple[Suspects | None, list[Giveaway]]:
    """Rows whose labels are suspect, and what gives labels away; nothing of rows with several labels."""
    labelled = [i for i, row in enumerate(data.rows) if isinstance(row.label, str)]
    if not labelled:
        return None, []
    rows = [data.rows[i] for i in labelled]
    suspects = find_suspects(rows, repeats.groups[labelled].tolist())
    if suspects is not None:
        suspects = replace(suspects, rows=[labelled[i] for i in suspects.rows])
    columns = {name: [cells[i] for i in labelled] for name, cells in data.columns.items()}
    return suspects, find_giveaways(rows, columns)


def _treat(data: Data, options: CheckOptions) -> tuple[Data, str]:
    """The data after rare classes were dropped, merged or kept, and what was done."""
    numbered = [row._replace(line=i) for i, row in enumerate(data.rows)]  # to know which rows are left
    labelled = [row for row in numbered if row.label is not None]
    treatment = treat_rare_classes(labelled, len(SPLITS), options.rare_classes)
    left = {row.line: row.label for row in treatment.rows}
    kept = [i for i, row in enumerate(data.rows) if row.label is None or i in left]
    changed = replace(
        data,
        rows=[data.rows[i]._replace(label=left.get(i)) for i in kept],
        splits=[data.splits[i] for i in kept],
        columns={name: [cells[i] for i in kept] for name, cells in data.columns.items()},
    )
    return changed, treatment.note


def _groups(data: Data, column: str | None) -> GroupFacts | None:
    return None if column is None else find_group_leaks(column, data.columns[same_name(column)], data.splits)


def _times(data: Data, column: str | None) -> TimeFacts | None:
    if column is None:
        return None
    return find_time_leaks(column, data.columns[same_name(column)], data.splits, [row.place for row in data.rows])
