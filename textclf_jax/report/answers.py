"""What a saved classifier answers on a split: scores with intervals, classes, calibration, parts."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.errors import UserError
from textclf_jax.evaluation.calibration import calibration
from textclf_jax.evaluation.classes import ClassResults
from textclf_jax.evaluation.evaluator import Outcome, predicts
from textclf_jax.evaluation.mixing import PART_NAMES, score_of_both, score_of_parts, weights_of
from textclf_jax.evaluation.paired import DRAWS, Interval, compare, label_scores
from textclf_jax.report.facts import Answers, Figure, Part, Parts, Reliability
from textclf_jax.report.mistakes import find_mistakes
from textclf_jax.tasks.classification import ClassificationTask
from textclf_jax.tasks.confidence import temperature_of
from textclf_jax.tasks.multi_label import predicted_labels
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.training.evaluating import Loaded
from textclf_jax.training.report import results_by_class
from textclf_jax.training.summary import PART_LABELS

FEWER_DRAWS, MANY_ROWS = 1000, 50_000  # of more rows than these, fewer draws: intervals are narrow there
# without an interval: where a model has them
PLAIN_FIGURES = ("balanced_accuracy", "average_precision_macro", "loss")


class Judged(NamedTuple):
    """The answers of a model on a split, as arrays.

    Attributes:
      loaded: the model and the split.
      outcome: its logits.
      metrics: of the task.
      probabilities: [N, C].
      predicted: [N] classes, or with several labels a text [N, C] whether each is given.
    """

    loaded: Loaded
    outcome: Outcome
    metrics: dict[str, float]
    probabilities: Float[np.ndarray, "N C"]
    predicted: Int[np.ndarray, " N"] | Bool[np.ndarray, "N C"]

    @property
    def task(self) -> ClassificationTask:
        assert isinstance(self.loaded.evaluator.task, ClassificationTask)
        return self.loaded.evaluator.task

    @property
    def thresholds(self) -> Thresholds | None:
        return Thresholds.of_model(self.loaded.saved.metadata)

    @property
    def labels(self) -> np.ndarray:
        """[N] true classes, or [N, C] bool."""
        labels = self.outcome.labels
        assert labels is not None
        return labels.astype(bool) if labels.ndim == 2 else labels


def judge(loaded: Loaded) -> Judged:
    """Runs a saved classifier on a split.

    Raises:
      UserError: it does not predict.
    """
    saved, evaluator, data = loaded
    outcome = evaluator.outcome(saved.variables, data)
    if not len(data) or not predicts(outcome.logits):
        raise UserError(f"{saved.folder}: this model gives NaN or infinity: its training went wrong. Train it again.")
    thresholds = Thresholds.of_model(saved.metadata)
    metrics = evaluator.metrics(outcome, thresholds)
    assert isinstance(evaluator.task, ClassificationTask)
    probabilities = evaluator.task.probabilities(outcome.logits.astype(np.float64) / temperature_of(saved.metadata))
    several = outcome.labels is not None and outcome.labels.ndim == 2
    chosen = thresholds and thresholds.values
    predicted = predicted_labels(probabilities, chosen) if several else outcome.logits.argmax(axis=1)
    return Judged(loaded, outcome, metrics, probabilities, predicted)


def answers_of(loaded: Loaded, split: str) -> Answers:
    """Runs a saved classifier on a split, and tells what it answers.

    Raises:
      UserError: it does not predict.
    """
    judged = judge(loaded)
    draws = DRAWS if len(judged.labels) <= MANY_ROWS else FEWER_DRAWS
    classes = results_by_class(loaded.saved, judged.outcome, judged.thresholds)
    assert classes is not None
    confusion = classes.confusion.tolist() if isinstance(classes, ClassResults) else None
    found = find_mistakes(judged.task, loaded, judged.probabilities, judged.predicted, judged.outcome.parts)
    return Answers(
        split=split,
        rows=len(judged.labels),
        figures=figures_of(judged, draws),
        draws=draws,
        classes=[_plain(record) for record in classes.records()],
        remarks=tuple(classes.remarks()),
        confusion=confusion,
        reliability=reliability_of(judged),
        parts=parts_of(judged),
        mistakes=found.mistakes,
        wrong=found.wrong,
        unexplained=found.unexplained,
    )


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in record.items()}


def figures_of(judged: Judged, draws: int) -> tuple[Figure, ...]:
    """The scores, the main ones with intervals."""
    labels = judged.labels
    intervals: dict[str, Interval]
    if labels.ndim == 2:
        intervals = label_scores(judged.predicted, labels, draws=draws)
    else:
        scores = compare({"": judged.predicted[None]}, labels, draws=draws).scores[""]
        intervals = scores._asdict()
    figures = [Figure(name, *interval) for name, interval in intervals.items()]
    return (*figures, *(Figure(name, judged.metrics[name]) for name in PLAIN_FIGURES if name in judged.metrics))


def reliability_of(judged: Judged) -> Reliability:
    """Of the predicted classes; with several labels a text of each class of each text."""
    several = judged.labels.ndim == 2
    if several:
        values, are_right = judged.probabilities.ravel(), judged.labels.ravel()
    else:
        values, are_right = judged.probabilities.max(axis=1), judged.predicted == judged.labels
    found = calibration(values, are_right)
    return Reliability("labels of texts" if several else "answers", found.error, len(values), found.bins)


def parts_of(judged: Judged) -> Parts | None:
    """What encoder and linear path give; None of a model without a linear path.

    The share of a part in what decides: what it adds to the log odds between the class that is predicted and the next
    one (with several labels a text to those of each class), as a magnitude, of the sum of both parts' magnitudes.
    """
    name, parts = score_of_parts(judged.metrics), judged.outcome.parts
    if name is None or parts is None:
        return None
    weighted = parts.astype(np.float64) * weights_of(judged.loaded.saved.variables)[:, None]
    several = judged.labels.ndim == 2
    decides = weighted if several else margins(weighted, *_best_two(judged.outcome.logits))
    sizes = np.abs(decides).sum(axis=(0, 2) if several else 0)
    shares = sizes / max(sizes.sum(), 1e-300)
    metrics = judged.metrics
    told = tuple(
        Part(PART_LABELS[part], metrics[f"{part}_weight"], metrics[f"{part}_{name}"], metrics[f"{part}_loss"], float(s))
        for part, s in zip(PART_NAMES, shares, strict=True)
    )
    agreement = {}
    if not several:
        right = parts.argmax(axis=2) == judged.labels[:, None]
        names = ("neither", f"{told[1].name} only", f"{told[0].name} only", "both")
        counts = np.bincount(2 * right[:, 0] + right[:, 1], minlength=4)
        agreement = dict(reversed(list(zip(names, counts.tolist(), strict=True))))
    return Parts(name, told, score_of_both(metrics), metrics["loss"], agreement)


def margins(
    weighted: Float[np.ndarray, "N 2 C"], first: Int[np.ndarray, " N"], second: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "N 2"]:
    """What each part adds to the log odds of one class against another."""
    rows = np.arange(len(weighted))
    return weighted[rows, :, first] - weighted[rows, :, second]


def _best_two(logits: Float[np.ndarray, "N C"]) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    order = np.argsort(-logits, axis=1, kind="stable")
    return order[:, 0], order[:, 1]
