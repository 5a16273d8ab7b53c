"""Splits that keep what belongs together in one part: groups of rows, or a stretch of time."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from textclf_jax.errors import UserError, shortened
from textclf_jax.prepare.texts import Label

TRAIN, VAL, TEST = range(3)
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
# of dates that are not written as ISO 8601 says, by day, month or year first
FORMATS = (
    "%Y-%m",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
)
DAY_FIRST = ("%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d-%m-%Y", "%d/%m/%y")
MONTH_FIRST = ("%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m-%d-%Y", "%m/%d/%y")


class SplitRows(NamedTuple):
    """Increasing row numbers of each part."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def group_split(
    labels: Sequence[Label | None], groups: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> SplitRows:
    """Splits rows so that no group is in two parts, and classes have about their share in each.

    All classes are in train, and each part has a group. Groups go one by one, the largest first, to the part where
    they bring the shares of rows and classes nearest to what was asked for.

    Args:
      labels: [N] the label of each row, or None.
      groups: [N] what rows belong to; a row with an empty group belongs to no other.
      val_fraction, test_fraction: shares of all rows; a part that is asked for gets one group at least.
      seed: decides among groups of one size.

    Raises:
      UserError: fewer groups than parts.
    """
    number, counts = _group_counts(labels, groups)
    fractions = np.array([1 - val_fraction - test_fraction, val_fraction, test_fraction])
    wanted_parts = np.flatnonzero(fractions > 0)
    if len(counts) < len(wanted_parts):
        raise UserError(
            f"there are {len(counts)} groups for {len(wanted_parts)} splits: name a column with more of them, or split "
            "without --group-column"
        )
    totals = counts.sum(axis=0)
    targets = fractions[:, None] * totals  # [3, 1 + classes]
    filled = np.zeros_like(targets)
    part_of = np.zeros(len(counts), np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    for group in shuffled[np.argsort(-counts[shuffled, 0], kind="stable")]:
        # how much nearer each part comes to its targets, as shares of each class
        gain = (((targets - filled) ** 2 - (targets - filled - counts[group]) ** 2) / totals**2).sum(axis=1)
        gain[fractions == 0] = -np.inf
        part_of[group] = int(gain.argmax())
        filled[part_of[group]] += counts[group]
    _give_train_each_class(part_of, counts)
    _give_each_part_one(part_of, counts, wanted_parts)
    rows = part_of[number]
    return SplitRows(*(np.flatnonzero(rows == part) for part in (TRAIN, VAL, TEST)))


def _group_counts(labels: Sequence[Label | None], groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """[N] the number of each row's group, and [G, 1 + C] its rows and those of each class."""
    known: dict[str, int] = {}
    number = np.zeros(len(groups), np.int64)
    alone = 0
    for i, group in enumerate(groups):
        if group:
            number[i] = known.setdefault(group, len(known) + alone)
        else:
            number[i], alone = len(known) + alone, alone + 1
    sets = [label if isinstance(label, tuple) else () if label is None else (label,) for label in labels]
    classes = {name: i for i, name in enumerate(sorted({name for names in sets for name in names}), start=1)}
    counts = np.zeros((len(known) + alone, 1 + len(classes)))
    for i, names in enumerate(sets):
        counts[number[i], [0, *(classes[name] for name in names)]] += 1
    return number, counts


def _give_train_each_class(part_of: np.ndarray, counts: np.ndarray) -> None:
    """Moves the smallest group with a class that train lacks to train."""
    for column in range(1, counts.shape[1]):
        has = np.flatnonzero(counts[:, column])
        if not (part_of[has] == TRAIN).any():
            part_of[has[counts[has, 0].argmin()]] = TRAIN


def _give_each_part_one(part_of: np.ndarray, counts: np.ndarray, parts: np.ndarray) -> None:
    """Moves a group of the part with the most groups to each part that has none: the smallest that train can spare."""
    for part in parts:
        if (part_of == part).any():
            continue
        donors = np.flatnonzero(part_of == np.bincount(part_of).argmax())
        trained = counts[part_of == TRAIN, 1:].sum(axis=0)
        spared = [i for i in donors if part_of[i] != TRAIN or (trained > counts[i, 1:])[counts[i, 1:] > 0].all()]
        part_of[min(spared or donors.tolist(), key=lambda i: counts[i, 0])] = part


def time_split(times: np.ndarray, val_fraction: float, test_fraction: float) -> SplitRows:
    """Splits rows by time: train is the earliest, then val, and test the latest; rows of one time stay together.

    Args:
      times: [N] numbers that increase with time.
      val_fraction, test_fraction: shares of all rows, about; a part that is asked for gets one time at least.

    Raises:
      UserError: fewer different times than parts.
    """
    distinct, rows = np.unique(times, return_counts=True)
    fractions = [1 - val_fraction - test_fraction, val_fraction, test_fraction]
    asked = [part for part in (TRAIN, VAL, TEST) if fractions[part] > 0]
    if len(distinct) < len(asked):
        raise UserError(f"there are {len(distinct)} different times for {len(asked)} splits: leave --time-column out")
    ends = np.cumsum(rows) / len(times)
    boundaries, first = [], 0  # the number of times before the end of each part
    for position, part in enumerate(asked[:-1], start=1):
        share = sum(fractions[: part + 1])
        nearest = int(np.abs(ends - share).argmin()) + 1
        first = min(max(nearest, first + 1), len(distinct) - len(asked) + position)
        boundaries.append(first)
    numbers = np.searchsorted(distinct, times)
    position_of = np.searchsorted(np.array(boundaries, np.int64), numbers, side="right")
    part_of = np.array(asked)[position_of]
    return SplitRows(*(np.flatnonzero(part_of == part) for part in (TRAIN, VAL, TEST)))


def parse_times(values: Sequence[str], places: Sequence[str]) -> np.ndarray:
    """[N] float64 that increases with time: seconds since 1970, or the numbers themselves (years, say).

    Args:
      values: dates or times, written in one way: numbers, ISO 8601, 31.12.2026, 2026/12/31, 31/12/2026, 12/31/2026.
      places: where each stands, for messages.

    Raises:
      UserError: a value is empty or no time, or days and months cannot be told apart.
    """
    for value, place in zip(values, places, strict=True):
        if not value.strip():
            raise UserError(f"{place}: has no time in the column of --time-column: write one, or leave the row out")
    if all(NUMBER.fullmatch(value.strip()) for value in values):
        return np.array([float(value) for value in values])
    for readers in ([_iso], map(_by_format, FORMATS)):
        if read := _readings(readers, values):
            return read[0]
    by_day, by_month = (_readings(map(_by_format, forms), values) for forms in (DAY_FIRST, MONTH_FIRST))
    if by_day and by_month and not np.array_equal(by_day[0], by_month[0]):
        raise UserError(
            f"{places[0]}: dates such as {values[0]!r} may begin with the day or the month, and no row tells which. "
            "Write them as 2026-12-31."
        )
    if read := by_day + by_month:
        return read[0]
    value, place = next(((v, p) for v, p in zip(values, places, strict=True) if not _readings([_iso], [v])))
    raise UserError(
        f"{place}: not all rows of --time-column are written in one way that is known, such as {shortened(value)!r}. "
        "Write them as 2026-12-31 or 2026-12-31 23:59:59."
    )


def _readings(readers: Iterable[Callable[[str], float]], values: Sequence[str]) -> list[np.ndarray]:
    """What those of the readers give that can read all values."""
    return [found for reader in readers if (found := _read_all(reader, values)) is not None]


def _read_all(reader: Callable[[str], float], values: Sequence[str]) -> np.ndarray | None:
    try:
        return np.array([reader(value.strip()) for value in values])
    except ValueError:
        return None


def _iso(value: str) -> float:
    return _seconds(datetime.fromisoformat(value))


def _by_format(form: str) -> Callable[[str], float]:
    return lambda value: _seconds(datetime.strptime(value, form))


def _seconds(time: datetime) -> float:
    """Since 1970; a time without a zone is taken as UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
