"""Reliability and its error against a loop over the bins as the paper defines them."""

import math

import numpy as np
import pytest

from textclf_jax.evaluation.calibration import calibration


def expected_error(probabilities, are_right, bins):
    """Guo et al. 2017, eq. 3, answer by answer."""
    total = 0.0
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [j for j, p in enumerate(probabilities) if low < p <= high or (i == 0 and p == 0)]
        if inside:
            share = sum(bool(are_right[j]) for j in inside) / len(inside)
            confidence = sum(probabilities[j] for j in inside) / len(inside)
            total += len(inside) / len(probabilities) * abs(share - confidence)
    return total


@pytest.mark.parametrize(("seed", "bins"), [(0, 15), (1, 15), (2, 4), (3, 1)])
def test_the_error_is_that_of_a_loop_over_the_bins(seed, bins):
    rng = np.random.default_rng(seed)
    probabilities = np.concatenate([rng.random(300), [0.0, 1.0, 0.25, 0.5]])
    are_right = rng.random(304) < probabilities**2
    found = calibration(probabilities, are_right, bins)
    assert found.error == pytest.approx(expected_error(probabilities, are_right, bins), abs=1e-12)
    assert sum(each.count for each in found.bins) == 304
    assert [found.bins[0].low, found.bins[-1].high] == [0.0, 1.0]


def test_answers_at_the_bounds_of_a_bin():
    found = calibration(np.array([0.0, 0.5, 1.0, 1.0]), np.array([False, True, True, False]), 2)
    assert [(each.count, each.probability, each.share) for each in found.bins] == [(2, 0.25, 0.5), (2, 1.0, 0.5)]
    assert found.error == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)


def test_probabilities_that_hold_what_they_say_have_no_error():
    assert calibration(np.full(4, 0.75), np.array([True, True, True, False])).error == 0.0


def test_no_answers_have_no_error():
    found = calibration(np.zeros(0), np.zeros(0, bool))
    assert math.isnan(found.error)
    assert all(each.count == 0 and math.isnan(each.share) for each in found.bins)
