"""Labels of any kind: numbered in the order of scikit-learn, and given back as they were."""

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning

from textclf_jax.class_names import check_class_names
from textclf_jax.errors import ArgumentError
from textclf_jax.estimator.labels import read_labels
from textclf_jax.evaluation.prediction import Prediction


def predicted(classes, rows):
    """What the classes make of predictions of these numbers."""
    names = classes.names
    of = [[names[i] for i in np.atleast_1d(row)] for row in rows]
    several = [tuple(row) if classes.multi_label else None for row in of]
    return classes.of_predictions(
        Prediction("", row[0] if row else names[0], np.zeros(len(names)), several=each)
        for row, each in zip(of, several, strict=True)
    )


@pytest.mark.parametrize(
    ("labels", "values", "names"),
    [
        (["b", "a", "b"], ["a", "b"], ["a", "b"]),
        ([10, 9, 10], [9, 10], ["9", "10"]),
        ([True, False], [False, True], ["False", "True"]),
        ([-1.0, 2.0, -1.0], [-1.0, 2.0], ["-1.0", "2.0"]),
        (np.array(["x", "y"], object), ["x", "y"], ["x", "y"]),
        # names that a labels.txt cannot have
        (["", "a"], ["", "a"], ["''", "'a'"]),
        (["a\nb", "a"], ["a", "a\nb"], ["'a'", r"'a\nb'"]),
        (["a ", "a"], ["a", "a "], ["'a'", "'a '"]),
        (["\u00e9", "e\u0301"], ["e\u0301", "\u00e9"], [r"'e\u0301'", r"'\xe9'"]),
    ],
)
def test_single_labels(labels, values, names):
    classes, numbers = read_labels(labels)
    assert classes.values.tolist() == values
    assert numbers.dtype == np.int64
    assert [values[i] for i in numbers] == list(labels)
    assert classes.names == names == check_class_names("here", names, "name")
    given_back = predicted(classes, numbers)
    assert given_back.tolist() == list(labels)
    assert given_back.dtype == np.asarray(labels).dtype


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, float])
def test_a_matrix_of_0_and_1(dtype):
    matrix = np.array([[1, 0, 1], [0, 0, 0]], dtype)
    classes, numbers = read_labels(matrix)
    assert classes.values.tolist() == [0, 1, 2]
    assert classes.multi_label
    np.testing.assert_array_equal(numbers, matrix)
    given_back = predicted(classes, [[0, 2], []])
    np.testing.assert_array_equal(given_back, matrix)
    assert given_back.dtype == dtype


def test_a_sparse_matrix_and_lists_of_0_and_1_are_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    for labels in (sparse.csr_matrix([[1, 0], [1, 1]]), [[1, 0], [1, 1]], [np.array([1, 0]), np.array([1, 1])]):
        classes, numbers = read_labels(labels)
        assert (classes.kind, numbers.tolist()) == ("indicator", [[1, 0], [1, 1]])


@pytest.mark.parametrize(
    "labels",
    [
        [["b", "a"], [], ("c",)],
        [{"b", "a"}, set(), {"c"}],
        np.array([["b", "a"], [], ["c"]], object),
        np.array([np.array(["b", "a"]), np.array([], "<U1"), np.array(["c"])], object),
    ],
)
def test_lists_of_labels(labels):
    classes, numbers = read_labels(labels)
    assert (classes.kind, classes.values.tolist()) == ("lists", ["a", "b", "c"])
    assert numbers.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert predicted(classes, [[0, 1], [], [2]]) == [("a", "b"), (), ("c",)]


def test_sets_of_numbers_are_labels():
    classes, numbers = read_labels([{5, 2}, {2}])
    assert (classes.values.tolist(), numbers.tolist()) == ([2, 5], [[1, 1], [1, 0]])
    assert predicted(classes, [[0]]) == [(2,)]


def test_columns_of_pandas():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["b", "a", "b"], index=[5, 6, 7])
    for labels in (series, series.astype("string"), series.astype("category")):
        assert read_labels(labels)[1].tolist() == [1, 0, 1]
    assert read_labels(pandas.DataFrame({"x": [1, 0], "y": [1, 1]}))[0].kind == "indicator"
    assert read_labels(pandas.Series([["b"], ["a", "b"]]))[0].kind == "lists"
    for labels in (pandas.Series(["a", None, "b"]), pandas.Series(["a", None, "b"], dtype="string")):
        with pytest.raises(ArgumentError, match=r"labels\[1\] is .*: leave that row out, or label it"):
            read_labels(labels)


def test_a_column_with_one_label_a_row_is_taken_as_scikit_learn_takes_it():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert read_labels(np.array([["b"], ["a"]]))[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (None, "requires y to be passed"),
        ([], "one class only"),
        (["a", "a"], r"one class only \(a\)"),
        (["a", None], r"labels\[1\] is None: leave that row out"),
        ([1.0, float("nan")], "Input y contains NaN"),
        ([0.5, 1.25], "Unknown label type"),
        (np.array(["a", 1], object), "types that cannot be sorted together: int, str"),
        ([1, "1"], "types that cannot be sorted together: int, str"),
        ([{1}, {"1"}], "types that cannot be sorted together: int, str"),
        ([["a"], "b"], r"labels\[1\] is 'b', and others are lists"),
        ([["a"], None], r"labels\[1\] is None, and others are lists of labels. A text without"),
        ([["a"], ["b", None]], r"labels\[1\] is \['b', None\], which has a missing label"),
        ([[1, 2], [3, 4]], "not all 0 or 1"),
        ([[1, 2], [3]], "rows of different lengths"),
        ([["a"], ["a"]], r"one class only \(a\)"),
        ("ab", "should be a 1d array"),
    ],
)
def test_what_are_no_labels_is_refused(labels, told):
    with pytest.raises(ValueError, match=told):
        read_labels(labels)


def test_a_label_that_was_not_there_is_not_overlooked():
    classes, _ = read_labels([["a"], ["b"]])
    with pytest.raises(ArgumentError, match=r"labels\[1\] has 'c', which is none of the classes \['a', 'b'\]"):
        classes.matrix([["a"], ["a", "c"]])
