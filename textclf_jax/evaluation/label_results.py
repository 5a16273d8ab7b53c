"""The results of a classifier class by class, where a text can have several labels."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from textclf_jax.errors import listed
from textclf_jax.evaluation.classes import ByClass
from textclf_jax.tasks.multi_label import HALF, average_precisions, label_probabilities, predicted_labels
from textclf_jax.tasks.thresholds import ENOUGH_ROWS, Thresholds


class LabelResults(ByClass):
    """Scores of each class, its threshold, and its right and wrong answers.

    Attributes:
      thresholds: chosen for the model; None: 0.5.
      counts: `tp`, `fp`, `fn` and `tn` [C]: rows that have the class or not, and that get it or not.
    """

    table_columns = ("class", "threshold", "precision", "recall", "f1", "average precision", "support")

    def __init__(
        self,
        logits: Float[np.ndarray, "N C"],
        labels: Shaped[np.ndarray, "N C"],
        thresholds: Thresholds | None,
        names: Sequence[str],
    ):
        truth = labels.astype(bool)
        predicted = predicted_labels(label_probabilities(logits), thresholds and thresholds.values)
        pairs = {"tp": truth & predicted, "fp": ~truth & predicted, "fn": truth & ~predicted, "tn": ~truth & ~predicted}
        self.counts = {name: rows.sum(axis=0) for name, rows in pairs.items()}
        super().__init__(names, self.counts["tp"], truth.sum(axis=0), predicted.sum(axis=0))
        self.thresholds = thresholds
        self.scores["average_precision"] = average_precisions(np.asarray(logits, np.float64), truth)
        self._rows, self._unlabelled = len(truth), int((~truth).all(axis=1).sum())
        self._unanswered = int((~predicted).all(axis=1).sum())

    def records(self) -> list[dict[str, int | float | str]]:
        """Of each class what `ByClass` tells, its threshold and its answers."""
        return [
            record | {"threshold": self._threshold(i)} | {name: int(values[i]) for name, values in self.counts.items()}
            for i, record in enumerate(super().records())
        ]

    def row(self, i: int) -> tuple[Any, ...]:
        """The row of a class in the table."""
        scores = (float(values[i]) for values in self.scores.values())
        return self.short(i), self._threshold(i), *scores, int(self.support[i])

    def remarks(self) -> list[str]:
        """Lines on the thresholds, on texts without an answer, and on classes that never occur."""
        lines = list(thresholds_remarks(self.thresholds, [self.short(i) for i in range(len(self.names))]))
        if self._unanswered:
            lines.append(f"{self._unanswered:,} of {self._rows:,} texts get no label; {self._unlabelled:,} have none")
        return [*lines, *self.absent("average precision")]

    def _threshold(self, i: int) -> float:
        return HALF if self.thresholds is None else self.thresholds.values[i]


def thresholds_remarks(thresholds: Thresholds | None, names: Sequence[str]) -> Iterator[str]:
    """Yields lines on where thresholds are from."""
    if thresholds is None:
        yield "the threshold of each class is 0.5: this model has no others, which a validation split would decide"
        return
    yield (
        "thresholds are from the validation split, each where the F1 of its class is highest; so the figures of that "
        "split are a little better than those of new texts"
    )
    if shared := thresholds.shared:
        named = listed([names[i] for i in shared])
        yield (
            f"{len(shared)} of {len(names)} classes have less than {ENOUGH_ROWS} rows there ({named}) and share the "
            f"threshold {thresholds.values[shared[0]]:.4f}, where the micro F1 is highest"
        )
