"""The results of a classifier class by class, under the names of the classes."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from textclf_jax.errors import listed, one_line
from textclf_jax.files import write_csv
from textclf_jax.tasks.metrics import class_scores
from textclf_jax.tokenizer.text_files import well_formed

SHOWN_CLASSES = 20  # of more than these the table shows the worst and the largest, half of it each
SHOWN_CHARACTERS = 40
SHOWN_MISTAKES = 3


class ByClass:
    """Scores of each class.

    Attributes:
      names: C names of the classes, in the order of their numbers.
      support: [C] rows of each class.
      predicted: [C] rows that each class is predicted for.
      scores: `precision`, `recall` and `f1` [C], NaN where undefined (see `class_scores`).
      table_columns: headings of the rows of `table`.
    """

    table_columns: tuple[str, ...] = ("class", "precision", "recall", "f1", "support")

    def __init__(
        self,
        names: Sequence[str],
        hits: Int[np.ndarray, " C"],
        support: Int[np.ndarray, " C"],
        predicted: Int[np.ndarray, " C"],
    ):
        self.names = [well_formed(name) for name in names]
        self.support, self.predicted = support, predicted
        self.scores = class_scores(hits, support, predicted)

    def records(self) -> list[dict[str, int | float | str]]:
        """Of each class its number and label, its rows, the rows it is predicted for, and its scores."""
        rows = zip(self.names, self.support.tolist(), self.predicted.tolist(), strict=True)
        return [
            {"class": i, "label": name, "support": support, "predicted": predicted}
            | {score: float(values[i]) for score, values in self.scores.items()}
            for i, (name, support, predicted) in enumerate(rows)
        ]

    def per_class_csv(self) -> str:
        """A line for each of `records`; undefined scores are empty."""
        records = self.records()
        return _csv([list(records[0]), *(["" if v != v else str(v) for v in record.values()] for record in records)])

    def table(self) -> tuple[str, list[tuple[Any, ...]]]:
        """What to print: a remark on what is shown, and rows of `table_columns`."""
        chosen, remark = range(len(self.names)), ""
        if len(self.names) > SHOWN_CLASSES:
            half = SHOWN_CLASSES // 2
            worst = self._worst()[:half]
            largest = [i for i in np.argsort(-self.support, kind="stable").tolist() if i not in worst][:half]
            chosen = [*worst, *largest]
            remark = f" (of {len(self.names)}: the {len(worst)} of lowest F1, then the {len(largest)} largest others)"
        return remark, [self.row(i) for i in chosen]

    def row(self, i: int) -> tuple[Any, ...]:
        """The row of a class in the table."""
        precision, recall, f1 = (float(values[i]) for values in self.scores.values())
        return self.short(i), precision, recall, f1, int(self.support[i])

    def absent(self, left_out: str) -> list[str]:
        """A line on the classes without rows, if there are any; `left_out` says what leaves them out."""
        absent = np.flatnonzero(self.support == 0).tolist()
        named = listed([self.short(i) for i in absent])
        told = f"{len(absent)} of {len(self.names)} classes have no row here ({named}): {left_out} leaves them out, "
        return [f"{told}and the macro scores those of them that are never predicted either"] if absent else []

    def short(self, i: int) -> str:
        """The name of a class in one short line."""
        return one_line(self.names[i], SHOWN_CHARACTERS) or f"(class {i})"

    def _worst(self) -> list[int]:
        """Classes that have rows, by F1, then those of more rows first."""
        present = np.flatnonzero(self.support)
        return present[np.lexsort((-self.support[present], self.scores["f1"][present]))].tolist()


class ClassResults(ByClass):
    """Scores of each class, and which class is taken for which.

    Attributes:
      confusion: [C, C] numbers of rows by true and predicted class.
    """

    def __init__(self, confusion: Int[np.ndarray, "C C"], names: Sequence[str]):
        super().__init__(names, confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))
        self.confusion = confusion

    def confusion_csv(self) -> str:
        """A line a true class, a column a predicted one."""
        rows = ([name, *map(str, counts)] for name, counts in zip(self.names, self.confusion.tolist(), strict=True))
        return _csv([["true \\ predicted", *self.names], *rows])

    def remarks(self) -> list[str]:
        """Lines on the most frequent mistakes, and on classes that never occur."""
        lines = []
        mistakes = self.confusion - np.diag(self.confusion.diagonal())
        places = np.argsort(-mistakes, axis=None, kind="stable")[:SHOWN_MISTAKES].tolist()
        often = [(t, p) for t, p in (divmod(i, len(self.names)) for i in places) if mistakes[t, p]]
        if often:
            told = (f"{self.short(t)} taken for {self.short(p)} ({mistakes[t, p]:,})" for t, p in often)
            lines.append(f"most frequent mistakes: {'; '.join(told)}")
        return [*lines, *self.absent("balanced accuracy")]


def _csv(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    write_csv(text, lines)
    return text.getvalue()
