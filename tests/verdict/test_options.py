"""Budgets, names of folders, and what no run can be."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.verdict.cases import options
from textclf_jax.check.data import CheckOptions
from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions
from textclf_jax.verdict.options import check_options, default_out, in_time, parse_budget

FILE = (Path("a.csv"),)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h", 3600), ("1.5h", 5400), (" 20M ", 1200), ("0.5m", 30)]
)
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "0m", "-5m", "20 minutes", "m", "1h30m", "nan", "infs", "1e3s"])
def test_what_is_no_budget(text):
    with pytest.raises(UserError, match="must be a time above 0, such as 90s, 20m or 1h"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (99, "99 s"), (120, "2.0 minutes"), (5000, "83.3 minutes"), (7200, "2.0 hours")]
)
def test_times_in_words(seconds, told):
    assert in_time(seconds) == told


def test_the_folder_of_a_run_is_named_by_its_data(tmp_path):
    (tmp_path / "news.v2").mkdir()
    for name in ("survey.csv", "train.csv.gz"):
        (tmp_path / name).touch()
    assert default_out(tmp_path / "survey.csv") == Path("runs/survey")
    assert default_out(tmp_path / "train.csv.gz") == Path("runs/train")
    assert default_out(tmp_path / "news.v2") == Path("runs/news.v2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": CheckOptions()}, "give either DATA, or --train and --test"),
        ({"data": CheckOptions(inputs=FILE, train=FILE)}, "give either DATA, or --train and --test"),
        ({"data": CheckOptions(train=FILE)}, "give --test FILE, too"),
        ({"data": CheckOptions(inputs=FILE, read=ReadOptions(label_separator="|"))}, "each text one class"),
        ({"data": CheckOptions(inputs=FILE, group_column="a", time_column="b")}, "leave the other out"),
        ({"seeds": 0}, "--seeds 0 must be at least 1"),
        ({"out": Path("runs/.x")}, 'begins with "."'),
    ],
)
def test_no_run_can_have(changes, words):
    with pytest.raises(UserError) as error:
        check_options(replace(options(), **changes))
    assert words in str(error.value)


def test_runs_that_can_be():
    check_options(options())
    check_options(replace(options(), data=CheckOptions(train=FILE, test=FILE), seeds=3))
