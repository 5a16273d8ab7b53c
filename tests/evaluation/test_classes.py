"""Results by class: bounded tables, CSV files that keep every name, undefined scores that are no zeros."""

import csv
import io
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.evaluation.classes import SHOWN_CLASSES, ClassResults

# "c" never occurs and is never predicted, "b" is never predicted
RESULTS = ClassResults(np.array([[3, 0, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4]]), ["a", "b", "c", "d"])


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_scores_that_are_undefined_are_left_empty():
    header, *rows = read(RESULTS.per_class_csv())
    assert header == ["class", "label", "support", "predicted", "precision", "recall", "f1"]
    assert rows[0] == ["0", "a", "4", "5", "0.6", "0.75", str(6 / 9)]
    assert rows[1] == ["1", "b", "2", "0", "", "0.0", "0.0"]
    assert rows[2] == ["2", "c", "0", "0", "", "", ""]
    assert math.isnan(RESULTS.table()[1][1][1])


def test_remarks_name_mistakes_and_absent_classes():
    mistakes, absent = RESULTS.remarks()
    assert mistakes == "most frequent mistakes: b taken for a (2); a taken for d (1)"
    assert absent.startswith("1 of 4 classes have no row here (c): balanced accuracy leaves them out")
    assert ClassResults(np.eye(2, dtype=int), ["x", "y"]).remarks() == []


def test_a_table_of_many_classes_shows_the_worst_and_the_largest():
    count = 150
    confusion = np.diag(np.arange(20, 20 + count))
    for i in range(12):  # never right
        confusion[i, i], confusion[i, 80] = 0, 1 + i
    results = ClassResults(confusion, [f"class {i}" for i in range(count)])
    remark, rows = results.table()
    assert len(rows) == SHOWN_CLASSES == 20
    assert [row[0] for row in rows[:10]] == [f"class {i}" for i in range(11, 1, -1)]
    assert [row[0] for row in rows[10:]] == [f"class {i}" for i in range(149, 139, -1)]
    assert remark == " (of 150: the 10 of lowest F1, then the 10 largest others)"
    assert ClassResults(confusion[:20, :20], [str(i) for i in range(20)]).table()[0] == ""


def test_names_in_tables_are_short_lines():
    assert ClassResults(np.eye(2, dtype=int), [" ", "b"]).table()[1][0][0] == "(class 0)"


NAMES = st.text(st.sampled_from("aé नी,;\"'\n\r\t\\=\u2028\x85\ud800\N{GRINNING FACE}العر"), max_size=6) | st.text()


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.data(), st.lists(NAMES, min_size=2, max_size=7))
def test_strangers_names_come_back_from_the_files(data, names):
    size = len(names)
    cells = data.draw(st.lists(st.integers(0, 5), min_size=size * size, max_size=size * size))
    results = ClassResults(np.array(cells).reshape(size, size), names)
    kept = [name.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for name in names]
    matrix, per_class = read(results.confusion_csv()), read(results.per_class_csv())
    results.confusion_csv().encode()
    assert matrix[0][1:] == [row[0] for row in matrix[1:]] == [row[1] for row in per_class[1:]] == kept
    np.testing.assert_array_equal(np.array([row[1:] for row in matrix[1:]], int), results.confusion)
    assert sum(int(row[2]) for row in per_class[1:]) == sum(int(row[3]) for row in per_class[1:]) == sum(cells)
    assert len(results.table()[1]) == size
    assert all("\n" not in line for line in [*results.remarks(), *(row[0] for row in results.table()[1])])
