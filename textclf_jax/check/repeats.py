"""Texts that are there more than once, exactly or nearly: within a split, across splits, and with different labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from textclf_jax.check.data import Data
from textclf_jax.prepare.splitting import count_duplicates
from textclf_jax.prepare.texts import Row

SHOWN_PAIRS = 3


class Pair(NamedTuple):
    """Two rows that are nearly the same, or the same with different labels."""

    place: str
    other_place: str
    text: str
    other_text: str
    label: str
    other_label: str


@dataclass(frozen=True)
class RepeatFacts:
    """Texts that are there more than once.

    Attributes:
      exact: rows that repeat a text, by where: "train" within the training rows, "test in train" across splits.
      near: rows that nearly repeat another, beyond those, by where.
      contradicted: texts with several labels; `near_contradicted`: sets of texts that are nearly the same and have
        several, though none of the texts alone has.
      examples: of near repeats and of contradictions.
      groups: [N] of all rows: the number of the first row of those that are nearly the same.
    """

    exact: dict[str, int]
    near: dict[str, int]
    contradicted: int
    near_contradicted: int
    examples: dict[str, list[Pair]]
    groups: Int[np.ndarray, " N"]

    @property
    def across(self) -> int:
        """Rows that repeat one of an earlier split, exactly or nearly."""
        return sum(_across(counts) for counts in (self.exact, self.near))

    @property
    def within(self) -> int:
        """Rows that repeat one of their own split, exactly or nearly."""
        return sum(sum(counts.values()) - _across(counts) for counts in (self.exact, self.near))


def _across(counts: Mapping[str, int]) -> int:
    return sum(count for where, count in counts.items() if " in " in where)


def find_repeats(data: Data, groups: Int[np.ndarray, " N"]) -> RepeatFacts:
    """Finds texts that are there more than once; all rows of `data` have text, `groups` is that of the facts."""
    exact = count_duplicates(data.parts())
    both = count_duplicates(data.parts([str(group) for group in groups]))
    members: dict[int, list[Row]] = {}
    for row, group in zip(data.rows, groups.tolist(), strict=True):
        members.setdefault(group, []).append(row)
    sets = [rows for rows in members.values() if len(rows) > 1]
    contradicted, near_contradicted, near = [], [], []
    for rows in sets:
        pairs = _contradictions(rows)
        contradicted += pairs
        near += [_pair(rows[0], row) for row in rows[1:] if row.text != rows[0].text][:1]
        if not pairs and len({row.label for row in rows if row.label is not None}) > 1:
            near_contradicted.append(_differing(rows))
    return RepeatFacts(
        exact=exact,
        near={where: more for where, count in both.items() if (more := count - exact.get(where, 0)) > 0},
        contradicted=len(contradicted),
        near_contradicted=len(near_contradicted),
        examples={
            "near": near[:SHOWN_PAIRS],
            "contradicted": contradicted[:SHOWN_PAIRS],
            "near_contradicted": near_contradicted[:SHOWN_PAIRS],
        },
        groups=groups,
    )


def _contradictions(rows: Sequence[Row]) -> list[Pair]:
    """A pair for each text that has several labels."""
    by_text: dict[str, list[Row]] = {}
    for row in rows:
        if row.label is not None:
            by_text.setdefault(row.text, []).append(row)
    return [_differing(same) for same in by_text.values() if len({row.label for row in same}) > 1]


def _differing(rows: Sequence[Row]) -> Pair:
    """Two rows with different labels."""
    labelled = [row for row in rows if row.label is not None]
    return _pair(labelled[0], next(row for row in labelled if row.label != labelled[0].label))


def _pair(one: Row, other: Row) -> Pair:
    return Pair(one.place, other.place, one.text, other.text, ", ".join(one.labels), ", ".join(other.labels))
