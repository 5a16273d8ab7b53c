"""How strongly the logistic regression of a verdict is regularised: chosen on training texts, by cross-validation."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from textclf_jax.check.suspects import group_folds
from textclf_jax.errors import UserError
from textclf_jax.evaluation.baselines import INVERSE_REGULARISATION, logistic_regression, tfidf_features
from textclf_jax.files import json_text, write_whole
from textclf_jax.study.design import TFIDF, TITLES

VALUES = (0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 3
# of large data a part is taken, which chooses nearly the same value: these many texts, and fewer of many classes, whose
# models take longer
MOST_ROWS, FEWEST_ROWS = 10_000, 1000
MOST_SCORES = 40_000  # rows times classes


@dataclass(frozen=True)
class Strength:
    """The regularisation of the verdict's TF-IDF with logistic regression.

    Attributes:
      value: `C` of scikit-learn.
      accuracies: cross-validated, by each of `values`; empty where they could not be told apart.
      values: that were tried.
      rows: training texts that chose.
    """

    value: float
    accuracies: tuple[float, ...]
    values: tuple[float, ...]
    rows: int

    @classmethod
    def of_json(cls, path: Path) -> "Strength":
        """The one that was written down; raises UserError where it cannot be read."""
        try:
            content = json.loads(path.read_bytes())
            return cls(**{**content, **{name: tuple(content[name]) for name in ("accuracies", "values")}})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Choose another --out and begin anew.") from None

    def write(self, path: Path) -> None:
        """Writes it down."""
        write_whole(path, json_text(asdict(self)) + "\n")

    def sentence(self) -> str:
        """What was chosen, and by what."""
        chosen = f"{TITLES[TFIDF]} has C = {self.value:g}"
        if not self.accuracies:
            return f"{chosen}, the usual value: {self.rows:,} training texts are too few to choose by."
        tried = ", ".join(f"{each:g}" for each in self.values)
        return f"{chosen}, the best of {tried} by {FOLDS}-fold cross-validation on {self.rows:,} training texts."


def choose_strength(texts: Sequence[str], labels: Int[np.ndarray, " N"], groups: Int[np.ndarray, " N"]) -> Strength:
    """Tries all values by cross-validation; the one with the most right answers is chosen, of equal ones the smallest.

    Args:
      texts: of the training split.
      labels: [N] classes in 0..C-1.
      groups: [N] what belongs together has the same number: a model is never asked about what it was fitted to.
    """
    most = min(max(MOST_SCORES // (int(labels.max()) + 1), FEWEST_ROWS), MOST_ROWS)
    rows = np.random.default_rng(0).permutation(len(texts))[:most]
    folds = group_folds(labels[rows], groups[rows], FOLDS)
    right = np.zeros(len(VALUES))
    asked = 0
    for fold in range(FOLDS):
        fitted, other = rows[folds != fold], rows[folds == fold]
        if not len(other) or len(np.unique(labels[fitted])) < 2:
            continue
        try:
            features, other_features = tfidf_features(*([texts[int(i)] for i in part] for part in (fitted, other)))
        except UserError:  # none of these texts has a word
            continue
        models = [logistic_regression(features, labels[fitted], value) for value in VALUES]
        right += [np.count_nonzero(model.predict(other_features) == labels[other]) for model in models]
        asked += len(other)
    if not asked:
        return Strength(INVERSE_REGULARISATION, (), VALUES, len(rows))
    return Strength(VALUES[int(right.argmax())], tuple((right / asked).tolist()), VALUES, len(rows))
