"""Rows whose label a simple model firmly contradicts: confident learning (Northcutt et al. 2021) on TF-IDF."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textclf_jax.evaluation.words import count_units
from textclf_jax.files import write_csv, write_whole
from textclf_jax.prepare.texts import Row

FOLDS = 5
READ = 10_000  # characters of a text: long ones tell their class before that
MAX_FEATURES = 50_000
EPOCHS, FEWEST_EPOCHS = 20, 2  # of stochastic gradient descent
VISITS = 4_000_000  # of rows by the models of all classes, beyond which there are fewer epochs: some seconds a fold
STRENGTH = 1e-5  # of L2 regularisation
WRITTEN = 0.1  # of the rows at most
LIFT = 0.1  # of what the largest class leaves over: a model below it knows too little to contradict
COLUMNS = ("file", "line", "text", "label", "suggested_label", "probability", "probability_of_label")


@dataclass(frozen=True)
class Suspects:
    """What a cross-validated model says of labels.

    Attributes:
      accuracy: of the model, on rows that it was not fitted to.
      majority: the share of the largest class.
      rows: numbers of the rows that it firmly contradicts, the worst first.
      suggested: the label that it gives each of them.
      probability, own_probability: of the suggested label, and of the row's own.
      judged: rows that were looked at: of classes with FOLDS rows or more.
    """

    accuracy: float
    majority: float
    rows: list[int]
    suggested: list[str]
    probability: list[float]
    own_probability: list[float]
    judged: int

    @property
    def knows_enough(self) -> bool:
        """Whether the model is clearly better than the largest class."""
        return self.accuracy >= self.majority + LIFT * (1 - self.majority)


def find_suspects(rows: Sequence[Row], groups: Sequence[int]) -> Suspects | None:
    """Fits TF-IDF and logistic regression to four fifths of the rows at a time, and asks it about the others.

    Of texts beyond 10,000 characters the beginnings are read.

    A row is a suspect where another class has at least the probability that rows of that class have on average; the
    larger the difference to its own label's, the more suspect.

    Args:
      rows: with one label and text.
      groups: what is nearly the same has the same number: it is never asked about what it was fitted to.

    Returns:
      The suspects; None where fewer than two classes have enough rows, or no text has a word.
    """
    names = sorted({str(row.label) for row in rows})
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[str(row.label)] for row in rows], np.int64)
    judged = np.flatnonzero((np.bincount(labels, minlength=len(names)) >= FOLDS)[labels])
    if len(np.unique(labels[judged])) < 2:
        return None
    texts = [rows[i].text for i in judged.tolist()]
    probabilities = cross_validated(texts, labels[judged], np.asarray(groups)[judged])
    if probabilities is None:
        return None
    own = labels[judged]
    suggested, margin = confident_contradictions(probabilities, own)
    order = np.flatnonzero(suggested >= 0)
    order = order[np.argsort(-margin[order], kind="stable")][: max(int(WRITTEN * len(judged)), 1)]
    return Suspects(
        accuracy=float((probabilities.argmax(axis=1) == own).mean()),
        majority=float(np.bincount(own).max() / len(own)),
        rows=judged[order].tolist(),
        suggested=[names[i] for i in suggested[order].tolist()],
        probability=probabilities[order, suggested[order]].tolist(),
        own_probability=probabilities[order, own[order]].tolist(),
        judged=len(judged),
    )


def confident_contradictions(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The class that each row is confidently counted as, where that is not its label, or -1; and by how much.

    Args:
      probabilities: of each class, by a model that has not seen the row.
      labels: of each row.

    Returns:
      [N] the other class with the highest probability of those at or above their class's threshold, the mean
      probability of its own rows; and [N] the highest probability of another class less the label's.

    Source: Northcutt et al. 2021, Confident Learning, eq. 1 and 2.
    """
    rows = np.arange(len(labels))
    classes = probabilities.shape[1]
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    thresholds = np.bincount(labels, weights=probabilities[rows, labels], minlength=classes) / counts
    confident = np.where(probabilities >= np.where(thresholds > 0, thresholds, np.inf), probabilities, -np.inf)
    counted_as = confident.argmax(axis=1)
    is_other = np.isfinite(confident[rows, counted_as]) & (counted_as != labels)
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return np.where(is_other, counted_as, -1), others.max(axis=1) - probabilities[rows, labels]


def cross_validated(
    texts: Sequence[str], labels: Int[np.ndarray, " N"], groups: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "N C"] | None:
    """[N, C] the probabilities of each row's classes by models that were fitted to other groups; None: no words."""
    features = word_features(texts)
    if features is None:
        return None
    folds = group_folds(labels, groups)
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in range(FOLDS):
        fitted, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(asked) and len(np.unique(labels[fitted])) > 1:
            probabilities[asked] = fit_words(features, labels, fitted, asked)
    return probabilities


def word_features(texts: Sequence[str]) -> Any:
    """The sparse TF-IDF features of texts, of long ones those of their beginnings; None: no text has a word."""
    # scikit-learn takes a second to import
    from sklearn.feature_extraction.text import TfidfVectorizer

    # type stubs know names of analyzers only
    counting: dict[str, Any] = {"analyzer": count_units, "max_features": MAX_FEATURES, "dtype": np.float32}
    vectorizer = TfidfVectorizer(sublinear_tf=True, **counting)
    try:
        return vectorizer.fit_transform([text[:READ] for text in texts])
    except ValueError:  # raised for an empty vocabulary
        return None


def fit_words(
    features: Any, labels: Int[np.ndarray, " N"], fitted: Int[np.ndarray, " F"], asked: Int[np.ndarray, " A"]
) -> Float[np.ndarray, "A C"]:
    """Fits logistic regression to some rows, and gives the probabilities of the classes of others.

    Args:
      features: of all rows, by `word_features`.
      labels: of all rows, in 0..C-1.
      fitted, asked: numbers of the rows.
    """
    from sklearn.linear_model import SGDClassifier
    from threadpoolctl import threadpool_limits

    classes = np.unique(labels[fitted])
    probabilities = np.zeros((len(asked), int(labels.max()) + 1))
    if len(classes) < 2:
        probabilities[:, classes] = 1.0
        return probabilities
    visits = len(labels) * len(np.unique(labels))  # of an epoch
    epochs = max(min(EPOCHS, VISITS // visits), FEWEST_EPOCHS)
    fitting: dict[str, Any] = {"loss": "log_loss", "alpha": STRENGTH, "max_iter": epochs, "tol": None}
    model = SGDClassifier(**fitting, average=True, random_state=0)
    with threadpool_limits(1):
        model.fit(features[fitted], labels[fitted])
    probabilities[:, classes] = model.predict_proba(features[asked])
    return probabilities


def group_folds(
    labels: Int[np.ndarray, " N"], groups: Int[np.ndarray, " N"], folds: int = FOLDS
) -> Int[np.ndarray, " N"]:
    """[N] the fold of each row: a group is in one fold, and the classes of the groups' first rows are spread evenly."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(0).permutation(len(first))
    by_class = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold_of = np.empty(len(first), np.int64)
    fold_of[by_class] = np.arange(len(first)) % folds
    return fold_of[number]


def write_suspects(path: Path, rows: Sequence[Row], suspects: Suspects | None) -> None:
    """Writes the suspects as csv to go through, the worst first; the header alone where there are none."""
    lines: list[tuple[object, ...]] = [COLUMNS]
    if suspects is not None:
        found = zip(suspects.rows, suspects.suggested, suspects.probability, suspects.own_probability, strict=True)
        for i, label, probability, own in found:
            row = rows[i]
            lines.append((row.path, row.line, row.text, row.label, label, f"{probability:.4f}", f"{own:.4f}"))
    stream = io.StringIO(newline="")
    write_csv(stream, lines)
    write_whole(path, stream.getvalue())
