"""What a classifier must beat: the largest class, and TF-IDF with logistic regression."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textclf_jax.errors import UserError
from textclf_jax.evaluation.words import count_units
from textclf_jax.prepare.labels import whole_numbers
from textclf_jax.prepare.splitting import class_ids
from textclf_jax.prepare.texts import Row
from textclf_jax.tasks.metrics import classification_metrics

MAX_FEATURES = 50_000
INVERSE_REGULARISATION = 10.0

LogProbabilities = Float[np.ndarray, "N C"]


class Score(NamedTuple):
    """What a baseline reaches on the test rows; `seconds` is its training and prediction together."""

    model: str
    accuracy: float
    f1_macro: float
    seconds: float


def score_baselines(train: Sequence[Row], test: Sequence[Row]) -> list[Score]:
    """Trains both baselines on `train` and scores them on `test`.

    Args:
      train, test: labelled rows.

    Returns:
      The scores of the largest class and of TF-IDF with logistic regression.

    Raises:
      UserError: fewer than two classes, a test label that training lacks, texts without a word.
    """
    splits = {"train": list(train), "test": list(test)}
    _, labels = class_ids(whole_numbers(splits) or splits, None)
    texts, test_texts = [row.text for row in train], [row.text for row in test]

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


def majority_class(texts: Sequence[str], labels: Int[np.ndarray, " N"], test_texts: Sequence[str]) -> LogProbabilities:
    """Predicts the class frequencies of the training labels for every test text. Classes are 0..C-1, all in labels."""
    del texts
    counts = np.bincount(labels)
    return np.tile(np.log(counts / counts.sum()), (len(test_texts), 1))


def tfidf_logistic_regression(
    texts: Sequence[str], labels: Int[np.ndarray, " N"], test_texts: Sequence[str]
) -> LogProbabilities:
    """Fits logistic regression on words and pairs of words, and predicts the test texts.

    Where a script puts no spaces between words, on sequences of one to three characters: see `count_units`.

    Args:
      texts: N training texts.
      labels: [N] classes in 0..C-1, all of which occur.
      test_texts: texts to predict.

    Returns:
      [len(test_texts), C] log probabilities.

    Raises:
      UserError: no training text has a word.
    """
    # scikit-learn takes a second to import
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    analyzer: Any = count_units  # its type stubs know names of analyzers only
    vectorizer = TfidfVectorizer(analyzer=analyzer, max_features=MAX_FEATURES, sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError as error:  # raised for an empty vocabulary
        raise UserError(f"no training text has a word: {error}") from None
    with threadpool_limits(1):  # its steps are too small to share: two busy cores took four times as long
        model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000).fit(features, labels)
    return model.predict_log_proba(vectorizer.transform(test_texts))
