"""Groups that are in several splits, and rows to train on that are later than the test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textclf_jax.prepare.grouped_split import parse_times


@dataclass(frozen=True)
class GroupFacts:
    """Groups of rows, such as all texts of one author.

    Attributes:
      column: whose values are the groups.
      groups: how many there are.
      without: rows that name none.
      shared: groups with rows in several splits, the largest first.
      leaked_rows: rows of val and test whose group is in train.
    """

    column: str
    groups: int
    without: int
    shared: list[str]
    leaked_rows: int


@dataclass(frozen=True)
class TimeFacts:
    """The order of rows in time.

    Attributes:
      column: of the times.
      first, last: the earliest and the latest, as they are written.
      later_rows: rows to train or choose models on that are later than the first row of the test.
    """

    column: str
    first: str
    last: str
    later_rows: int


def find_group_leaks(column: str, groups: Sequence[str], splits: Sequence[str]) -> GroupFacts:
    """Looks for groups that are in several splits; rows with an empty group belong to none."""
    parts: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for group, split in zip(groups, splits, strict=True):
        if group:
            parts.setdefault(group, set()).add(split)
            sizes[group] = sizes.get(group, 0) + 1
    shared = [group for group, found in parts.items() if len(found) > 1]
    trained = {group for group, found in parts.items() if "train" in found}
    leaked = sum(split != "train" and group in trained for group, split in zip(groups, splits, strict=True))
    shared.sort(key=lambda group: (-sizes[group], group))
    return GroupFacts(column, len(parts), sum(not group for group in groups), shared, leaked)


def find_time_leaks(column: str, values: Sequence[str], splits: Sequence[str], places: Sequence[str]) -> TimeFacts:
    """Counts the rows that tell of times after the test began; raises UserError where values are no times."""
    times = parse_times(values, places)
    is_test = np.array([split == "test" for split in splits])
    first_test = times[is_test].min() if is_test.any() else np.inf
    return TimeFacts(
        column=column,
        first=values[int(times.argmin())],
        last=values[int(times.argmax())],
        later_rows=int((times[~is_test] > first_test).sum()),
    )
