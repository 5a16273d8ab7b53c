"""Scores against recorded numbers, against definitions written out in numpy, and at the edges."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.tasks.metrics import class_scores, classification_metrics, confusion_matrix, mlm_metrics


def by_definition(logits, labels):
    """The same scores from the sets of rows, class by class."""
    predicted, classes = logits.argmax(-1), range(logits.shape[1])
    recall, precision, f1 = {}, {}, {}
    for c in classes:
        hits = sum(p == c and t == c for p, t in zip(predicted, labels, strict=True))
        recall[c] = hits / max(1, sum(labels == c))
        precision[c] = hits / max(1, sum(predicted == c))
        f1[c] = 2 * hits / max(1, sum(labels == c) + sum(predicted == c))
    present, true = set(predicted) | set(labels), set(labels)
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return {
        "accuracy": sum(predicted == labels) / len(labels),
        "balanced_accuracy": sum(recall[c] for c in true) / len(true),
        "precision_macro": sum(precision[c] for c in present) / len(present),
        "recall_macro": sum(recall[c] for c in present) / len(present),
        "f1_macro": sum(f1[c] for c in present) / len(present),
        "avg_prediction_confidence": probs.max(-1).mean(),
        "avg_prediction_entropy": -(probs * np.log(probs)).sum(-1).mean(),
        **{f"class_{c}_recall": recall[c] for c in classes},
        **{f"class_{c}_precision": precision[c] for c in classes},
    }


@pytest.mark.golden
def test_classification_matches_the_recorded_numbers(golden):
    entries = [e for e in golden.entries("metrics") if "mlm" not in e["file"]]
    assert entries
    for entry in entries:
        arrays = golden.load(entry)
        ours = classification_metrics(arrays["in/logits"], arrays["in/labels"], loss=float(arrays["in/avg_loss"]))
        assert set(ours) == set(entry["expected"]), entry["file"]
        for name, expected in entry["expected"].items():
            np.testing.assert_allclose(ours[name], expected, **entry["tolerance"], err_msg=f"{entry['file']} {name}")


@pytest.mark.golden
def test_mlm_matches_the_recorded_numbers(golden):
    (entry,) = [e for e in golden.entries("metrics") if "mlm" in e["file"]]
    arrays = golden.load(entry)
    for i, (total, tokens) in enumerate(zip(arrays["in/total_loss"], arrays["in/total_tokens"], strict=True)):
        ours = mlm_metrics(total, 0, tokens)
        for name in ("loss", "perplexity", "num_tokens"):
            # the reference calls the loss of nothing 0, a perfect one; ours is none
            expected = arrays[f"out/{name}"][i] if tokens or name == "num_tokens" else math.nan
            np.testing.assert_allclose(ours[name], expected, **entry["tolerance"])


@pytest.mark.parametrize("num_classes", [2, 4, 7])
@pytest.mark.parametrize("seed", range(3))
def test_classification_follows_the_definitions(seed, num_classes):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(23, num_classes)), rng.integers(0, num_classes - 1, size=23)
    ours = classification_metrics(logits, labels, loss=0.5)
    for name, expected in by_definition(logits, labels).items():
        assert ours[name] == pytest.approx(expected, rel=1e-12), name


def test_one_example():
    ours = classification_metrics([[0.0, 2.0, 1.0]], [2], loss=1.5)
    assert (ours["loss"], ours["num_examples"], ours["accuracy"], ours["balanced_accuracy"]) == (1.5, 1.0, 0.0, 0.0)
    assert (ours["top3_accuracy"], ours["class_2_support"], ours["class_1_support"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("size", [1e4, 1e300, math.inf])
def test_huge_logits_neither_overflow_nor_warn(size):
    ours = classification_metrics(np.array([[0.0, -size], [-size, 0.0]]), [0, 1], loss=0.0)
    assert (ours["avg_prediction_confidence"], ours["avg_prediction_entropy"]) == (1.0, 0.0)


@pytest.mark.parametrize(("logits", "labels"), [([[math.nan, 0.0], [1.0, 0.0]], [1, 1]), (np.zeros((0, 2)), [])])
def test_nothing_predicted_is_no_score_and_no_warning(logits, labels):
    """NaN is argmax's choice: it would look right where its class is."""
    ours = classification_metrics(logits, labels, loss=math.nan)
    assert ours.keys() == classification_metrics([[1.0, 0.0]], [0], loss=1.0).keys()
    known = {"num_examples": len(labels), "class_0_support": 0, "class_1_support": len(labels)}
    assert {name: value for name, value in ours.items() if not math.isnan(value)} == known
    assert (confusion_matrix(logits, labels) is None) == bool(len(labels))


def test_top_k_counts_the_rank_of_the_label_and_breaks_ties_like_argmax():
    logits = np.array([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]] * 6)
    ours = classification_metrics(logits, np.arange(6), loss=0.0)
    assert (ours["accuracy"], ours["top3_accuracy"], ours["top5_accuracy"]) == pytest.approx((1 / 6, 3 / 6, 5 / 6))
    tied = classification_metrics(np.zeros((6, 6)), np.arange(6), loss=0.0)
    assert (tied["accuracy"], tied["top3_accuracy"]) == pytest.approx((1 / 6, 3 / 6))


@pytest.mark.parametrize(("num_classes", "listed"), [(10, True), (11, False)])
def test_per_class_scores_up_to_ten_classes(num_classes, listed):
    ours = classification_metrics(np.eye(num_classes), np.arange(num_classes), loss=0.0)
    assert ("class_9_f1" in ours) is listed
    assert ours["f1_macro"] == 1.0


def test_mlm_means_and_an_evaluation_without_masked_tokens():
    ours = mlm_metrics(loss_sum=12.5, correct=4, count=10)
    assert ours == pytest.approx({"loss": 1.25, "perplexity": math.exp(1.25), "accuracy": 0.4, "num_tokens": 10.0})
    nothing = mlm_metrics(0.0, 0, 0)
    assert nothing.pop("num_tokens") == 0.0
    assert set(nothing) == {"loss", "perplexity", "accuracy"}
    assert all(math.isnan(value) for value in nothing.values())
    assert mlm_metrics(80.0, 0, 1)["perplexity"] == math.inf
    assert math.isnan(mlm_metrics(math.nan, 0, 1)["perplexity"])


@st.composite
def splits(draw):
    """Logits [N, C], ties among them, and labels that may leave classes out; sometimes one row, or one class only."""
    rows, classes = draw(st.integers(1, 30)), draw(st.integers(2, 12))
    values = st.sampled_from([-math.inf, -2.0, -0.5, 0.0, 0.0, 1.0, 3.5])
    logits = draw(st.lists(st.lists(values, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    occurring = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=3))
    return np.array(logits), np.array(draw(st.lists(st.sampled_from(occurring), min_size=rows, max_size=rows)))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(splits())
def test_strangers_splits_score_as_scikit_learn_says(split):
    """Undefined precision, recall and F1 count as 0 in means (zero_division=0), and are NaN by themselves."""
    from sklearn import metrics

    undefined: Any = 0  # what scikit-learn's types say is less than what it takes
    logits, labels = split
    classes, predicted = logits.shape[1], logits.argmax(axis=1)
    ours = classification_metrics(logits, labels, loss=1.0)
    confusion = confusion_matrix(logits, labels)
    assert confusion is not None
    assert confusion.sum() == len(labels) == ours["num_examples"]
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(labels, predicted, labels=range(classes)))
    assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    recall = metrics.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=undefined)
    assert ours["balanced_accuracy"] == pytest.approx(recall)
    for average in ("macro", "micro"):
        theirs = metrics.precision_recall_fscore_support(labels, predicted, average=average, zero_division=undefined)
        for name, value in zip(("precision", "recall", "f1"), theirs, strict=False):
            assert ours[f"{name}_{average}"] == pytest.approx(value), (name, average)
    scores = class_scores(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))
    undefined = np.nan
    theirs: Any = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=undefined
    )
    for name, values in zip(("precision", "recall", "f1"), theirs, strict=False):
        np.testing.assert_allclose(scores[name], values, err_msg=name)
    np.testing.assert_array_equal(confusion.sum(axis=1), theirs[3])
