"""What an evaluation reports: classification scores from logits, MLM scores from sums.

All arithmetic is float64 numpy on the host, after the last batch; nothing here is traced.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textclf_jax.config.scores import PER_CLASS_LIMIT, TOP_K

INFINITE_PERPLEXITY_NATS = 80.0


def mean(total: float, count: float) -> float:
    """The mean of `count` values that add up to `total`: NaN for none, since a loss of 0 would be a perfect one."""
    return float(total) / float(count) if count else math.nan


def classification_metrics(logits: ArrayLike, labels: ArrayLike, *, loss: float) -> dict[str, float]:
    """Scores the predictions of a whole split.

    Args:
      logits: [N, C] float scores, unnormalised.
      labels: [N] int true classes in 0..C-1.
      loss: mean cross-entropy of the split in nats; passed through.

    Returns:
      `loss`, `num_examples`, `accuracy`, `balanced_accuracy` (mean recall of the classes that occur in the labels),
      `precision|recall|f1_macro` (mean over the classes that occur in labels or predictions), `..._micro`,
      `avg_prediction_confidence`, `avg_prediction_entropy` (nats), `top3_accuracy` and `top5_accuracy` where there are
      as many classes, and `class_<i>_precision|recall|f1|support` for up to 10 classes. The precision of a class that
      is never predicted counts as 0, and so do recall and F1 where they are undefined. Where there are no rows, or
      logits are NaN, nothing is predicted, and every score is NaN.
    """
    scores, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    num_examples, num_classes = scores.shape
    predicted = _predicted(scores)
    if not num_examples or predicted is None:
        return _unscored(truth, num_classes, loss)
    right = truth[predicted == truth]
    hits, support, calls = (np.bincount(rows, minlength=num_classes) for rows in (right, truth, predicted))
    figures = {name: np.nan_to_num(values) for name, values in class_scores(hits, support, calls).items()}
    occurs = support + calls > 0
    accuracy = float(np.mean(predicted == truth))
    confidence, entropy = _confidence_and_entropy(scores)
    metrics = {
        "loss": float(loss),
        "num_examples": float(num_examples),
        "accuracy": accuracy,
        "balanced_accuracy": float(figures["recall"][support > 0].mean()),
        **{f"{name}_macro": float(values[occurs].mean()) for name, values in figures.items()},
        # one label an example: every false positive is another class's false negative, so all three are the accuracy
        **{f"{name}_micro": accuracy for name in figures},
        "avg_prediction_confidence": confidence,
        "avg_prediction_entropy": entropy,
    }
    metrics |= {f"top{k}_accuracy": _top_k_accuracy(scores, truth, k) for k in TOP_K if k <= num_classes}
    if num_classes <= PER_CLASS_LIMIT:
        columns = {**figures, "support": support}
        for i in range(num_classes):
            metrics |= {f"class_{i}_{name}": float(values[i]) for name, values in columns.items()}
    return metrics


def class_probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """The probabilities of the classes by softmax, of logits [..., C] that are finite."""
    scores = np.asarray(logits, np.float64)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def shown(names: Sequence[str], metrics: Mapping[str, float]) -> list[str]:
    """Those of `names` that are among the metrics, once each.

    Without `f1_micro` where it is the accuracy, of one label a text.
    """
    named = dict.fromkeys(names)
    return [name for name in named if name in metrics and not (name == "f1_micro" and "accuracy" in metrics)]


def confusion_matrix(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.int64] | None:
    """[C, C] numbers of rows by true and predicted class; of equal logits the lower class is predicted.

    None where a logit is NaN.
    """
    scores, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if (predicted := _predicted(scores)) is None:
        return None
    classes = scores.shape[1]
    places = truth * classes + predicted
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def class_scores(
    hits: NDArray[np.int64], support: NDArray[np.int64], calls: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """`precision`, `recall` and `f1` [C] of each class.

    NaN where undefined: the precision of a class that is never predicted, the recall of one without rows, and the F1 of
    one that is neither.

    Args:
      hits: [C] rows of each class that are predicted right.
      support: [C] rows of each class.
      calls: [C] rows that each class is predicted for.
    """
    return {"precision": _ratio(hits, calls), "recall": _ratio(hits, support), "f1": _ratio(2 * hits, support + calls)}


def mlm_metrics(loss_sum: float, correct: float, count: float) -> dict[str, float]:
    """Turns the sums of a masked-language-modelling evaluation into its means.

    Args:
      loss_sum: cross-entropy in nats, summed over the predicted positions.
      correct: predicted positions whose best token is the true one.
      count: predicted positions; where it is 0 (no token was masked) all means are NaN.

    Returns:
      `loss` (nats a token), `perplexity` (inf from 80 nats on), `accuracy` of the masked tokens, `num_tokens`.
    """
    loss = mean(loss_sum, count)
    perplexity = math.inf if loss >= INFINITE_PERPLEXITY_NATS else math.exp(loss)
    return {"loss": loss, "perplexity": perplexity, "accuracy": mean(correct, count), "num_tokens": float(count)}


def _predicted(scores: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """[N] the class of the largest of each row's scores; None where one is NaN: what argmax then names says nothing."""
    return None if np.isnan(scores).any() else scores.argmax(axis=-1)


def _unscored(truth: NDArray[np.int64], num_classes: int, loss: float) -> dict[str, float]:
    """The metrics of rows without predictions: NaN, but for what is known without."""
    support = np.bincount(truth, minlength=num_classes)
    known = {"loss": float(loss), "num_examples": float(len(truth))}
    known |= {f"class_{i}_support": float(rows) for i, rows in enumerate(support)}
    names = classification_metrics(np.zeros((1, num_classes)), [0], loss=loss)
    return {name: known.get(name, math.nan) for name in names}


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C] part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _confidence_and_entropy(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Mean probability of the predicted class, and mean entropy in nats, of the softmax of [N, C] scores."""
    with np.errstate(invalid="ignore", under="ignore"):  # inf - inf: NaN logits give NaN figures, not a warning
        shifted = scores - scores.max(axis=-1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        probs = np.exp(log_probs)
        terms = np.where(probs == 0.0, 0.0, probs * log_probs)
    return float(probs.max(axis=-1).mean()), float(-terms.sum(axis=-1).mean() + 0.0)


def _top_k_accuracy(scores: NDArray[np.float64], truth: NDArray[np.int64], k: int) -> float:
    """Share of the rows whose true class is among the k best; of equal scores the lower class wins, as in argmax."""
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    return float(np.mean((best == truth[:, None]).any(axis=-1)))
