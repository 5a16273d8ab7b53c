"""Thresholds against a search over all of them, and where there is little to choose by."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.files import json_text
from textclf_jax.tasks.thresholds import Thresholds, best_threshold, choose_thresholds


def f1_at(threshold, probabilities, truth) -> float:
    from sklearn.metrics import f1_score

    undefined: Any = 0
    return float(f1_score(truth, probabilities >= threshold, zero_division=undefined))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.02, 0.3, 0.4999, 0.5, 0.7, 0.7001, 1.0]), st.booleans()), min_size=1))
def test_no_threshold_has_a_higher_f1_and_none_as_good_lies_nearer_to_half(rows):
    probabilities, truth = np.array([p for p, _ in rows]), np.array([t for _, t in rows])
    found = best_threshold(probabilities, truth)
    assert 0.0 <= found <= 1.0
    if not truth.any():
        assert found == 0.5
        return
    # one between any two probabilities, and each of them
    places = np.unique(np.concatenate([probabilities, np.append(np.unique(probabilities), 1.0) - 1e-5, [0.5]]))
    scores = {place: f1_at(place, probabilities, truth) for place in places.tolist() if place >= 0}
    best = f1_at(found, probabilities, truth)
    assert best == pytest.approx(max(scores.values()))
    # half-way between two probabilities, so the cuts are compared, not the places
    predicted = tuple(probabilities >= found)
    as_good = [place for place, score in scores.items() if score == pytest.approx(best)]
    if tuple(probabilities >= 0.5) in {tuple(probabilities >= place) for place in as_good}:
        assert predicted == tuple(probabilities >= 0.5)
        assert found == 0.5


def test_it_lies_in_the_middle_of_the_gap_or_at_half():
    truth = np.array([True, True, False, False])
    assert best_threshold(np.array([0.9, 0.3, 0.1, 0.05]), truth) == pytest.approx(0.2)
    assert best_threshold(np.array([0.9, 0.8, 0.3, 0.05]), truth) == 0.5
    assert best_threshold(np.array([0.99, 0.9, 0.7, 0.6]), truth) == pytest.approx(0.8)
    # neighbours among the numbers have no middle
    high = 1.0 - 2.0**-53
    assert best_threshold(np.array([1.0, 1.0, high, high]), truth) == 1.0


def test_classes_with_few_rows_share_the_threshold_of_all():
    rng = np.random.default_rng(0)
    labels = np.zeros((60, 4), np.uint8)
    labels[:30, 0], labels[20:25, 1], labels[:4, 2] = 1, 1, 1  # 30, 5, 4 and no rows
    logits = (2.0 * labels - 2.5 + rng.normal(size=labels.shape)).astype(np.float32)
    found = choose_thresholds(logits, labels)
    assert found is not None
    assert found.shared == [2, 3]
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = [best_threshold(probabilities[:, i], labels[:, i]) for i in (0, 1)]
    assert found.values == pytest.approx([*expected, *[best_threshold(probabilities.ravel(), labels.ravel())] * 2])
    assert found.values[2] != 0.5


def test_without_any_label_all_are_half():
    assert choose_thresholds(np.full((9, 3), -4.0), np.zeros((9, 3))) == ([0.5] * 3, [0, 1, 2])


def test_a_model_that_predicts_nothing_has_none():
    assert choose_thresholds(np.full((2, 2), math.nan), np.ones((2, 2))) is None


def test_they_come_back_from_json_to_the_last_bit():
    thresholds = Thresholds([0.1 + 0.2, 1 / 3], [1])
    assert Thresholds.of_model(json.loads(json_text({"which": "best", **thresholds.stored()}))) == thresholds
    assert Thresholds.of_model({"which": "best"}) is None
