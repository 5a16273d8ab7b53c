"""Masks that are none are known for what they are; what a message advises leads to the lengths that are right."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tiny
from textclf_jax.data.padding import PaddingCheck
from textclf_jax.errors import UserError

PAD, CLS, SEP = 0, 2, 3
strangers = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def sound_rows(count: int = 30, *, seed: int = 0, length: int = 12):
    """input_ids and the mask that belongs to them; some rows are full."""
    ids, mask, _ = tiny.rows(count, seed=seed, length=length)
    return ids, mask


def checked(ids, mask, *, third_is_mask: bool = False, chunk: int = 7) -> list[str]:
    """The notes on a file that comes in several chunks."""
    check = PaddingCheck("x.pt", PAD, mask.dtype == bool, third_is_mask)
    for start in range(0, len(ids), chunk):
        check.add(start, ids[start : start + chunk], mask[start : start + chunk].astype(bool))
    return list(check.notes())


def refusal(ids, mask, **options) -> str:
    with pytest.raises(UserError) as caught:
        checked(ids, mask, **options)
    return str(caught.value)


def followed(message: str, ids, mask) -> list[tuple[np.ndarray, np.ndarray]]:
    """The data after doing what a message says, once for each of the ways it offers."""
    ways = []
    if "Save attention_mask = (input_ids == 0)" in message:
        ways.append((ids, ids == 0))
    if "Save ~attention_mask." in message:
        ways.append((ids, ~mask))
    if "Save attention_mask == 0." in message:
        ways.append((ids, mask == 0))
    if "set input_ids to 0 ([PAD]) there" in message:
        ways.append((np.where(mask, 0, ids), mask))
    if "Move the padding of each row to its end" in message:
        order = np.argsort(mask.astype(bool), axis=1, kind="stable")
        moved = np.take_along_axis(mask.astype(bool), order, axis=1)
        ways.append((np.where(moved, 0, np.take_along_axis(ids, order, axis=1)), moved))
    return ways


def led_to_sound_data(message: str, ids, mask, steps: int = 3) -> list[np.ndarray]:
    """Follows a message, and those that come then, until data is taken; returns the lengths by each way."""
    ends = []
    ways = followed(message, ids, mask)
    assert ways, message
    assert steps, message
    for new_ids, new_mask in ways:
        try:
            checked(new_ids, new_mask)
            ends.append((~new_mask.astype(bool)).sum(axis=1))
        except UserError as error:
            ends += led_to_sound_data(str(error), new_ids, new_mask, steps - 1)
    return ends


# --- what is taken ----------------------------------------------------------------------------------------------


def test_sound_masks_are_taken_without_a_word():
    ids, mask = sound_rows()
    full = ids.copy()
    full[full == PAD] = 9
    for rows, padding in ((ids, mask), (ids, mask.astype(np.int64)), (full, np.zeros_like(mask))):
        assert checked(rows, padding) == []


def test_rows_of_padding_alone_are_sound_among_others():
    ids, mask = sound_rows()
    ids[3], mask[3] = PAD, True
    assert checked(ids, mask) == []


def test_pad_between_real_tokens_is_a_token_and_told():
    """As where a text has the word [PAD]: in each row here, so that the rows are many."""
    ids, mask = sound_rows()
    rows = np.flatnonzero((~mask).sum(1) > 4)
    ids[rows, 2] = PAD
    (note,) = checked(ids, mask)
    assert note == f"x.pt: {len(rows)} [PAD] stand between real tokens, in {len(rows)} of 30 rows, and count as real"


def test_another_id_for_padding_is_taken_and_told():
    ids, mask = sound_rows()
    ids[mask] = 1
    (note,) = checked(ids, mask)
    assert f"padding holds the id 1, not 0 ([PAD]); the {mask.sum()} positions where attention_mask is True" in note


def test_a_single_row_that_disagrees_is_told():
    ids, mask = sound_rows()
    row = int(np.argmax(mask.sum(1)))
    pads = int(mask[row].sum())
    mask[row] = False
    (note,) = checked(ids, mask)
    assert f"{pads} positions with [PAD] count as real, in 1 of 30 rows (the first: row {row})" in note
    ids, mask = sound_rows()
    ids[row, -1] = 8
    (note,) = checked(ids, mask)
    assert f"1 tokens other than [PAD] count as padding, in 1 of 30 rows (the first: row {row})" in note


# --- what is refused, and as what -------------------------------------------------------------------------------


def pair_types(ids, mask):
    """token_type_ids: 1 in the second half of the real tokens, 0 at padding."""
    lengths = (~mask).sum(1)[:, None]
    columns = np.arange(ids.shape[1])
    return ((columns >= lengths // 2) & (columns < lengths)).astype(np.int64)


def shifted(mask, places: int, fill: bool):
    moved = np.full_like(mask, fill)
    if places > 0:
        moved[:, places:] = mask[:, :-places]
    else:
        moved[:, :places] = mask[:, -places:]
    return moved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids, mask: np.zeros_like(mask), "marks no padding, but"),
        (lambda ids, mask: np.zeros_like(ids), "Is it token_type_ids?"),
        (lambda ids, mask: np.ones_like(mask), "is True everywhere, so that no token would be real"),
        (lambda ids, mask: ~mask, "seems inverted"),
        (lambda ids, mask: (~mask).astype(np.int64), "Save attention_mask == 0."),
        (pair_types, "looks like token_type_ids, 1 in the second text of a pair"),
        (lambda ids, mask: shifted(mask, -1, True), "seems shifted by -1"),
        (lambda ids, mask: shifted(mask, 1, False), "seems shifted by +1"),
        (lambda ids, mask: shifted(mask, -2, True), "seems shifted by -2"),
        (lambda ids, mask: np.roll(mask, 1, axis=1), "seems shifted by +1"),
        (lambda ids, mask: mask[::-1], "rows (the first: row "),
    ],
)
@pytest.mark.parametrize("length", [12, 40])
def test_masks_that_are_none(change, words, length):
    """Rows of 12 are mostly text; those of 40 mostly padding, where a majority would tell the contrary."""
    ids, mask = sound_rows()
    ids, mask = (np.pad(a, ((0, 0), (0, length - 12)), constant_values=v) for a, v in ((ids, PAD), (mask, True)))
    wrong = change(ids, mask)
    message = refusal(ids, wrong)
    assert message.startswith("x.pt: ")
    assert words in message
    for lengths in led_to_sound_data(message, ids, wrong):
        np.testing.assert_array_equal(lengths, (~mask).sum(1))


def test_token_types_of_full_pairs():
    """No padding at all: the mask would throw away the second text."""
    ids, _ = sound_rows()
    ids[ids == PAD] = 9
    types = np.repeat([[0, 1]], 6, axis=1).repeat(30, axis=0)
    message = refusal(ids, types)
    assert "token_type_ids" in message
    assert "180 tokens other than [PAD] count as padding, in 30 of 30 rows" in message
    assert [set(lengths) for lengths in led_to_sound_data(message, ids, types)] == [{12}, {6}]


def test_the_tensors_of_a_bert_tokenizer_are_named():
    ids, _ = sound_rows()
    message = refusal(ids, np.zeros_like(ids), third_is_mask=True)
    assert "look like input_ids, token_type_ids and attention_mask (1 = real)" in message


def test_a_mask_that_empties_one_row_of_many():
    ids, mask = sound_rows(1000)
    mask[700] = True
    ids[700] = 9
    message = refusal(ids, mask)
    assert "row 700 has real tokens, but attention_mask is True at all of them, as in 1 of 1000 rows" in message
    (lengths,) = led_to_sound_data(message, ids, mask)
    assert lengths[700] == 12


def test_few_padded_rows_that_all_disagree():
    """Nearly all rows are full: that these agree says nothing of the mask."""
    ids, mask = sound_rows(1000)
    ids[ids == PAD], mask[:] = 9, False
    ids[[10, 500, 900], -3:] = PAD
    refusal(ids, mask)
    mask[[10, 500, 900], -1:] = True
    message = refusal(ids, mask)
    assert "6 positions with [PAD] count as real, in 3 of 1000 rows (the first: row 10)" in message


def test_a_file_without_a_real_token():
    ids, mask = np.zeros((4, 5), np.int64), np.ones((4, 5), bool)
    for padding in (mask, ~mask):
        assert "there is no real token: all ids are 0 ([PAD])" in refusal(ids, padding)


def test_left_padding_is_refused_with_either_mask():
    ids, mask = sound_rows()
    ids, left = ids[:, ::-1], mask[:, ::-1]
    for wrong in (left, np.zeros_like(mask), ~left):
        message = refusal(ids, wrong)
        for lengths in led_to_sound_data(message, ids, wrong):
            np.testing.assert_array_equal(lengths, (~mask).sum(1))


# --- masks of strangers -----------------------------------------------------------------------------------------


@st.composite
def files_of_strangers(draw):
    """Rows of any shape, and a mask that somebody made of them somehow; some rows of it or all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, length = draw(st.integers(1, 40)), draw(st.integers(3, 12))
    lengths = rng.integers(draw(st.sampled_from([0, 1, 3])), length + 1, count)
    lengths[rng.random(count) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = length
    truth = np.arange(length) >= lengths[:, None]
    ids = rng.integers(5, tiny.VOCAB_SIZE, (count, length))
    ids[:, 0] = CLS
    ids[np.arange(count), np.maximum(lengths - 1, 0)] = SEP
    if draw(st.integers(0, 3)) == 0:
        ids[rng.random(ids.shape) < 0.1] = PAD  # a text that has the word [PAD]
    ids[truth] = draw(st.sampled_from([PAD, PAD, PAD, 1]))
    mask = {
        "sound": lambda: truth.copy(),
        "none": lambda: np.zeros_like(truth),
        "all": lambda: np.ones_like(truth),
        "inverted": lambda: ~truth,
        "pairs": lambda: pair_types(ids, truth).astype(bool),
        "left": lambda: truth[:, ::-1].copy(),
        "shifted": lambda: shifted(truth, draw(st.sampled_from([-2, -1, 1, 2])), draw(st.booleans())),
        "rolled": lambda: np.roll(truth, draw(st.integers(-2, 2)), axis=1),
        "of other rows": lambda: rng.permutation(truth),
        "noise": lambda: truth ^ (rng.random(truth.shape) < 0.1),
        "special tokens": lambda: ids <= SEP,
    }[
        draw(
            st.sampled_from(
                [
                    "sound",
                    "none",
                    "all",
                    "inverted",
                    "pairs",
                    "left",
                    "shifted",
                    "rolled",
                    "of other rows",
                    "noise",
                    "special tokens",
                ]
            )
        )
    ]()
    if draw(st.booleans()):
        some = rng.random(count) < draw(st.sampled_from([0.03, 0.2, 0.6]))
        mask = np.where(some[:, None], mask, truth)
    return ids, mask.astype(draw(st.sampled_from([bool, np.int64, np.float32])))


@strangers
@given(files_of_strangers())
def test_strangers_masks_are_right_or_told_or_refused_with_a_way_out(file):
    ids, mask = file
    try:
        notes = checked(ids, mask)
    except UserError as error:
        if "there is no real token" not in str(error):
            led_to_sound_data(str(error), ids, mask)
        return
    real, told = ~mask.astype(bool), " ".join(notes)
    if not told:  # then each row's length is that of its text
        np.testing.assert_array_equal(real.sum(1), (ids != PAD).sum(1))
    counts = [int(number) for number in re.findall(r"(\d+) (?:positions with \[PAD\]|\[PAD\] stand)", told)]
    assert sum(counts) == int((real & (ids == PAD)).sum())
    if words := re.search(r"(\d+) tokens other than|the (\d+) positions where", told):
        assert int(words[1] or words[2]) == int((~real & (ids != PAD)).sum())
    else:
        assert not (~real & (ids != PAD)).any()
    assert (np.diff(real.astype(int), axis=1) <= 0).all()  # real tokens, then padding
