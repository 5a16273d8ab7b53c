import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.data.collate import Bucketed, bucket_of, choose_buckets, padding_waste

lengths_strategy = st.lists(st.integers(0, 64), min_size=1, max_size=200).map(np.array)


@given(lengths_strategy, st.integers(1, 70), st.integers(1, 6))
@settings(deadline=None)
def test_buckets_hold_every_row(lengths, max_length, count):
    buckets = choose_buckets(lengths, max_length, count)
    assert 1 <= len(buckets) <= count
    assert list(buckets) == sorted(set(buckets))
    longest = max(1, min(int(lengths.max()), max_length))
    assert longest <= buckets[-1] <= max_length
    assert all(bucket % 8 == 0 or bucket == max_length for bucket in buckets)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30).map(np.array), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_buckets_waste_least(lengths, count):
    def padded(buckets):
        return sum(bucket_of(int(length), buckets) for length in lengths)

    candidates = [b for b in range(8, 48, 8) if b <= -(-int(lengths.max()) // 8) * 8]
    best = min(
        padded(buckets)
        for size in range(1, count + 1)
        for buckets in itertools.combinations(candidates, size)
        if buckets[-1] >= lengths.max()
    )
    assert padded(choose_buckets(lengths, 40, count)) == best


@given(lengths_strategy, st.integers(1, 9), st.booleans(), st.integers(0, 3))
@settings(deadline=None)
def test_an_epoch_has_every_row_once(lengths, batch_size, shuffle, epoch):
    batching = Bucketed(batch_size, choose_buckets(lengths, 64, 3))
    batches = batching.epoch(lengths, seed=5, epoch=epoch, shuffle=shuffle)
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(len(lengths)))
    assert all(len(b.rows) <= batch_size and b.shape[1] >= lengths[b.rows].max() for b in batches)


def test_order_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(1, 64, 500)

    def order(seed, epoch):
        batches = Bucketed(8, (32, 64)).epoch(lengths, seed=seed, epoch=epoch, shuffle=True)
        return np.concatenate([b.rows for b in batches]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_without_shuffling_the_order_is_the_files():
    batches = Bucketed(3, (8,)).epoch(np.full(7, 3), seed=0, epoch=4, shuffle=False)
    assert [b.rows.tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6]]


def test_like_lengths_are_drawn_together():
    lengths = np.random.default_rng(0).integers(1, 129, 4096)
    batches = Bucketed(16, choose_buckets(lengths, 128, 4)).epoch(lengths, seed=0, epoch=0, shuffle=True)
    assert padding_waste(lengths, batches) < 0.25
    # one bucket for all would waste about half
    assert padding_waste(lengths, [b._replace(shape=(16, 128)) for b in batches]) > 0.45


def test_rows_longer_than_every_bucket_are_cut():
    batches = Bucketed(1, (8, 64)).evaluation(np.array([5, 100]))
    assert [(b.rows.tolist(), b.shape) for b in batches] == [([0], (1, 8)), ([1], (1, 64))]


def test_padding_waste_counts_missing_rows():
    batches = Bucketed(2, (8,)).evaluation(np.array([8, 8, 8]))
    assert padding_waste(np.array([8, 8, 8]), batches) == pytest.approx(1 / 4)
