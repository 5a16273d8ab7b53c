"""What an evaluation reports: classification scores from logits, MLM scores from sums.

All arithmetic is float64 numpy on the host, after the last batch; nothing here is traced.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

PER_CLASS_LIMIT = 10  # with more classes than this the per-class scores are left out
TOP_K = (3, 5)
INFINITE_PERPLEXITY_NATS = 80.0


def classification_metrics(logits: ArrayLike, labels: ArrayLike, *, loss: float) -> dict[str, float]:
    """Scores the predictions of a whole split.

    Args:
      logits: [N, C] float scores, unnormalised, N >= 1.
      labels: [N] int true classes in 0..C-1.
      loss: mean cross-entropy of the split in nats; passed through.

    Returns:
      `loss`, `num_examples`, `accuracy`, `balanced_accuracy` (mean recall of the classes that occur in the labels),
      `precision|recall|f1_macro` (mean over the classes that occur in labels or predictions), `..._micro`,
      `avg_prediction_confidence`, `avg_prediction_entropy` (nats), `top3_accuracy` and `top5_accuracy` where there are
      as many classes, and `class_<i>_precision|recall|f1|support` for up to 10 classes. An undefined score is 0.
    """
    scores, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    num_examples, num_classes = scores.shape
    predicted = scores.argmax(axis=-1)
    confusion = np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
    hits, support, calls = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = _ratio(hits, calls), _ratio(hits, support), _ratio(2 * hits, support + calls)
    occurs = support + calls > 0
    accuracy = float(np.mean(predicted == truth))
    confidence, entropy = _confidence_and_entropy(scores)
    metrics = {
        "loss": float(loss),
        "num_examples": float(num_examples),
        "accuracy": accuracy,
        "balanced_accuracy": float(recall[support > 0].mean()),
        "precision_macro": float(precision[occurs].mean()),
        "recall_macro": float(recall[occurs].mean()),
        "f1_macro": float(f1[occurs].mean()),
        # one label an example: every false positive is another class's false negative, so all three are the accuracy
        "precision_micro": accuracy,
        "recall_micro": accuracy,
        "f1_micro": accuracy,
        "avg_prediction_confidence": confidence,
        "avg_prediction_entropy": entropy,
    }
    metrics |= {f"top{k}_accuracy": _top_k_accuracy(scores, truth, k) for k in TOP_K if k <= num_classes}
    if num_classes <= PER_CLASS_LIMIT:
        columns = {"precision": precision, "recall": recall, "f1": f1, "support": support}
        for i in range(num_classes):
            metrics |= {f"class_{i}_{name}": float(values[i]) for name, values in columns.items()}
    return metrics


def mlm_metrics(loss_sum: float, correct: float, count: float) -> dict[str, float]:
    """Turns the sums of a masked-language-modelling evaluation into its means.

    Args:
      loss_sum: cross-entropy in nats, summed over the predicted positions.
      correct: predicted positions whose best token is the true one.
      count: predicted positions; 0 (no token was masked) gives a loss of `loss_sum`, that is 0, not NaN.

    Returns:
      `loss` (nats a token), `perplexity` (inf from 80 nats on), `accuracy` of the masked tokens, `num_tokens`.
    """
    tokens = max(float(count), 1.0)
    loss = float(loss_sum) / tokens
    perplexity = math.inf if loss >= INFINITE_PERPLEXITY_NATS else math.exp(loss)
    return {"loss": loss, "perplexity": perplexity, "accuracy": float(correct) / tokens, "num_tokens": float(count)}


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C] part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


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
