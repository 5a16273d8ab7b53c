"""What a classifier must beat: the largest class, and TF-IDF with logistic regression."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from textclf_jax.errors import UserError
from textclf_jax.evaluation.words import count_units
from textclf_jax.prepare.labels import whole_numbers
from textclf_jax.prepare.splitting import class_ids
from textclf_jax.prepare.texts import Row
from textclf_jax.tasks.metrics import classification_metrics

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

MAX_FEATURES = 50_000
INVERSE_REGULARISATION = 10.0

AVERAGES = ("micro", "macro")
THRESHOLD = 0.5  # of the probability of a label, where a text can have several

LogProbabilities = Float[np.ndarray, "N C"]
LabelSets = UInt8[np.ndarray, "N C"]  # 0 and 1


class Score(NamedTuple):
    """What a baseline reaches on the test rows; `seconds` is its training and prediction together."""

    model: str
    accuracy: float
    f1_macro: float
    seconds: float


class MultiLabelScore(NamedTuple):
    """What a baseline reaches where texts can have several labels.

    Attributes:
      f1_micro, f1_macro: of all labels together, and the mean over the classes; as scikit-learn, 0 where undefined.
      subset_accuracy: rows of which all labels are right.
      seconds: of training and prediction together.
    """

    model: str
    f1_micro: float
    f1_macro: float
    subset_accuracy: float
    seconds: float


def score_baselines(train: Sequence[Row], test: Sequence[Row]) -> list[Score] | list[MultiLabelScore]:
    """Trains both baselines on `train` and scores them on `test`.

    Args:
      train, test: labelled rows, all with one label or all with several.

    Returns:
      The scores of the largest class, or set of labels, and of TF-IDF with logistic regression.

    Raises:
      UserError: fewer than two classes, a test label that training lacks, texts without a word.
    """
    splits = {"train": list(train), "test": list(test)}
    _, labels = class_ids(whole_numbers(splits) or splits, None)
    texts, test_texts = [row.text for row in train], [row.text for row in test]
    if labels["train"].ndim == 2:
        return _score_label_sets(texts, labels["train"], test_texts, labels["test"])

    def score(name: str, predict: Callable[..., LogProbabilities]) -> Score:
        start = time.perf_counter()
        scores = predict(texts, labels["train"], test_texts)
        seconds = time.perf_counter() - start
        loss = -np.take_along_axis(scores, labels["test"][:, None], axis=1).mean()
        metrics = classification_metrics(scores, labels["test"], loss=float(loss))
        return Score(name, metrics["accuracy"], metrics["f1_macro"], seconds)

    return [
        score("majority class", majority_class),
        score("TF-IDF + logistic regression", tfidf_logistic_regression),
    ]


def _score_label_sets(
    texts: Sequence[str], labels: LabelSets, test_texts: Sequence[str], truth: LabelSets
) -> list[MultiLabelScore]:
    from sklearn.metrics import f1_score

    undefined: Any = {"zero_division": 0}  # its type stubs know text only

    def score(name: str, predict: Callable[..., LabelSets]) -> MultiLabelScore:
        start = time.perf_counter()
        predicted = predict(texts, labels, test_texts)
        seconds = time.perf_counter() - start
        micro, macro = (float(f1_score(truth, predicted, average=average, **undefined)) for average in AVERAGES)
        return MultiLabelScore(name, micro, macro, float((predicted == truth).all(axis=1).mean()), seconds)

    return [
        score("most frequent set of labels", majority_set),
        score("TF-IDF + logistic regression", tfidf_label_sets),
    ]


def majority_class(texts: Sequence[str], labels: Int[np.ndarray, " N"], test_texts: Sequence[str]) -> LogProbabilities:
    """Predicts the class frequencies of the training labels for every test text. Classes are 0..C-1, all in labels."""
    del texts
    counts = np.bincount(labels)
    return np.tile(np.log(counts / counts.sum()), (len(test_texts), 1))


def tfidf_logistic_regression(
    texts: Sequence[str],
    labels: Int[np.ndarray, " N"],
    test_texts: Sequence[str],
    inverse_regularisation: float = INVERSE_REGULARISATION,
) -> LogProbabilities:
    """Fits logistic regression on words and pairs of words, and predicts the test texts.

    Where a script puts no spaces between words, on sequences of one to three characters: see `count_units`.

    Args:
      texts: N training texts.
      labels: [N] classes in 0..C-1, all of which occur.
      test_texts: texts to predict.
      inverse_regularisation: `C` of scikit-learn: the smaller, the smaller are the weights.

    Returns:
      [len(test_texts), C] log probabilities.

    Raises:
      UserError: no training text has a word.
    """
    features, test_features = tfidf_features(texts, test_texts)
    return logistic_regression(features, labels, inverse_regularisation).predict_log_proba(test_features)


def logistic_regression(
    features: Any, labels: Int[np.ndarray, " N"], inverse_regularisation: float = INVERSE_REGULARISATION
) -> "LogisticRegression":
    """Fits logistic regression to [N, F] sparse features; arguments as for `tfidf_logistic_regression`."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # its steps are too small to share: two busy cores took four times as long
        return LogisticRegression(C=inverse_regularisation, max_iter=1000).fit(features, labels)


def majority_set(texts: Sequence[str], labels: LabelSets, test_texts: Sequence[str]) -> LabelSets:
    """Predicts the most frequent set of labels [C] for every test text."""
    del texts
    sets, counts = np.unique(labels, axis=0, return_counts=True)
    return np.tile(sets[counts.argmax()], (len(test_texts), 1))


def tfidf_label_sets(texts: Sequence[str], labels: LabelSets, test_texts: Sequence[str]) -> LabelSets:
    """As `tfidf_logistic_regression`, with a regression of its own for each label; from a probability of 0.5 on.

    Args:
      texts: N training texts.
      labels: [N, C] 0 and 1.
      test_texts: texts to predict.

    Returns:
      [len(test_texts), C] 0 and 1.
    """
    features, test_features = tfidf_features(texts, test_texts)
    predicted = np.zeros((len(test_texts), labels.shape[1]), np.uint8)
    for i, column in enumerate(labels.T):
        if column.min() == column.max():  # all texts or none have it
            predicted[:, i] = column[0]
            continue
        predicted[:, i] = logistic_regression(features, column).predict_proba(test_features)[:, 1] >= THRESHOLD
    return predicted


def tfidf_features(texts: Sequence[str], test_texts: Sequence[str]) -> tuple[Any, Any]:
    """The sparse features of texts and test texts; raises UserError where no training text has a word."""
    # scikit-learn takes a second to import
    from sklearn.feature_extraction.text import TfidfVectorizer

    analyzer: Any = count_units  # its type stubs know names of analyzers only
    vectorizer = TfidfVectorizer(analyzer=analyzer, max_features=MAX_FEATURES, sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError as error:  # raised for an empty vocabulary
        raise UserError(f"no training text has a word: {error}") from None
    return features, vectorizer.transform(test_texts)
