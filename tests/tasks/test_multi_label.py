"""Scores of several labels a text against scikit-learn, and at the edges."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.tasks.metrics import shown
from textclf_jax.tasks.multi_label import average_precisions, label_probabilities, multi_label_metrics

FIGURES = ("precision", "recall", "f1")


def scikit_learn(logits, labels, predicted) -> dict[str, float]:
    """The same figures by scikit-learn; it takes classes that never occur into macro means, which ours do not."""
    from sklearn import metrics

    occurs = np.flatnonzero(labels.any(axis=0) | predicted.any(axis=0))
    truth, answers = labels.astype(int), predicted.astype(int)
    undefined: Any = 0  # what scikit-learn's types say is less than what it takes
    figures = {
        "hamming_loss": metrics.hamming_loss(truth, answers),
        "subset_accuracy": metrics.accuracy_score(truth, answers),
        "f1_samples": metrics.f1_score(truth, answers, average="samples", zero_division=1),  # pyright: ignore
    }
    for average in ("micro", "macro"):
        values = metrics.precision_recall_fscore_support(
            truth, answers, average=average, labels=occurs if average == "macro" else None, zero_division=undefined
        )
        figures |= {f"{name}_{average}": value for name, value in zip(FIGURES, values, strict=False)}
    with_rows = labels.any(axis=0)
    if with_rows.any():
        precision = metrics.average_precision_score
        figures["average_precision_micro"] = precision(truth, logits, average="micro")
        figures["average_precision_macro"] = precision(truth[:, with_rows], logits[:, with_rows], average="macro")
    return {name: float(value) for name, value in figures.items()}


@st.composite
def splits(draw):
    """Logits [N, C], ties among them, labels that may leave classes and rows without any, and thresholds or None."""
    rows, classes = draw(st.integers(1, 20)), draw(st.integers(2, 12))
    values = st.sampled_from([-30.0, -2.0, -0.5, 0.0, 0.0, 1.0, 3.5])
    logits = draw(st.lists(st.lists(values, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    sets = st.lists(st.sampled_from([0, 0, 1]), min_size=classes, max_size=classes)
    labels = np.array(draw(st.lists(sets, min_size=rows, max_size=rows)), np.uint8)
    labels[:, draw(st.integers(0, classes - 1))] = 0
    chosen = st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.99]), min_size=classes, max_size=classes)
    return np.array(logits), labels, draw(st.none() | chosen)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(splits())
def test_strangers_splits_score_as_scikit_learn_says(split):
    logits, labels, thresholds = split
    predicted = 1 / (1 + np.exp(-logits)) >= (0.5 if thresholds is None else np.array(thresholds))
    ours = multi_label_metrics(logits, labels, loss=1.0, thresholds=thresholds)
    if labels.any() or predicted.any():
        for name, expected in scikit_learn(logits, labels, predicted).items():
            assert ours[name] == pytest.approx(expected), name
    assert ours["classes_without_rows"] == (labels.sum(axis=0) == 0).sum()
    at_half = {name.removesuffix("_at_half"): value for name, value in ours.items() if name.endswith("_at_half")}
    assert bool(at_half) == (thresholds is not None)
    plain = multi_label_metrics(logits, labels, loss=1.0)
    for name, value in at_half.items():
        np.testing.assert_equal(value, plain[name])
    assert ours["average_precision_micro"] == plain["average_precision_micro"] or not labels.any()


def test_figures_of_each_class_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)).round(1), rng.integers(0, 2, (50, 4))
    labels[:, 3] = 0
    ours = multi_label_metrics(logits, labels, loss=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = metrics.precision_recall_fscore_support(labels, logits >= 0)
    for i in range(4):
        for name, values in zip((*FIGURES, "support"), theirs, strict=True):
            assert ours[f"class_{i}_{name}"] == pytest.approx(values[i]), (i, name)
    for i in range(3):
        expected = metrics.average_precision_score(labels[:, i], logits[:, i])
        assert ours[f"class_{i}_average_precision"] == pytest.approx(expected)
    assert math.isnan(ours["class_3_average_precision"])


def test_a_text_without_labels_that_gets_none_is_right():
    ours = multi_label_metrics([[-1.0, -1.0], [1.0, -1.0]], [[0, 0], [0, 1]], loss=0.0)
    assert (ours["f1_samples"], ours["subset_accuracy"], ours["hamming_loss"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("logits", "labels"), [([[math.nan, 0.0], [1.0, 0.0]], [[1, 0], [1, 0]]), (np.zeros((0, 2)), np.zeros((0, 2)))]
)
@pytest.mark.parametrize("thresholds", [None, [0.2, 0.3]])
def test_nothing_predicted_is_no_score_and_no_warning(logits, labels, thresholds):
    ours = multi_label_metrics(logits, labels, loss=math.nan, thresholds=thresholds)
    assert ours.keys() == multi_label_metrics([[1.0, 0.0]], [[1, 0]], loss=1.0, thresholds=thresholds).keys()
    rows = float(len(labels))
    known = {"num_examples": rows, "classes_without_rows": 1.0 if rows else 2.0}
    known |= {"class_0_support": rows, "class_1_support": 0.0}
    assert {name: value for name, value in ours.items() if not math.isnan(value)} == known


def test_where_no_class_occurs_only_single_decisions_count():
    ours = multi_label_metrics(np.full((3, 2), -1.0), np.zeros((3, 2)), loss=0.1)
    assert (ours["subset_accuracy"], ours["hamming_loss"], ours["f1_samples"]) == (1.0, 0.0, 1.0)
    assert all(math.isnan(ours[name]) for name in ("f1_micro", "f1_macro", "average_precision_macro"))


@pytest.mark.parametrize("size", [1e4, 1e300, math.inf])
def test_huge_logits_neither_overflow_nor_warn(size):
    np.testing.assert_array_equal(label_probabilities([-size, 0.0, size]), [0.0, 0.5, 1.0])
    ours = multi_label_metrics([[size, -size], [-size, size]], [[1, 0], [0, 1]], loss=0.0)
    assert (ours["f1_micro"], ours["average_precision_micro"]) == (1.0, 1.0)


def test_small_probabilities_keep_their_digits():
    """One less another would have none at -40."""
    np.testing.assert_allclose(label_probabilities([-40.0, 2.0]), [math.exp(-40), 1 / (1 + math.exp(-2))], rtol=1e-14)


@pytest.mark.parametrize(("num_classes", "listed"), [(10, True), (11, False)])
def test_per_class_scores_up_to_ten_classes(num_classes, listed):
    ours = multi_label_metrics(np.eye(num_classes) - 0.5, np.eye(num_classes), loss=0.0)
    assert ("class_9_average_precision" in ours) is listed
    assert ours["f1_macro"] == 1.0


def test_equal_scores_are_one_step_of_average_precision():
    """Neither order of the rows makes it better."""
    scores = np.zeros((4, 2))
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool)
    np.testing.assert_array_equal(average_precisions(scores, truth), [0.5, 0.5])


def test_micro_f1_is_shown_where_it_is_not_the_accuracy():
    names = ("loss", "accuracy", "f1_micro")
    assert shown(names, dict.fromkeys(names, 0.5)) == ["loss", "accuracy"]
    assert shown(names, {"f1_micro": 0.5, "loss": 0.5, "other": 1.0}) == ["loss", "f1_micro"]
