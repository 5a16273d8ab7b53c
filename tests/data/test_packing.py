import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.data.collate import Bucketed, choose_buckets, padding_waste
from textclf_jax.data.packing import Packed, balance_batches, best_fit, candidate_packings, token_places, tokens_taken

lengths_strategy = st.lists(st.integers(0, 64), min_size=1, max_size=200).map(np.array)
packings = st.builds(Packed, st.integers(1, 9), st.tuples(st.integers(1, 4), st.sampled_from([64, 72, 100])))


def covered(batch, lengths):
    """The places that the tokens of a batch take."""
    assert batch.starts is not None
    return token_places(batch.starts, tokens_taken(lengths[batch.rows])).place


@given(lengths_strategy, packings, st.integers(0, 3))
@settings(deadline=None)
def test_an_epoch_has_every_text_once_and_no_two_in_one_place(lengths, packing, epoch):
    batches = packing.epoch(lengths, seed=5, epoch=epoch, shuffle=True)
    assert len(batches) == -(-len(lengths) // packing.batch_size)
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(len(lengths)))
    for batch in batches:
        rows, width = batch.shape
        places = covered(batch, lengths)
        assert len(batch.rows) <= packing.batch_size
        assert len(set(places)) == len(places) == tokens_taken(lengths[batch.rows]).sum()
        assert places.size == 0 or places.max() < rows * width
        # no text goes over the end of its row
        ends = batch.starts + tokens_taken(lengths[batch.rows]) - 1
        assert (batch.starts // width == ends // width).all()


def test_order_depends_on_seed_and_epoch_alone():
    lengths, packing = np.random.default_rng(0).integers(1, 64, 500), Packed(8, (5, 64))

    def order(seed, epoch):
        return np.concatenate([b.rows for b in packing.epoch(lengths, seed=seed, epoch=epoch, shuffle=True)]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batches_hold_nearly_the_same_number_of_tokens():
    lengths = np.random.default_rng(0).lognormal(np.log(50), 0.5, 2048).astype(int).clip(1, 128)
    tokens = [lengths[batch].sum() for batch in balance_batches(lengths, 32, np.random.default_rng(1))]
    random = lengths.reshape(-1, 32).sum(axis=1)
    assert np.std(tokens) < np.std(random) / 20
    assert np.mean(tokens) == np.mean(random)


def test_texts_are_drawn_anew_each_epoch():
    """Two texts that share a batch in one epoch seldom do in the next."""
    lengths, packing = np.random.default_rng(0).integers(1, 64, 512), Packed(8, (5, 64))

    def pairs(epoch):
        batches = packing.epoch(lengths, seed=0, epoch=epoch, shuffle=True)
        return {(a, b) for batch in batches for a in batch.rows for b in batch.rows if a < b}

    first, second = pairs(0), pairs(1)
    assert len(first & second) < 0.1 * len(first)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40).map(np.array))
@settings(deadline=None)
def test_places_need_few_rows(lengths):
    """No two rows could be put together, so all but one are more than half full."""
    starts, rows = best_fit(lengths, 64)
    filled = np.bincount(starts // 64, weights=lengths, minlength=rows)
    assert sorted(filled)[0] + (sorted(filled)[1] if rows > 1 else 64) > 64


def test_places_by_hand():
    starts, rows = best_fit(np.array([3, 8, 5, 2]), 8)
    assert rows == 3
    # 8 fills the first row, 5 and 3 the second, 2 begins the third
    assert starts.tolist() == [13, 0, 8, 16]


@pytest.mark.parametrize(("median", "spread", "cap", "texts"), [(50, 0.35, 128, 32), (220, 0.65, 512, 16)])
def test_packing_wastes_less_than_half_of_what_buckets_do(median, spread, cap, texts):
    lengths = np.random.default_rng(0).lognormal(np.log(median), spread, 64 * texts).astype(int).clip(3, cap)
    best = min(candidate_packings(lengths, texts), key=lambda packing: packing.shape[0] * packing.shape[1])
    bucketed = Bucketed(texts, choose_buckets(lengths, cap, 4))
    packed_waste, bucketed_waste = (
        padding_waste(lengths, batching.epoch(lengths, seed=0, epoch=1, shuffle=True)) for batching in (best, bucketed)
    )
    assert packed_waste < 0.1
    assert packed_waste < bucketed_waste / 2


@given(lengths_strategy, st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_candidates_hold_the_batches_they_were_made_for(lengths, batch_size):
    found = candidate_packings(lengths, batch_size)
    most_rows = {packing.shape[1]: packing.shape[0] for packing in sorted(found, key=lambda packing: packing.shape)}
    for packing in found:
        assert packing.shape[1] >= lengths.max()
        assert len(packing.shapes) == 1
        assert all(b.shape[1] == packing.shape[1] for b in packing.evaluation(lengths))
        # with fewer rows a batch may find no text to swap
        if len(lengths) <= 64 * batch_size and packing.shape[0] == most_rows[packing.shape[1]]:
            assert all(b.shape == packing.shape for b in packing.evaluation(lengths))


def test_a_batch_that_does_not_fit_swaps_a_text():
    lengths = np.random.default_rng(0).lognormal(np.log(50), 0.35, 8000).astype(int).clip(3, 128)
    packing = min(candidate_packings(lengths, 32), key=lambda packing: packing.shape[0] * packing.shape[1])
    rows, width = packing.shape
    before_swaps = [best_fit(lengths[b], width)[1] for b in balance_batches(lengths, 32, np.random.default_rng([7, 0]))]
    batches = packing.epoch(lengths, seed=7, epoch=0, shuffle=True)
    assert max(before_swaps) > rows
    assert {batch.shape for batch in batches} == {packing.shape}
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(8000))


def test_a_batch_that_fits_nowhere_gets_another_row():
    lengths = np.full(4, 8)
    batches = Packed(2, (1, 8)).epoch(lengths, seed=0, epoch=0, shuffle=True)
    assert [batch.shape for batch in batches] == [(2, 8), (2, 8)]
