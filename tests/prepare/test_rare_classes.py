"""Classes with fewer rows than splits."""

from pathlib import Path

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.rare_classes import count_labels, rare_classes, treat_rare_classes
from textclf_jax.prepare.texts import Row


def rows(labels):
    return [Row(f"text {i}", label, Path("a.csv"), i + 2) for i, label in enumerate(labels)]


LABELS = [*"aaaabbbb", "x", "x", "y"]


def test_dropped_merged_or_kept():
    given = rows(LABELS)
    assert rare_classes(count_labels(given), 3) == {"y": 1, "x": 2}
    dropped = treat_rare_classes(given, 3, "drop")
    assert dropped.rows == given[:8]
    assert "left out, with 3 rows" in dropped.note
    merged = treat_rare_classes(given, 3, "merge")
    assert [row.label for row in merged.rows] == [*"aaaabbbb", "other", "other", "other"]
    assert [row.text for row in merged.rows] == [row.text for row in given]
    kept = treat_rare_classes(given, 3, "keep")
    assert (kept.rows, kept.counts) == (given, {"y": 1, "x": 2})
    assert treat_rare_classes(given[:8], 3, None) == treat_rare_classes(given[:8], 3, "merge")


def test_refusals():
    with pytest.raises(
        UserError, match=r"2 of 4 classes have fewer rows than the 3 splits: y \(1\), x \(2\).*drop, mak"
    ):
        treat_rare_classes(rows(LABELS), 3, None)
    with pytest.raises(UserError, match=r"as one class they would have 2\. Pass --rare-classes drop"):
        treat_rare_classes(rows([*"aaabbb", "x", "y"]), 3, "merge")
    with pytest.raises(UserError, match="without them, fewer than two classes are left"):
        treat_rare_classes(rows([*"aaa", "x"]), 3, "drop")


def test_an_other_class_that_is_there_takes_the_rare_ones_in():
    treated = treat_rare_classes(rows([*"aaa", *["other"] * 3, "x"]), 3, "merge")
    assert count_labels(treated.rows) == {"a": 3, "other": 4}
    assert "which was there with 3 rows already" in treated.note


def test_several_labels():
    sets = [("a", "b"), ("a", "x"), ("x",), ("a", "b"), ("a", "b"), ()]
    assert [r.label for r in treat_rare_classes(rows(sets), 3, "drop").rows] == [
        ("a", "b"), ("a",), ("a", "b"), ("a", "b"), (),
    ]  # fmt: skip
    merged = treat_rare_classes(rows([*sets, ("y",), ("x", "y")]), 4, "merge").rows
    assert [row.label for row in merged][-2:] == [("other",), ("other",)]
