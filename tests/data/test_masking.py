import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.data.masking import IGNORED_LABEL, gather_predictions, max_predictions


def test_capacity_is_enough_but_for_rare_batches():
    rng = np.random.default_rng(0)
    for batch_size, length, mask_p in [(16, 128, 0.15), (4, 512, 0.4), (2, 8, 0.15)]:
        capacity = max_predictions(batch_size, length, mask_p)
        drawn = rng.binomial(batch_size * length, mask_p, 100_000)
        assert (drawn > capacity).mean() < 3e-4
    assert max_predictions(16, 128, 0.15) < 1.3 * 16 * 128 * 0.15
    assert max_predictions(2, 8, 1.0) == 16


@given(st.integers(0, 30), st.integers(1, 40))
@settings(deadline=None)
def test_gathers_every_label_up_to_the_capacity(count, capacity):
    rng = np.random.default_rng(count)
    labels = np.full((5, 9), IGNORED_LABEL)
    chosen = np.sort(rng.choice(45, count, replace=False))
    labels.reshape(-1)[chosen] = rng.integers(0, 100, count)
    positions, targets, weights = gather_predictions(labels, capacity, np.random.default_rng(1))
    kept = int(weights.sum())
    assert kept == min(count, capacity)
    assert set(positions[:kept]) <= set(chosen)
    assert len(set(positions[:kept])) == kept
    np.testing.assert_array_equal(labels.reshape(-1)[positions[:kept]], targets[:kept])
    assert not positions[kept:].any()
    assert not weights[kept:].any()


def test_a_surplus_is_dropped_evenly():
    labels = np.zeros((1, 20), int)
    hits = np.zeros(20)
    for seed in range(2000):
        hits[gather_predictions(labels, 10, np.random.default_rng(seed)).positions] += 1
    assert abs(hits / 2000 - 0.5).max() < 5 * np.sqrt(0.25 / 2000)
