"""Groups and times in several splits."""

import pytest

from textclf_jax.check.leaks import find_group_leaks, find_time_leaks
from textclf_jax.errors import UserError

SPLITS = ["train", "train", "train", "val", "test", "test"]


def test_groups_in_several_splits():
    facts = find_group_leaks("author", ["a", "b", "", "b", "", "c"], SPLITS)
    assert (facts.groups, facts.without, facts.shared, facts.leaked_rows) == (3, 2, ["b"], 1)
    assert find_group_leaks("author", list("aabccd"), SPLITS).shared == ["c"]
    assert find_group_leaks("author", list("aabccd"), SPLITS).leaked_rows == 0


def test_rows_that_are_later_than_the_test():
    places = [f"line {i}" for i in range(6)]
    times = ["2020-01-01", "2020-03-01", "2020-02-01", "2020-02-15", "2020-02-20", "2020-04-01"]
    facts = find_time_leaks("when", times, SPLITS, places)
    assert (facts.first, facts.last, facts.later_rows) == ("2020-01-01", "2020-04-01", 1)
    assert find_time_leaks("when", sorted(times), SPLITS, places).later_rows == 0
    assert find_time_leaks("when", times[:3], ["train"] * 3, places[:3]).later_rows == 0
    with pytest.raises(UserError, match="line 0: not all rows"):
        find_time_leaks("when", ["x"] * 6, SPLITS, places)
