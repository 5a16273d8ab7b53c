"""Fits the linear path of a classifier: logistic regression on TF-IDF of hashed n-grams, before the first step.

What is fitted is scikit-learn's `TfidfTransformer(sublinear_tf=True)` and `LogisticRegression` on the counts of
`data/ngrams.py`.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from textclf_jax.config.schema import FinetuningConfig, Linear
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.ngrams import NgramCounts, ngrams_of, tokens_read
from textclf_jax.errors import listed
from textclf_jax.model.linear_path import EQUAL_WEIGHT
from textclf_jax.training.plan import Plan

MAX_EPOCHS, TOLERANCE = 200, 1e-3
# the solver keeps some five numbers of 8 bytes for each: 700 MB. Of more features than fit, the most frequent stay
MAX_COEFFICIENTS = 1 << 24
# n-grams that are kept at a time, 12 bytes each; of more rows than fit, some are drawn at random
MAX_NGRAMS = 1 << 26
ROWS_AT_ONCE, TOKENS_AT_ONCE = 4096, 1 << 20

Note = Callable[[str], None]


class Fitted(NamedTuple):
    """A fitted linear path: `table` [buckets, C], `bias` [C] and `idf` [buckets] of `model/linear_path.py`, float32."""

    table: Float[np.ndarray, "V C"]
    bias: Float[np.ndarray, " C"]
    idf: Float[np.ndarray, " V"]


def fitted_collections(plan: Plan, note: Note) -> dict[str, Any]:
    """The collection of the linear path, fitted on the training split; nothing where the run has none."""
    config = plan.config
    if not isinstance(config, FinetuningConfig) or not config.classification_head.linear.enabled:
        return {}
    head = config.classification_head
    fitted = fit_linear_path(plan.train, head.linear, head.num_labels, note)
    if plan.val is None:
        note("no validation split: encoder and linear path count equally")
    arrays = {**fitted._asdict(), "weights": np.full(2, EQUAL_WEIGHT, np.float32)}
    return {LINEAR: {LINEAR_PATH: {name: jnp.asarray(array) for name, array in arrays.items()}}}


def linear_path_facts(plan: Plan) -> list[tuple[str, str]]:
    """A line on the linear path of a run, for what is printed before it starts."""
    if LINEAR not in plan.variable_shapes:
        return []
    assert isinstance(plan.config, FinetuningConfig)
    head, table = plan.config.classification_head, plan.variable_shapes[LINEAR][LINEAR_PATH]["table"]
    read = f"the first {head.linear.max_tokens:,} tokens of a row"
    size = f"{head.linear.buckets:,} buckets x {head.num_labels} classes, {table.size * 4 / 1e6:,.0f} MB"
    return [("linear path", f"1- to {head.linear.max_n}-grams of {read}; {size}; fitted before the first step")]


def fit_linear_path(data: Dataset, settings: Linear, num_labels: int, note: Note) -> Fitted:
    """Fits the linear path.

    Args:
      data: the training split.
      settings: of the linear path.
      num_labels: C.
      note: gets lines on what was fitted.
    """
    from scipy.sparse import csr_matrix  # scikit-learn and its libraries take a second to import

    assert data.labels is not None
    began, rows = time.perf_counter(), _chosen_rows(data, settings)
    if len(rows) < len(data):
        note(
            f"the linear path is fitted on {len(rows):,} of {len(data):,} rows, drawn at random: so many fit in memory"
        )
    counts, labels = _count(data, rows, settings), data.labels[rows]
    table, bias = np.zeros((settings.buckets, num_labels), np.float32), np.zeros(num_labels, np.float32)
    document_frequency = np.bincount(counts.buckets, minlength=settings.buckets)
    kept = _most_frequent(document_frequency, MAX_COEFFICIENTS // num_labels)
    idf = inverse_document_frequency(document_frequency, len(rows)) * kept
    shape = (len(rows), settings.buckets)
    features = csr_matrix((counts.values, counts.buckets, counts.starts), shape=shape)
    features = _normalised(features[:, np.flatnonzero(kept)], idf[kept])
    classes, coefficients, intercepts, converged = logistic_regression(
        features, labels, settings.inverse_regularisation
    )
    table[np.ix_(np.flatnonzero(kept), classes)] = coefficients
    bias[classes] = intercepts
    absent = np.setdiff1d(np.arange(num_labels), classes)
    # as if half a row had had it, where nothing else is known
    bias[absent] = np.logaddexp.reduce(intercepts) - np.log(2 * len(rows))
    seconds, width = time.perf_counter() - began, int(kept.sum())
    note(f"fitted the linear path on {len(rows):,} rows and {width:,} features of n-grams in {seconds:.1f} s")
    if absent.size:
        note(f"the linear path knows no row of class {listed(list(map(str, absent)))}: it hardly ever predicts it")
    if not converged:
        note(f"warning: the linear path was not fitted to the end after {MAX_EPOCHS} epochs; it is used as it is")
    return Fitted(table, bias, idf.astype(np.float32))


def inverse_document_frequency(document_frequency: Int[np.ndarray, " V"], rows: int) -> Float[np.ndarray, " V"]:
    """ln((1 + rows) / (1 + document frequency)) + 1; 0 where no row has the feature, which says nothing then."""
    return (np.log((1 + rows) / (1 + document_frequency)) + 1) * (document_frequency > 0)


def _chosen_rows(data: Dataset, settings: Linear) -> Int[np.ndarray, " R"]:
    """All rows, or as many drawn at random as have `MAX_NGRAMS` n-grams."""
    lengths = data.lengths if data.whole is None else data.whole.lengths
    most = settings.max_n * np.minimum(lengths, tokens_read(settings)).astype(np.int64)
    order = np.random.default_rng(0).permutation(len(most))
    fitting = int(np.searchsorted(np.cumsum(most[order]), MAX_NGRAMS, side="right"))
    return np.sort(order[: max(1, fitting)])


def _count(data: Dataset, rows: Int[np.ndarray, " R"], settings: Linear) -> NgramCounts:
    """The n-grams of rows, some at a time."""
    size = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // tokens_read(settings)))
    parts = [ngrams_of(data, rows[i : i + size], settings) for i in range(0, len(rows), size)]
    each = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.concatenate([[0], np.cumsum(each)])
    return NgramCounts(
        starts, np.concatenate([part.buckets for part in parts]), np.concatenate([part.counts for part in parts])
    )


def _most_frequent(document_frequency: Int[np.ndarray, " V"], limit: int) -> Int[np.ndarray, " V"]:
    """[V] bool: the features that some row has, at most `limit`; of equal frequencies, the first ones."""
    order = np.argsort(-document_frequency, kind="stable")[:limit]
    kept = np.zeros(len(document_frequency), bool)
    kept[order] = True
    return kept & (document_frequency > 0)


def _normalised(features: Any, idf: Float[np.ndarray, " F"]) -> Any:
    """A csr_matrix [N, F] of values times idf, each row of length 1; a row without features stays 0."""
    data = features.data * idf[features.indices]
    row = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
    norms = np.sqrt(np.bincount(row, weights=data**2, minlength=features.shape[0]))
    features.data = data / norms[row]
    return features


class Regression(NamedTuple):
    """A fitted logistic regression.

    Attributes:
      classes: [K] that occur.
      coefficients: [F, K].
      intercepts: [K].
      converged: whether the solver came to its end.
    """

    classes: Int[np.ndarray, " K"]
    coefficients: Float[np.ndarray, "F K"]
    intercepts: Float[np.ndarray, " K"]
    converged: bool


def logistic_regression(features: Any, labels: Int[np.ndarray, " N"], inverse_regularisation: float) -> Regression:
    """Fits scikit-learn's logistic regression to a csr_matrix [N, F], whose log-softmax the model's is."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    classes = np.unique(labels)
    if len(classes) == 1 or not features.shape[1]:
        share = np.bincount(labels)[classes] / len(labels)
        return Regression(classes, np.zeros((features.shape[1], len(classes))), np.log(share), True)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # rows are of length 1, which this solver needs for being seven times as fast as lbfgs
        model = LogisticRegression(
            C=inverse_regularisation, solver="sag", max_iter=MAX_EPOCHS, tol=TOLERANCE, random_state=0
        ).fit(features, labels)
    coefficients, intercepts = model.coef_.T, model.intercept_
    if len(classes) == 2:  # of two classes it has the second one's log odds
        coefficients, intercepts = (
            np.concatenate([-half, half], axis=-1) for half in (coefficients / 2, intercepts / 2)
        )
    return Regression(classes, coefficients, intercepts, bool(model.n_iter_.max() < MAX_EPOCHS))
