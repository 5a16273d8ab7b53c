import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textclf_jax.data.collate import padding_waste
from textclf_jax.data.joining import Joined, candidate_joinings, level, spans_a_row, spans_of
from textclf_jax.data.packing import token_places, tokens_taken

lengths_strategy = st.lists(st.integers(0, 64), min_size=1, max_size=150).map(np.array)
joinings = st.builds(
    Joined, st.integers(1, 70), st.tuples(st.integers(1, 9), st.sampled_from([64, 72, 100])), st.just(30)
)


@given(lengths_strategy, joinings, st.integers(0, 3))
def test_an_epoch_has_every_text_once_and_no_two_in_one_place(lengths, joining, epoch):
    batches = joining.epoch(lengths, seed=5, epoch=epoch, shuffle=True)
    assert len(batches) == -(-len(lengths) // joining.batch_size)
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(len(lengths)))
    for batch in batches:
        rows, width = batch.shape
        sizes = tokens_taken(lengths[batch.rows])
        assert (rows - 1) * width < max(sizes.sum(), (joining.shape[0] - 1) * width + 1) <= rows * width
        places = token_places(batch.starts, sizes).place
        # end to end, padding first
        assert sorted(places) == list(range(rows * width - sizes.sum(), rows * width))


@given(lengths_strategy, joinings)
def test_spans_hold_each_token_once_and_each_text_by_itself(lengths, joining):
    for batch in [*joining.evaluation(lengths), joining.empty(joining.shape)]:
        (rows, width), sizes = batch.shape, tokens_taken(lengths[batch.rows])
        a_row = spans_a_row(rows, joining.batch_size)
        spans = spans_of(batch, sizes, joining.batch_size)
        assert spans.span_sizes.shape == (rows, a_row)
        assert spans.span_offsets.shape == (rows, a_row + 1)
        assert (spans.span_offsets[:, -1] == -1).all()
        used = spans.span_sizes >= 0
        np.testing.assert_array_equal(used, spans.span_offsets[:, :-1] >= 0)
        assert spans.span_sizes[used].max() <= width
        first = (spans.span_offsets[:, :-1] + width * np.arange(rows)[:, None])[used]
        of_span = token_places(first, spans.span_sizes[used]).place
        assert of_span.tolist() == list(range(rows * width))
        # the last ones are the texts, in their order
        assert first[used.sum() - len(sizes) :].tolist() == sorted(batch.starts)
        of_text = dict(zip(batch.starts.tolist(), sizes.tolist(), strict=True))
        assert all(of_text.get(place, size) == size for place, size in zip(first, spans.span_sizes[used], strict=True))


def test_spans_by_hand():
    """Texts of 7, 5 and 2 tokens after 7 of padding, in 3 rows of 7; a fourth text is missing."""
    batch = Joined(4, (3, 7), 5).evaluation(np.array([2, 7, 5]))[0]
    assert batch.rows.tolist() == [1, 2, 0]
    assert batch.starts.tolist() == [7, 14, 19]
    spans = spans_of(batch, np.array([7, 5, 2]), 4)
    assert spans.span_sizes.tolist() == [[7, 7, 5], [2, -1, -1], [-1, -1, -1]]
    # the third begins two rows later
    assert spans.span_offsets.tolist() == [[0, 7, 14, -1], [12, -1, -1, -1], [-1, -1, -1, -1]]


def test_a_longest_text_that_fills_the_batch_has_no_padding_before_it():
    (batch,) = Joined(1, (1, 8), 8).evaluation(np.array([8]))
    spans = spans_of(batch, np.array([8]), 1)
    assert spans.span_sizes.tolist() == [[8, -1]]
    assert spans.span_offsets.tolist() == [[0, -1, -1]]


def test_order_depends_on_seed_and_epoch_alone():
    lengths, joining = np.random.default_rng(0).integers(1, 64, 500), Joined(8, (5, 64), 40)

    def order(seed, epoch):
        return np.concatenate([b.rows for b in joining.epoch(lengths, seed=seed, epoch=epoch, shuffle=True)]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_texts_are_drawn_anew_each_epoch():
    """Two texts that share a batch in one epoch seldom do in the next."""
    lengths, joining = np.random.default_rng(0).integers(1, 64, 512), Joined(8, (5, 64), 40)

    def pairs(epoch):
        batches = joining.epoch(lengths, seed=0, epoch=epoch, shuffle=True)
        return {(a, b) for batch in batches for a in batch.rows for b in batch.rows if a < b}

    first, second = pairs(0), pairs(1)
    assert len(first & second) < 0.1 * len(first)


@pytest.mark.parametrize(
    ("median", "spread", "cap", "texts", "most"), [(50, 0.35, 128, 64, 0.03), (220, 0.65, 512, 64, 0.01)]
)
def test_there_is_hardly_any_padding_and_one_shape(median, spread, cap, texts, most):
    """Also where one part of the texts is longer on average than another, as parts that are drawn are."""
    lengths = np.random.default_rng(0).lognormal(np.log(median), spread, 250 * texts - 9).astype(int).clip(3, cap)
    found = candidate_joinings(lengths, lengths[:4096], texts, range(cap, 2 * cap + 1, 32))
    best = min(found, key=lambda joining: joining.shape[0] * joining.shape[1])
    for epoch in range(4):
        batches = best.epoch(lengths, seed=0, epoch=epoch, shuffle=True)
        assert {batch.shape for batch in batches} == {best.shape}
        assert padding_waste(lengths, batches) < most


def test_keys_are_those_of_the_text_of_a_token():
    (joining,) = candidate_joinings(np.array([10, 30]), np.array([10, 30]), 2, [32])
    assert joining.keys == 25  # 10 tokens with 10, 30 with 30
    assert joining.shape == (2, 32)


@given(st.lists(st.lists(st.integers(1, 50), min_size=4, max_size=4), min_size=2, max_size=12), st.integers(0, 40))
def test_level_batches_hold_the_same_texts(texts, room):
    sizes = np.array(texts).reshape(-1)
    batches = list(np.arange(len(sizes)).reshape(-1, 4))
    before = max(sizes[batch].sum() for batch in batches)
    most = -(-int(sizes.sum()) // len(batches)) + room
    level(batches, sizes, most)
    assert sorted(np.concatenate(batches)) == list(range(len(sizes)))
    assert max(sizes[batch].sum() for batch in batches) <= max(before, most)


def test_a_batch_that_no_swap_makes_fit_gets_another_row():
    batches = Joined(2, (1, 8), 8).epoch(np.full(4, 8), seed=0, epoch=0, shuffle=True)
    assert [batch.shape for batch in batches] == [(2, 8), (2, 8)]
