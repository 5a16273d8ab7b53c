"""Splits that keep groups or stretches of time together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.prepare.grouped_split import group_split, parse_times, time_split


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", *map(str, range(12))])), min_size=40, max_size=90
    ),
    fractions=st.sampled_from([(0.1, 0.1), (0.0, 0.2), (0.2, 0.0)]),
    seed=st.integers(0, 5),
)
def test_no_group_is_in_two_parts(rows, fractions, seed):
    labels, groups = [row[0] for row in rows], [row[1] for row in rows]
    if len(set(groups) - {""}) + groups.count("") < 3:
        return
    parts = group_split(labels, groups, *fractions, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    found = [{groups[i] for i in part} - {""} for part in parts]
    assert sum(map(len, found)) == len(set().union(*found))
    assert [len(part) > 0 for part in parts] == [True, fractions[0] > 0, fractions[1] > 0]
    again = group_split(labels, groups, *fractions, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_shares_of_rows_and_classes():
    groups = [str(i % 100) for i in range(2000)]
    labels = [("ab" if int(group) % 5 else "cb")[i // 100 % 2] for i, group in enumerate(groups)]
    train, val, test = group_split(labels, groups, 0.1, 0.1, 0)
    assert [len(train), len(val), len(test)] == [1600, 200, 200]
    for part in (train, val, test):
        counts = {name: sum(labels[i] == name for i in part) / len(part) for name in "abc"}
        assert counts == pytest.approx({"a": 0.4, "b": 0.5, "c": 0.1}, abs=0.06)


def test_each_class_is_in_training():
    groups = ["1"] * 50 + ["2"] * 30 + ["3"] * 12 + ["4"] * 8
    labels = ["a"] * 92 + ["b"] * 8
    train, val, test = group_split(labels, groups, 0.1, 0.1, 0)
    assert {labels[i] for i in train} == {"a", "b"}
    assert len(val)
    assert len(test)
    with pytest.raises(UserError, match=r"2 groups for 3 splits.*without --group-column"):
        group_split(labels[:80], groups[:80], 0.1, 0.1, 0)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.lists(st.integers(0, 30), min_size=12, max_size=60).filter(lambda times: len(set(times)) > 2))
def test_the_test_is_later_than_all_else(times):
    times = np.array(times, float)
    train, val, test = time_split(times, 0.2, 0.2)
    assert sorted([*train, *val, *test]) == list(range(len(times)))
    assert times[train].max() < times[val].min()
    assert times[val].max() < times[test].min()


def test_shares_of_time():
    assert [len(part) for part in time_split(np.arange(1000), 0.1, 0.2)] == [700, 100, 200]
    assert [len(part) for part in time_split(np.arange(10), 0, 0.2)] == [8, 0, 2]
    with pytest.raises(UserError, match="2 different times for 3 splits"):
        time_split(np.array([1, 1, 2]), 0.1, 0.1)


@pytest.mark.parametrize(
    "values",
    [
        ["2020", "2021", "2021.5"],
        ["20200131", "20200201", "20210101"],
        ["2020-01-31", "2020-02-01", "2021-01-01"],
        ["2020-01-31T10:00:00Z", "2020-02-01T12:00:00+02:00", "2021-01-01 00:00"],
        ["31.01.2020", "01.02.2020", "01.01.2021"],
        ["31/01/2020", "01/02/2020", "01/01/2021"],
        ["01/31/2020", "02/01/2020", "01/01/2021"],
        ["2020/01/31", "2020/02/01", "2021/01/01"],
        ["2020-01", "2020-02", "2021-01"],
    ],
)
def test_times_are_in_order(values):
    times = parse_times(values, ["a"] * 3)
    assert times[0] < times[1] < times[2]
    if "-31" in values[0] and ":" not in values[0]:
        assert times[0] == 1580428800  # as `date -u -d 2020-01-31 +%s` says


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["01/02/2020", "03/04/2020"], "may begin with the day or the month.*2026-12-31"),
        (["2020-01-01", "soon"], "line 1: not all rows of --time-column.*'soon'"),
        (["2020-01-01", " "], "line 1: has no time"),
    ],
)
def test_times_that_are_none_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        parse_times(values, [f"a.csv line {i}" for i in range(2)])
