"""What tells the label without the text: other columns, and the first and last words and the length of texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from textclf_jax.check.suspects import FOLDS
from textclf_jax.class_names import is_number
from textclf_jax.prepare.texts import Row

BINS = 50  # of the values of a column of numbers
TOLD = 0.9  # of what the largest class leaves over, from which on a column tells the label
FEWEST = 20  # rows
OF_TEXTS = ("the first word of the texts", "the last word of the texts", "the length of the texts")


@dataclass(frozen=True)
class Giveaway:
    """How well something beside the text tells the label.

    Attributes:
      name: of the column, or one of OF_TEXTS.
      accuracy: of the rule "the most frequent label of rows with the same value", on rows that it was not made from.
      majority: the share of the largest class.
      is_of_text: whether the model reads it.
    """

    name: str
    accuracy: float
    majority: float
    is_of_text: bool

    @property
    def tells(self) -> bool:
        """Whether it gives the label away."""
        return self.accuracy >= self.majority + TOLD * (1 - self.majority)


def find_giveaways(rows: Sequence[Row], columns: Mapping[str, Sequence[str]]) -> list[Giveaway]:
    """Measures each column, and the ends of the texts; those that tell most come first.

    Args:
      rows: with one label each.
      columns: what stands in each column, by row.
    """
    names = sorted({str(row.label) for row in rows})
    if len(rows) < FEWEST or len(names) < 2:
        return []
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[str(row.label)] for row in rows], np.int64)
    majority = float(np.bincount(labels).max() / len(labels))
    words = [row.text.casefold().split() for row in rows]
    of_texts = ([each[0] for each in words], [each[-1] for each in words], [str(len(row.text)) for row in rows])
    sources = [*columns.items(), *zip(OF_TEXTS, of_texts, strict=True)]
    found = [Giveaway(name, _accuracy(values, labels), majority, name in OF_TEXTS) for name, values in sources]
    return sorted(found, key=lambda each: -each.accuracy)


def _accuracy(values: Sequence[str], labels: Int[np.ndarray, " N"]) -> float:
    """Of the better rule: by value, or, where all are numbers, by range."""
    _, codes = np.unique(np.array(values, object), return_inverse=True)
    best = rule_accuracy(codes, labels)
    if all(map(is_number, values)):
        amounts = np.array(values, np.float64)
        edges = np.unique(np.quantile(amounts, np.linspace(0, 1, BINS + 1)[1:-1]))
        best = max(best, rule_accuracy(np.searchsorted(edges, amounts), labels))
    return best


def rule_accuracy(codes: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"]) -> float:
    """Cross-validated accuracy of the rule that gives each code the label that most other rows with it have."""
    classes, values = int(labels.max()) + 1, int(codes.max()) + 1
    folds = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    right = 0
    for fold in range(FOLDS):
        fitted, asked = folds != fold, folds == fold
        pairs, counts = np.unique(codes[fitted] * classes + labels[fitted], return_counts=True)
        order = np.argsort(counts, kind="stable")  # the most frequent label of a code is written last
        rule = np.full(values, np.bincount(labels[fitted], minlength=classes).argmax())
        rule[pairs[order] // classes] = pairs[order] % classes
        right += int((rule[codes[asked]] == labels[asked]).sum())
    return right / len(labels)
