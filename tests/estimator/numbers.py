"""The estimator on tables of numbers, for scikit-learn's checks, which have no texts: each number becomes a word."""

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from textclf_jax import TextClassifier

LEVELS = "abcdefghijklmnopqrst"  # of a number


class OnNumbers(TextClassifier):
    """Columns are words, in which the letter at the end is the size of the number."""

    def fit(self, X: Any, y: Any) -> "OnNumbers":
        super().fit(texts_of(validate_data(self, X)), y)
        return self

    def predict(self, X: Any) -> Any:
        return super().predict(self._texts(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        return super().predict_proba(self._texts(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return super().score(X, y, sample_weight)

    def _texts(self, X: Any) -> list[str]:
        if not hasattr(self, "classes_"):
            return []  # refused by the estimator
        return texts_of(validate_data(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = False, True
        tags.input_tags.one_d_array = False
        return tags


def texts_of(numbers: np.ndarray) -> list[str]:
    """A text for each row: numbers from -5 to 5 have twenty levels."""
    levels = np.clip(np.round(2 * numbers.astype(np.float64)) + len(LEVELS) // 2, 0, len(LEVELS) - 1).astype(int)
    return [" ".join(f"{chr(97 + i)}x{LEVELS[level]}" for i, level in enumerate(row)) for row in levels]
