"""How sure a comparison of classifiers on the same test rows is: bootstrap intervals, and a paired permutation test."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LEVEL = 0.95
DRAWS = 10_000
ROWS_AT_ONCE = 2**22  # numbers in memory of a block of draws

Predictions = Mapping[str, Int[np.ndarray, "S N"]]


class Interval(NamedTuple):
    """An estimate, and the bounds of its 95% interval."""

    value: float
    low: float
    high: float


class Scores(NamedTuple):
    """Accuracy and macro-F1 of a method, means over its seeds."""

    accuracy: Interval
    f1_macro: Interval


class Difference(NamedTuple):
    """Accuracy of one method less that of another, and the p-value of there being no difference."""

    accuracy: Interval
    p_value: float


class Comparison(NamedTuple):
    """Methods compared on the same rows.

    Attributes:
      scores: by method.
      differences: by (method, other), for each two methods in their order, the later one first.
    """

    scores: dict[str, Scores]
    differences: dict[tuple[str, str], Difference]


def compare(
    predictions: Predictions, labels: Int[np.ndarray, " N"], *, seed: int = 0, draws: int = DRAWS
) -> Comparison:
    """Compares methods by their predictions of the same test rows.

    The intervals are percentiles of a bootstrap (Efron & Tibshirani 1993, chapter 13). Each draw takes N rows and S
    seeds with replacement, independently of each other (Owen 2007, the pigeonhole bootstrap), the same ones for every
    method: so differences are paired, by row and by seed. They cover the choice of test rows and the luck of training;
    with few seeds they know little of the latter.

    Args:
      predictions: by method, [S, N] predicted classes, a row a seed, -1 where nothing is predicted. All methods have
        the same number of seeds; one without randomness repeats its row.
      labels: [N] true classes in 0..C-1.
      seed: decides the draws.
      draws: how many.
    """
    hits = {name: found == labels for name, found in predictions.items()}
    accuracies, f1s = _bootstrap(predictions, hits, labels, seed, draws)
    scores = {
        name: Scores(
            _interval(float(hits[name].mean()), accuracies[name]),
            _interval(float(np.mean([f1_macro(row, labels) for row in found])), f1s[name]),
        )
        for name, found in predictions.items()
    }
    differences = {}
    for other, name in itertools.combinations(predictions, 2):
        observed = float(hits[name].mean() - hits[other].mean())
        interval = _interval(observed, accuracies[name] - accuracies[other])
        differences[name, other] = Difference(interval, permutation_test(hits[name], hits[other]))
    return Comparison(scores, differences)


def label_scores(
    predicted: Bool[np.ndarray, "N C"], labels: Bool[np.ndarray, "N C"], *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Micro-F1, macro-F1 and the share of texts with all labels right, where a text can have several labels.

    Intervals are percentiles of a bootstrap of the rows. Macro-F1 is the mean over the classes that occur in labels or
    predictions (of each draw); where none does, both F1 are NaN, as in `tasks/multi_label.py`.

    Args:
      predicted: [N, C] which classes are predicted.
      labels: [N, C] which classes texts have.
      seed, draws: as in `compare`.
    """
    hits, sizes = predicted & labels, predicted.astype(np.float32) + labels
    exact = (predicted == labels).all(axis=1).astype(np.float32)

    def scores(rows: Float[np.ndarray, "N R"]) -> Float[np.ndarray, "3 R"]:
        by_class = hits.T.astype(np.float32) @ rows, sizes.T @ rows
        micro = np.stack([part.sum(axis=0) for part in by_class])
        f1, f1_micro = (_ratio(2 * each[0], each[1]) for each in (by_class, micro))
        occurring = np.count_nonzero(by_class[1], axis=0)
        f1_of_classes = _ratio(np.nansum(f1, axis=0), occurring)
        return np.stack([f1_micro, f1_of_classes, exact @ rows / len(rows)])

    rng, block = np.random.default_rng([seed, 0]), max(1, ROWS_AT_ONCE // len(labels))
    sizes_of_blocks = (min(block, draws - begin) for begin in range(0, draws, block))
    drawn = [scores(_counts(rng, len(labels), size)) for size in sizes_of_blocks]
    values = scores(np.ones((len(labels), 1), np.float32))[:, 0]
    names = ("f1_micro", "f1_macro", "subset_accuracy")
    return {
        name: _interval(float(value), each[np.isfinite(each)] if np.isfinite(each).any() else each)
        for name, value, each in zip(names, values, np.concatenate(drawn, axis=1), strict=True)
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> Float[np.ndarray, "*N R"]:
    """part / whole in float64, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def f1_macro(predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"]) -> float:
    """The mean F1 of the classes that occur in labels or predictions, as `tasks/metrics.py` has it."""
    return float(_f1_macro(np.ones((len(labels), 1)), predicted, labels)[0])


def permutation_test(hits: Bool[np.ndarray, "S N"], others: Bool[np.ndarray, "S N"]) -> float:
    """The two-sided p-value of two methods being equally accurate: an exact paired permutation test.

    If they are, the results of both on a test row, those of all seeds together, could as well be exchanged: the sign of
    each row's difference is then a fair coin. The p-value is the share of all 2^N assignments of signs whose total is
    at least as far from 0 as the observed one. Totals are small integers, so their distribution is computed exactly, as
    that of a sum of binomial ones, where others draw some assignments (approximate randomisation: Noreen 1989; Yeh
    2000; Dror et al. 2018). With one seed it is the exact test of McNemar (1947). It covers the choice of test rows,
    not the luck of training.

    Args:
      hits: [S, N] whether the method is right, a row a seed.
      others: [S, N] the same of the other method.
    """
    totals = hits.sum(axis=0, dtype=np.int64) - others.sum(axis=0, dtype=np.int64)
    # a sum of signed |d| is 2 X - M: M the sum of all |d|, X that of the positive ones
    masses, most = np.ones(1), 0
    for size, count in enumerate(np.bincount(np.abs(totals))):
        if size and count:
            spread = np.zeros(size * count + 1)
            spread[::size] = _fair_coins(int(count))
            masses, most = np.convolve(masses, spread), most + size * int(count)
    sums = np.abs(2 * np.arange(most + 1) - most)
    return min(1.0, float(masses[sums >= abs(int(totals.sum()))].sum()))


def _fair_coins(count: int) -> Float[np.ndarray, " heads"]:
    """[count + 1] the probability of each number of heads among so many fair coins."""
    # from logarithms of factorials: the coefficients themselves overflow from 1030 coins on
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    return np.exp(logs[-1] - logs - logs[::-1] - count * np.log(2.0))


def _interval(value: float, drawn: Float[np.ndarray, " R"]) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _bootstrap(
    predictions: Predictions, hits: Mapping[str, np.ndarray], labels: Int[np.ndarray, " N"], seed: int, draws: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """[draws] accuracies and macro-F1 of each method, means over the drawn seeds."""
    num_rows, num_seeds = len(labels), len(next(iter(predictions.values())))
    # one of each, so that the size of the blocks changes nothing
    of_rows, of_seeds = (np.random.default_rng([seed, which]) for which in range(2))
    accuracies: dict[str, list[np.ndarray]] = {name: [] for name in predictions}
    f1s: dict[str, list[np.ndarray]] = {name: [] for name in predictions}
    block = max(1, ROWS_AT_ONCE // num_rows)
    for begin in range(0, draws, block):
        size = min(block, draws - begin)
        rows = _counts(of_rows, num_rows, size)
        seeds = _counts(of_seeds, num_seeds, size)
        for name, found in predictions.items():
            right = hits[name].astype(np.float32) @ rows / num_rows
            accuracies[name].append((right * seeds).mean(axis=0, dtype=np.float64))
            f1s[name].append((_f1_by_seed(rows, found, labels) * seeds).mean(axis=0))
    joined = [{name: np.concatenate(parts) for name, parts in drawn.items()} for drawn in (accuracies, f1s)]
    return joined[0], joined[1]


def _counts(rng: np.random.Generator, items: int, draws: int) -> Float[np.ndarray, "items R"]:
    """[items, draws] how often each item comes when as many are drawn with replacement; exact below 2^24."""
    drawn = [np.bincount(rng.integers(0, items, items), minlength=items) for _ in range(draws)]
    return np.ascontiguousarray(np.stack(drawn).T.astype(np.float32))


def _f1_by_seed(
    rows: Float[np.ndarray, "N R"], found: Int[np.ndarray, "S N"], labels: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "S R"]:
    if (found == found[0]).all():  # without randomness: once is enough
        found = found[:1]
    return np.stack([_f1_macro(rows, row, labels) for row in found])


def _f1_macro(
    weights: Float[np.ndarray, "N R"], predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " R"]:
    """[R] macro-F1 of the rows, each taken so many times; F1 of a class is 2 hits / (its rows + its predictions)."""
    classes = int(max(labels.max(), predicted.max())) + 1
    hits = _class_sums(weights, labels, predicted == labels, classes)
    occurrences = _class_sums(weights, labels, labels >= 0, classes)
    occurrences += _class_sums(weights, predicted, predicted >= 0, classes)
    f1 = np.divide(2 * hits, occurrences, out=np.zeros_like(hits), where=occurrences > 0)
    return f1.sum(axis=0) / np.count_nonzero(occurrences, axis=0)


def _class_sums(
    weights: Float[np.ndarray, "N R"], classes: Int[np.ndarray, " N"], chosen: Bool[np.ndarray, " N"], num_classes: int
) -> Float[np.ndarray, "C R"]:
    """[C, R] the sums of the weights of the chosen rows by class."""
    from scipy.sparse import csr_array  # takes a tenth of a second to import

    rows = np.flatnonzero(chosen)
    members = csr_array((np.ones(len(rows), np.float32), (classes[rows], rows)), shape=(num_classes, len(classes)))
    return np.asarray(members @ weights, np.float64)
