"""Labels of any kind to the numbers of classes, and back to what they were."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer

from textclf_jax.class_names import check_class_names
from textclf_jax.errors import ArgumentError, UserError, shortened
from textclf_jax.evaluation.prediction import Prediction

Kind = Literal["single", "indicator", "lists"]
COLLECTIONS = (list, tuple, set, frozenset)
WAY_OUT = "Give each text one label, several as a list of names, or a matrix [texts, classes] of 0 and 1."


@dataclass(frozen=True)
class Classes:
    """What the numbers of the classes stand for.

    Attributes:
      kind: one label a text; a column of 0 and 1 for each class; or a list of labels for each text.
      values: [C] the labels, sorted; the numbers of the columns of an indicator matrix.
      dtype: of the labels as they were given.
    """

    kind: Kind
    values: np.ndarray
    dtype: np.dtype

    @property
    def multi_label(self) -> bool:
        """Whether a text can have several labels, or none."""
        return self.kind != "single"

    @property
    def names(self) -> list[str]:
        """Distinct names of the classes, as `labels.txt` can have them: the labels, or else their repr."""
        names = [str(value) for value in self.values.tolist()]
        try:
            if check_class_names("labels", names, "label") == names:
                return names
        except UserError:
            pass
        return [ascii(value) for value in self.values.tolist()]

    def of_predictions(self, predictions: Iterable[Prediction]) -> Any:
        """What was predicted, in the form that the labels had: an array [N], a matrix [N, C] or a list of tuples."""
        number = {name: i for i, name in enumerate(self.names)}
        found = [[number[name] for name in prediction.labels] for prediction in predictions]
        if self.kind == "single":
            return self.values[np.array([row[0] for row in found], np.int64)]
        if self.kind == "lists":
            labels = self.values.tolist()
            return [tuple(labels[i] for i in row) for row in found]
        matrix = np.zeros((len(found), len(self.values)), self.dtype)
        for row, numbers in zip(matrix, found, strict=True):
            row[numbers] = 1
        return matrix

    def matrix(self, labels: Sequence[Iterable[Any]]) -> Integer[np.ndarray, "N C"]:
        """[N, C] uint8 of 0 and 1 from a list of labels for each text.

        Raises:
          ArgumentError: there is no such class.
        """
        number = {label: i for i, label in enumerate(self.values.tolist())}
        matrix = np.zeros((len(labels), len(number)), np.uint8)
        for i, of_text in enumerate(labels):
            for label in of_text:
                if label not in number:
                    raise ArgumentError(f"labels[{i}] has {label!r}, which is none of the classes {list(number)}")
                matrix[i, number[label]] = 1
        return matrix


def read_labels(labels: Any) -> tuple[Classes, Integer[np.ndarray, "N *C"]]:
    """Numbers labels.

    Args:
      labels: one for each text, all of one type; or a list of labels for each text, which can be empty; or a matrix
        [N, C] of 0 and 1, as scikit-learn has it.

    Returns:
      The classes, and the numbers [N] int64, or [N, C] uint8 of 0 and 1 where texts have several labels.

    Raises:
      ArgumentError: one is missing, they are no classes, or there are fewer than two; says which, and what to do.
    """
    if labels is None:
        raise ArgumentError("TextClassifier requires y to be passed, but the target y is None: it has the labels")
    if hasattr(labels, "toarray"):  # a sparse matrix
        labels = labels.toarray()
    elif not hasattr(labels, "__iter__"):  # something that numpy may know
        labels = np.asarray(labels)
    lists = _lists_of(labels)
    if lists is not None:
        classes, numbers = _of_lists(lists)
    else:
        classes, numbers = _of_array(labels)
    if len(classes.values) < 2:
        shown = ", ".join(classes.names) or "none"
        raise ArgumentError(f"y has one class only ({shown}); classification needs two classes or more")
    return classes, numbers


def _lists_of(labels: Any) -> list[Any] | None:
    """The lists of labels, one for each text; None where labels are something else."""
    if len(np.shape(labels) if hasattr(labels, "shape") else (0,)) != 1 or isinstance(labels, str | bytes):
        return None
    rows = list(labels)
    are_lists = [isinstance(row, COLLECTIONS) or (isinstance(row, np.ndarray) and row.ndim == 1) for row in rows]
    if not any(are_lists):
        return None
    if not all(are_lists):
        first = are_lists.index(False)
        raise ArgumentError(
            f"labels[{first}] is {shortened(repr(rows[first]))}, and others are lists of labels. A text without a "
            "label has an empty list."
        )
    of_numbers = all(
        isinstance(label, Number | np.generic) and not isinstance(label, str) for row in rows for label in row
    )
    if of_numbers and not any(isinstance(row, set | frozenset) for row in rows):
        return None  # a matrix, row by row
    return rows


def _of_lists(rows: list[Any]) -> tuple[Classes, Integer[np.ndarray, "N C"]]:
    for i, row in enumerate(rows):
        if any(_is_missing(label) for label in row):
            raise ArgumentError(
                f"labels[{i}] is {shortened(repr(row))}, which has a missing label. Leave it out there."
            )
    values = _sorted(list({label for row in rows for label in row}))
    classes = Classes("lists", values, values.dtype)
    return classes, classes.matrix(rows)


def _of_array(labels: Any) -> tuple[Classes, Integer[np.ndarray, "N *C"]]:
    from sklearn.utils import assert_all_finite, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets

    try:
        array = np.asarray(labels)
    except ValueError:
        raise ArgumentError(f"labels have rows of different lengths. {WAY_OUT}") from None
    if array.dtype.kind in "fc":
        assert_all_finite(array, input_name="y")
    missing = next((i for i, label in enumerate(array.ravel()) if array.dtype == object and _is_missing(label)), None)
    if missing is not None:
        raise ArgumentError(f"labels[{missing}] is {array.ravel()[missing]!r}: leave that row out, or label it")
    if array.ndim == 2 and array.shape[1] != 1:
        return _of_matrix(array)
    array = column_or_1d(array, warn=True)
    values = _sorted(labels if isinstance(labels, list | tuple) else array)
    check_classification_targets(array)
    return Classes("single", values, array.dtype), np.searchsorted(values, array).astype(np.int64)


def _of_matrix(array: np.ndarray) -> tuple[Classes, Integer[np.ndarray, "N C"]]:
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise ArgumentError(f"labels have the shape {array.shape}, but are not all 0 or 1. {WAY_OUT}")
    return Classes("indicator", np.arange(array.shape[1]), array.dtype), array.astype(np.uint8)


def _sorted(labels: Any) -> np.ndarray:
    """The distinct labels."""
    array = np.asarray(labels)
    try:
        # numpy would write 1 and "a" as "1" and "a"
        if array.dtype.kind != "U" or all(isinstance(label, str) for label in labels):
            return np.unique(array)
    except TypeError:
        pass
    kinds = sorted({type(label).__name__ for label in labels})
    raise ArgumentError(f"labels are of types that cannot be sorted together: {', '.join(kinds)}")


def _is_missing(label: object) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA
        return True
