"""Fits the linear path of a classifier: regressions on n-grams weighted by naive Bayes, before the first step.

Source: Wang & Manning 2012, Baselines and Bigrams (NB-SVM), with logistic regression and TF-IDF in place of a support
vector machine and of n-grams that are there or not. What is fitted is scikit-learn's
`TfidfTransformer(sublinear_tf=True)` on the counts of `data/ngrams.py`, and a `LogisticRegression` for each class.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.config.schema import FinetuningConfig, Linear
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.ngrams import Keys, NgramCounts, keys_of_ngrams, ngrams_of, stored_keys, tokens_read
from textclf_jax.errors import listed
from textclf_jax.model.linear_path import EQUAL_WEIGHT
from textclf_jax.training.plan import Plan

MAX_ITERATIONS = 300
UNUSED = np.iinfo(np.uint64).max  # a key that is sorted after all others; its feature has no weight
# n-grams that are kept at a time, some 40 bytes each; of more rows than fit, some are drawn at random
MAX_NGRAMS = 1 << 25
ROWS_AT_ONCE, TOKENS_AT_ONCE = 4096, 1 << 20

Note = Callable[[str], None]


class Fitted(NamedTuple):
    """A fitted linear path, the arrays of `model/linear_path.py`.

    Attributes:
      keys: [F, 2] uint32; where the training split has fewer n-grams than there is room for, the last ones are unused.
      table: [F, C] float32.
      bias: [C] float32.
      idf: [F] float32.
    """

    keys: np.ndarray
    table: Float[np.ndarray, "F C"]
    bias: Float[np.ndarray, " C"]
    idf: Float[np.ndarray, " F"]


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
    head, arrays = plan.config.classification_head, jax.tree.leaves(plan.variable_shapes[LINEAR])
    megabytes = sum(leaf.size * leaf.dtype.itemsize for leaf in arrays) / 1e6
    read = f"the first {head.linear.max_tokens:,} tokens of a row"
    size = f"the {head.linear.max_features:,} most frequent x {head.num_labels} classes, {megabytes:,.0f} MB"
    return [("linear path", f"1- to {head.linear.max_n}-grams of {read}; {size}; fitted before the first step")]


def fit_linear_path(data: Dataset, settings: Linear, num_labels: int, note: Note) -> Fitted:
    """Fits the linear path.

    Args:
      data: the training split.
      settings: of the linear path.
      num_labels: C.
      note: gets lines on what was fitted.
    """
    assert data.labels is not None
    began, rows = time.perf_counter(), _chosen_rows(data, settings)
    if len(rows) < len(data):
        note(
            f"the linear path is fitted on {len(rows):,} of {len(data):,} rows, drawn at random: so many fit in memory"
        )
    keys, labels = frequent_keys(data, rows, settings), data.labels[rows]
    features, idf = _tfidf(_count(data, rows, settings, keys), len(keys))
    # of two classes of which a text has one the second one's regression says all
    one_for_both = num_labels == 2 and labels.ndim == 1
    fits = [
        regression_against_rest(features, _belongs(labels, c), settings.inverse_regularisation)
        for c in range(one_for_both, num_labels)
    ]
    coefficients = np.stack([fit.coefficients for fit in fits], axis=1)
    intercepts = np.array([fit.intercept for fit in fits])
    if one_for_both:
        coefficients, intercepts = (
            np.concatenate([-half, half], axis=-1) for half in (coefficients / 2, intercepts / 2)
        )
    seconds = time.perf_counter() - began
    note(f"fitted the linear path on {len(rows):,} rows and {len(keys):,} n-grams in {seconds:.1f} s")
    absent = [c for c in range(num_labels) if not _belongs(labels, c).any()]
    if absent:
        note(f"the linear path knows no row of class {listed(list(map(str, absent)))}: it hardly ever predicts it")
    if not all(fit.converged for fit in fits):
        note(
            f"warning: the linear path was not fitted to the end after {MAX_ITERATIONS} iterations; it is used as it is"
        )
    room = settings.max_features - len(keys)
    table, idf = (np.pad(array, [(0, room)] + [(0, 0)] * (array.ndim - 1)) for array in (coefficients, idf))
    keys = np.pad(keys, (0, room), constant_values=UNUSED)
    return Fitted(stored_keys(keys), *(array.astype(np.float32) for array in (table, intercepts, idf)))


def _chosen_rows(data: Dataset, settings: Linear) -> Int[np.ndarray, " R"]:
    """All rows, or as many drawn at random as have `MAX_NGRAMS` n-grams."""
    lengths = data.lengths if data.whole is None else data.whole.lengths
    most = settings.max_n * np.minimum(lengths, tokens_read(settings)).astype(np.int64)
    order = np.random.default_rng(0).permutation(len(most))
    fitting = int(np.searchsorted(np.cumsum(most[order]), MAX_NGRAMS, side="right"))
    return np.sort(order[: max(1, fitting)])


def _some_at_a_time(rows: Int[np.ndarray, " R"], settings: Linear) -> Iterator[Int[np.ndarray, " S"]]:
    size = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // tokens_read(settings)))
    yield from (rows[i : i + size] for i in range(0, len(rows), size))


def frequent_keys(data: Dataset, rows: Int[np.ndarray, " R"], settings: Linear) -> Keys:
    """The keys [F], sorted, of the n-grams that occur most often in rows; of equally frequent ones the smallest keys.

    F is `max_features`, or less where the rows have fewer.
    """
    parts = []
    for some in _some_at_a_time(rows, settings):
        tokens, sizes = data.first_tokens(some, tokens_read(settings))
        parts.append(np.unique(keys_of_ngrams(tokens, sizes, max_n=settings.max_n)[1], return_counts=True))
    every, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    keys, place = np.unique(every, return_inverse=True)
    frequency = np.bincount(place, weights=counts)
    return np.sort(keys[np.argsort(-frequency, kind="stable")[: settings.max_features]])


def _count(data: Dataset, rows: Int[np.ndarray, " R"], settings: Linear, keys: Keys) -> NgramCounts:
    """The n-grams of rows, some at a time."""
    parts = [ngrams_of(data, some, settings, keys) for some in _some_at_a_time(rows, settings)]
    each = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.concatenate([[0], np.cumsum(each)])
    return NgramCounts(
        starts, np.concatenate([part.ids for part in parts]), np.concatenate([part.counts for part in parts])
    )


def _belongs(labels: np.ndarray, c: int) -> Bool[np.ndarray, " N"]:
    """Whether each text is of a class, from classes [N] or from 0 and 1 [N, C]."""
    return labels == c if labels.ndim == 1 else labels[:, c] == 1


def _tfidf(counts: NgramCounts, num_features: int) -> tuple[Any, Float[np.ndarray, " F"]]:
    """Features of N texts, a csr_matrix [N, F] whose rows have length 1 (of no n-gram: 0), and the idf of each."""
    from scipy.sparse import csr_matrix  # scikit-learn and its libraries take a second to import

    size = len(counts.starts) - 1
    idf = inverse_document_frequency(np.bincount(counts.ids, minlength=num_features), size)
    data = counts.values * idf[counts.ids]
    row = np.repeat(np.arange(size), np.diff(counts.starts))
    norms = np.sqrt(np.bincount(row, weights=data**2, minlength=size))
    return csr_matrix((data / norms[row], counts.ids, counts.starts), shape=(size, num_features)), idf


def inverse_document_frequency(document_frequency: Int[np.ndarray, " F"], rows: int) -> Float[np.ndarray, " F"]:
    """ln((1 + rows) / (1 + document frequency)) + 1."""
    return np.log((1 + rows) / (1 + document_frequency)) + 1


class Regression(NamedTuple):
    """A fitted logistic regression.

    Attributes:
      coefficients: [F], of the features without weights.
      intercept: added to their sum, it gives the log odds of the class.
      converged: whether the solver came to its end.
    """

    coefficients: Float[np.ndarray, " F"]
    intercept: float
    converged: bool


def regression_against_rest(
    features: Any, belongs: Bool[np.ndarray, " N"], inverse_regularisation: float
) -> Regression:
    """Fits one class against all others.

    Args:
      features: csr_matrix [N, F].
      belongs: [N] whether each text is of the class.
      inverse_regularisation: C of scikit-learn.
    """
    from scipy.sparse import csr_matrix
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    count, size = int(belongs.sum()), len(belongs)
    if count in (0, size) or not features.shape[1]:
        # nothing to tell apart: as if half a row more were of the class, and half a row more were not
        log_odds = float(np.log((count + 0.5) / (size - count + 0.5)))
        return Regression(np.zeros(features.shape[1]), log_odds, converged=True)
    ratio = log_count_ratio(features, belongs)
    data = features.data * ratio[features.indices]
    weighted = csr_matrix((data, features.indices, features.indptr), features.shape)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(
            C=inverse_regularisation, solver="liblinear", max_iter=MAX_ITERATIONS, random_state=0
        ).fit(weighted, belongs)
    return Regression(ratio * model.coef_[0], float(model.intercept_[0]), bool(model.n_iter_.max() < MAX_ITERATIONS))


def log_count_ratio(features: Any, belongs: Bool[np.ndarray, " N"]) -> Float[np.ndarray, " F"]:
    """How much more often texts of a class have each n-gram than others do (Wang & Manning 2012, eq. 2).

    The logarithm of (p + 1) / |p + 1| over (q + 1) / |q + 1|, where p and q count the texts of the class and the others
    that have the n-gram, and || is the sum over n-grams.

    Args: those of `regression_against_rest`.
    """
    everywhere, inside = (
        np.bincount(part.indices, minlength=features.shape[1]) for part in (features, features[belongs])
    )
    p, q = inside + 1.0, everywhere - inside + 1.0
    return np.log(p / p.sum()) - np.log(q / q.sum())
