"""What an evaluation reports where a text can have several labels, each with a probability and a threshold of its own.

All arithmetic is float64 numpy on the host, after the last batch; nothing here is traced.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from textclf_jax.tasks.metrics import PER_CLASS_LIMIT, class_scores

HALF = 0.5  # the threshold of a class for which none was chosen
AT_HALF = "_at_half"  # ends the names of figures at the threshold 0.5, where others were chosen


def label_probabilities(logits: ArrayLike) -> Float[np.ndarray, "*N C"]:
    """The probability of each class by itself: the sigmoid of [..., C] logits, accurate at both ends."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def predicted_labels(
    probabilities: Float[np.ndarray, "*N C"], thresholds: ArrayLike | None
) -> Bool[np.ndarray, "*N C"]:
    """Which classes are predicted: those whose probability reaches the threshold, of [C], or 0.5 for None."""
    return probabilities >= (HALF if thresholds is None else np.asarray(thresholds, np.float64))


def multi_label_metrics(
    logits: ArrayLike, labels: ArrayLike, *, loss: float, thresholds: ArrayLike | None = None
) -> dict[str, float]:
    """Scores the predictions of a whole split.

    Args:
      logits: [N, C] float scores.
      labels: [N, C], 1 where a text has the class, otherwise 0.
      loss: mean binary cross-entropy of the split in nats; passed through.
      thresholds: [C] the probabilities from which each class is predicted; None: 0.5.

    Returns:
      `loss`, `num_examples`; `precision|recall|f1_micro` (of all decisions), `..._macro` (mean over the classes that
      occur in labels or predictions), `f1_samples` (mean over texts; where a text has no label and gets none it is 1),
      `subset_accuracy` (texts with all classes right), `hamming_loss` (share of wrong decisions);
      `average_precision_macro` (mean over the classes that have rows) and `..._micro` (of all decisions), which no
      threshold changes; `classes_without_rows`; and `class_<i>_precision|recall|f1|average_precision|support` for up to
      10 classes. With `thresholds`, those before the average precision also at 0.5, named `..._at_half`.

      The precision of a class that is never predicted counts as 0, and so do recall and F1 where they are undefined.
      The average precision of a class without rows is NaN, and so are micro and macro figures where no class occurs.
      Where there are no rows, or logits are NaN, every score is NaN.
    """
    scores, truth = np.asarray(logits, np.float64), np.asarray(labels).astype(bool)
    if not len(scores) or np.isnan(scores).any():
        return _unscored(truth, loss, with_half=thresholds is not None)
    probabilities, num_classes = label_probabilities(scores), scores.shape[1]
    predicted = predicted_labels(probabilities, thresholds)
    metrics = {"loss": float(loss), "num_examples": float(len(scores)), **_decision_metrics(predicted, truth)}
    if thresholds is not None:
        metrics |= {
            f"{n}{AT_HALF}": value
            for n, value in _decision_metrics(predicted_labels(probabilities, None), truth).items()
        }
    precisions, support = average_precisions(scores, truth), truth.sum(axis=0)
    metrics |= {
        "average_precision_macro": float(precisions[support > 0].mean()) if support.any() else math.nan,
        "average_precision_micro": average_precision(scores.ravel(), truth.ravel()),
        "classes_without_rows": float((support == 0).sum()),
    }
    if num_classes <= PER_CLASS_LIMIT:
        counts = (truth & predicted).sum(axis=0), support, predicted.sum(axis=0)
        columns = {name: np.nan_to_num(values) for name, values in class_scores(*counts).items()}
        columns |= {"average_precision": precisions, "support": support}
        for i in range(num_classes):
            metrics |= {f"class_{i}_{name}": float(values[i]) for name, values in columns.items()}
    return metrics


def average_precisions(scores: Float[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> Float[np.ndarray, " C"]:
    """The average precision of each class, NaN for those without rows."""
    return np.array([average_precision(*column) for column in zip(scores.T, truth.T, strict=True)])


def average_precision(scores: Float[np.ndarray, " M"], truth: Bool[np.ndarray, " M"]) -> float:
    """The sum of precision times the gain in recall, from the highest score to the lowest; equal scores are one step.

    NaN where nothing is true. Source: Zhu 2004, Recall, precision and average precision, as in scikit-learn.
    """
    hits, calls, _ = cuts(scores, truth)
    if not hits.size or not hits[-1]:
        return math.nan
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * (hits / calls)))


def cuts(
    scores: Float[np.ndarray, " M"], truth: Bool[np.ndarray, " M"]
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """What can be predicted by a threshold: of each distinct score, from the highest on, what lies there or above.

    Returns:
      How many are true, how many there are, and the score, each [K].
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True)) if ordered.size else np.zeros(0, np.int64)
    return np.cumsum(truth[order])[last], last + 1, ordered[last]


def _decision_metrics(predicted: Bool[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> dict[str, float]:
    """The figures that depend on thresholds."""
    right = truth & predicted
    hits, support, calls = (array.sum(axis=0) for array in (right, truth, predicted))
    occurs = support + calls > 0
    if occurs.any():
        macro = {name: float(np.nan_to_num(values)[occurs].mean()) for name, values in _scores(hits, support, calls)}
        micro = {name: float(np.nan_to_num(value)[0]) for name, value in _scores(*_totals(hits, support, calls))}
    else:
        macro = micro = dict.fromkeys(("precision", "recall", "f1"), math.nan)
    sizes = truth.sum(axis=1) + predicted.sum(axis=1)
    by_text = np.divide(2 * right.sum(axis=1), sizes, out=np.ones(len(truth)), where=sizes > 0)
    wrong = truth != predicted
    return {
        **{f"{name}_micro": value for name, value in micro.items()},
        **{f"{name}_macro": value for name, value in macro.items()},
        "f1_samples": float(by_text.mean()),
        "subset_accuracy": float((~wrong.any(axis=1)).mean()),
        "hamming_loss": float(wrong.mean()),
    }


def _scores(*counts: Int[np.ndarray, " C"]):
    return class_scores(*counts).items()


def _totals(*counts: Int[np.ndarray, " C"]):
    return (count.sum(keepdims=True) for count in counts)


def _unscored(truth: Bool[np.ndarray, "N C"], loss: float, *, with_half: bool) -> dict[str, float]:
    """The metrics of rows without predictions: NaN, but for what is known without."""
    num_classes, support = truth.shape[1], truth.sum(axis=0)
    known = {"loss": float(loss), "num_examples": float(len(truth))}
    known["classes_without_rows"] = float((support == 0).sum())
    known |= {f"class_{i}_support": float(rows) for i, rows in enumerate(support)}
    one = np.zeros((1, num_classes))
    names = multi_label_metrics(one, one, loss=loss, thresholds=one[0] + HALF if with_half else None)
    return {name: known.get(name, math.nan) for name in names}
