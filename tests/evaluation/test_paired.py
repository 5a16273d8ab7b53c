"""Intervals and p-values against brute force, scipy and scikit-learn."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from textclf_jax.evaluation.paired import compare, f1_macro, label_scores, permutation_test


def outcomes(shape, share, seed):
    return np.random.default_rng(seed).random(shape) < share


def test_the_p_value_of_all_exchanges_of_a_few_rows():
    """Every assignment of signs is tried."""
    for seed in range(5):
        ours, theirs = outcomes((3, 9), 0.8, seed), outcomes((3, 9), 0.5, seed + 50)
        differences = ours.sum(0).astype(int) - theirs.sum(0)
        totals = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=9)]
        expected = np.mean(np.array(totals) >= abs(differences.sum()))
        assert permutation_test(ours, theirs) == pytest.approx(expected, rel=1e-12)
        assert permutation_test(theirs, ours) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [30, 5000])
def test_with_one_seed_it_is_the_exact_test_of_mcnemar(rows):
    ours, theirs = outcomes((1, rows), 0.7, 1), outcomes((1, rows), 0.68, 2)
    only_ours, only_theirs = np.sum(ours & ~theirs), np.sum(theirs & ~ours)
    expected = binomtest(int(only_ours), int(only_ours + only_theirs), 0.5).pvalue
    assert permutation_test(ours, theirs) == pytest.approx(expected, rel=1e-9)


def test_equal_methods_have_a_p_value_of_one():
    ours = outcomes((2, 40), 0.7, 0)
    assert permutation_test(ours, ours) == 1.0
    assert permutation_test(ours, ours[:, ::-1]) == 1.0


def test_equal_methods_are_called_different_as_often_as_chance_has_it():
    """Under the null hypothesis p <= 0.05 comes in at most 5% of the cases, and not much less often."""
    p_values = [permutation_test(outcomes((2, 200), 0.7, i), outcomes((2, 200), 0.7, 10_000 + i)) for i in range(400)]
    assert 0.015 < np.mean(np.array(p_values) <= 0.05) < 0.08


def test_macro_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, 60), rng.integers(0, 4, 60)
    assert f1_macro(predicted, labels) == pytest.approx(f1_score(labels, predicted, average="macro"))
    # classes that neither occurs in are left out, as scikit-learn does
    assert f1_macro(predicted * 3, labels * 3) == pytest.approx(f1_score(labels, predicted, average="macro"))
    nothing = np.full(60, -1)
    assert f1_macro(nothing, labels) == 0.0


@pytest.fixture(scope="module")
def example():
    """Two methods of three seeds, and one without randomness."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 90)

    def noisy(right):
        return np.where(rng.random((3, 90)) < right, labels, rng.integers(0, 3, (3, 90)))

    same = np.repeat(noisy(0.3)[:1], 3, axis=0)
    return {"same": same, "weak": noisy(0.5), "strong": noisy(0.8)}, labels


def test_bootstrap_is_that_of_rows_and_seeds_drawn_one_by_one(example):
    """A plain loop with other random numbers: bounds agree up to the noise of so many draws."""
    predictions, labels = example
    compared = compare(predictions, labels, draws=4000)
    rng = np.random.default_rng(99)
    accuracy, f1, difference = [], [], []
    for _ in range(1200):
        rows, seeds = rng.integers(0, 90, 90), rng.integers(0, 3, 3)
        drawn = {name: [found[seed][rows] for seed in seeds] for name, found in predictions.items()}
        hits = {name: np.mean([part == labels[rows] for part in parts]) for name, parts in drawn.items()}
        accuracy.append(hits["strong"])
        f1.append(np.mean([f1_macro(part, labels[rows]) for part in drawn["strong"]]))
        difference.append(hits["strong"] - hits["same"])
    found = compared.scores["strong"].accuracy, compared.scores["strong"].f1_macro
    found += (compared.differences["strong", "same"].accuracy,)
    for interval, drawn in zip(found, (accuracy, f1, difference), strict=True):
        bounds = np.quantile(drawn, [0.025, 0.975])
        noise = np.std(drawn) / 4
        np.testing.assert_allclose(interval[1:], bounds, atol=noise)
        assert interval.low < interval.value < interval.high


def test_values_are_means_over_seeds(example):
    predictions, labels = example
    compared = compare(predictions, labels, draws=10)
    for name, found in predictions.items():
        scores = compared.scores[name]
        assert scores.accuracy.value == pytest.approx(np.mean([np.mean(row == labels) for row in found]))
        expected = np.mean([f1_score(labels, row, average="macro") for row in found])
        assert scores.f1_macro.value == pytest.approx(expected)
    assert list(compared.differences) == [("weak", "same"), ("strong", "same"), ("strong", "weak")]
    strong, weak = compared.scores["strong"].accuracy, compared.scores["weak"].accuracy
    assert compared.differences["strong", "weak"].accuracy.value == pytest.approx(strong.value - weak.value)


def test_draws_are_decided_by_the_seed_and_not_by_the_memory_at_hand(example, monkeypatch):
    predictions, labels = example
    one = compare(predictions, labels, draws=300)
    monkeypatch.setattr("textclf_jax.evaluation.paired.ROWS_AT_ONCE", 90 * 7)
    assert compare(predictions, labels, draws=300) == one
    assert compare(predictions, labels, draws=300, seed=1) != one


def test_intervals_of_a_method_without_randomness_cover_the_rows_alone(example):
    """Its accuracy has the standard error of a share of 90 rows."""
    predictions, labels = example
    share = np.mean(predictions["same"][0] == labels)
    interval = compare(predictions, labels, draws=4000).scores["same"].accuracy
    width = 2 * 1.96 * np.sqrt(share * (1 - share) / 90)
    assert interval.high - interval.low == pytest.approx(width, rel=0.1)


@pytest.fixture(scope="module")
def several():
    """[N, C] labels and predictions of texts with several labels."""
    rng = np.random.default_rng(3)
    labels = rng.random((80, 4)) < (0.5, 0.3, 0.1, 0.0)
    return np.where(rng.random((80, 4)) < 0.15, ~labels, labels), labels


def test_scores_of_several_labels_are_those_of_scikit_learn(several):
    predicted, labels = several
    found = label_scores(predicted, labels, draws=50)
    occurs = (predicted | labels).any(axis=0)
    assert found["f1_micro"].value == pytest.approx(f1_score(labels, predicted, average="micro"))
    macro = f1_score(labels[:, occurs], predicted[:, occurs], average="macro", zero_division=0)
    assert found["f1_macro"].value == pytest.approx(macro)
    assert found["subset_accuracy"].value == pytest.approx(np.mean((predicted == labels).all(axis=1)))


def test_intervals_of_several_labels_are_those_of_a_bootstrap_draw_by_draw(several):
    predicted, labels = several
    rng, drawn = np.random.default_rng(9), []
    for _ in range(400):
        rows = rng.integers(0, 80, 80)
        drawn.append(f1_score(labels[rows], predicted[rows], average="micro"))
    found = label_scores(predicted, labels, draws=2000)["f1_micro"]
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    assert found.low < found.value < found.high


def test_texts_without_any_label_have_no_f1():
    nothing = np.zeros((5, 2), bool)
    found = label_scores(nothing, nothing, draws=20)
    assert np.isnan(found["f1_micro"].value)
    assert found["subset_accuracy"] == (1.0, 1.0, 1.0)
