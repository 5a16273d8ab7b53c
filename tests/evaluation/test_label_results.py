"""Results by class of several labels a text: counts, thresholds, and what is said of them."""

import csv
import io

import numpy as np
import pytest

from textclf_jax.evaluation.label_results import LabelResults, thresholds_remarks
from textclf_jax.tasks.thresholds import Thresholds

# "a" is right but once, "b" is predicted by its low threshold alone, "c" never occurs
LOGITS = np.array([[2.0, -1.0, -3.0], [1.0, -3.0, -3.0], [-1.0, -3.0, -3.0], [-2.0, -3.0, -3.0]])
LABELS = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
THRESHOLDS = Thresholds([0.6, 0.2, 0.4], [2])


def results(thresholds: Thresholds | None = THRESHOLDS) -> LabelResults:
    return LabelResults(LOGITS, LABELS, thresholds, ["a", "b", "c"])


def test_answers_are_counted_by_the_thresholds():
    header, *rows = csv.reader(io.StringIO(results().per_class_csv(), newline=""))
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [[row[name] for name in ("tp", "fp", "fn", "tn")] for row in found] == [
        ["1", "1", "1", "1"],
        ["1", "0", "0", "3"],
        ["0", "0", "0", "4"],
    ]
    assert [row["threshold"] for row in found] == ["0.6", "0.2", "0.4"]
    assert [row["f1"] for row in found] == ["0.5", "1.0", ""]
    assert [row["average_precision"] for row in found] == [str((1 + 2 / 3) / 2), "1.0", ""]
    at_half = results(None).records()
    assert [(row["threshold"], row["fn"]) for row in at_half] == [(0.5, 1), (0.5, 1), (0.5, 0)]


def test_the_table_has_a_column_for_each_figure():
    _, rows = results().table()
    assert len(rows[0]) == len(LabelResults.table_columns)
    assert rows[0] == ("a", 0.6, 0.5, 0.5, 0.5, pytest.approx(5 / 6), 2)


def test_remarks_tell_of_thresholds_answers_and_absent_classes():
    origin, shared, unanswered, absent = results().remarks()
    assert "from the validation split" in origin
    assert shared.startswith("1 of 3 classes have less than 5 rows there (c) and share the threshold 0.4000")
    assert unanswered == "2 of 4 texts get no label; 2 have none"
    assert absent.startswith("1 of 3 classes have no row here (c): average precision leaves them out")
    (origin,) = thresholds_remarks(None, ["a"])
    assert origin.startswith("the threshold of each class is 0.5")
