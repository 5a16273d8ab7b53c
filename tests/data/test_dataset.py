from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny
from textclf_jax.data.dataset import load_dataset
from textclf_jax.errors import UserError


def load(path: Path, *arrays: np.ndarray, num_labels: int | None = None, max_length: int = tiny.MAX_LENGTH):
    """Writes a tuple of tensors to a file and loads it as a data set."""
    file = path / "data.pt"
    torch.save(tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays), file)
    return load_dataset(file, vocab_size=tiny.VOCAB_SIZE, pad_id=0, max_length=max_length, num_labels=num_labels)


def test_lengths_are_the_real_tokens(tmp_path):
    ids, mask, labels = tiny.rows(30)
    data = load(tmp_path, ids, mask, labels, num_labels=3)
    np.testing.assert_array_equal(data.lengths, (~mask).sum(1))
    np.testing.assert_array_equal(data.input_ids, ids)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.notes == ()


def test_fingerprint_follows_the_data(tmp_path):
    ids, mask, _ = tiny.rows(5)
    before = load(tmp_path, ids, mask).fingerprint
    assert load(tmp_path, ids, mask).fingerprint == before
    ids[0, 1] += 1
    assert load(tmp_path, ids, mask).fingerprint != before


def test_take_pads_rows_and_batch(tmp_path):
    ids, mask, _ = tiny.rows(4)
    taken = load(tmp_path, ids, mask).take(np.array([2, 0]), 3, tiny.MAX_LENGTH + 8, 0)
    assert taken.shape == (3, tiny.MAX_LENGTH + 8)
    np.testing.assert_array_equal(taken[:2, : tiny.MAX_LENGTH], ids[[2, 0]])
    assert not taken[2].any()
    assert not taken[:, tiny.MAX_LENGTH :].any()


@pytest.mark.parametrize("bad", [-1, tiny.VOCAB_SIZE, 2**40])
def test_fault_07_ids_out_of_range(tmp_path, bad):
    ids, mask, _ = tiny.rows(20)
    ids[13, 1] = bad
    with pytest.raises(UserError, match=f"row 13 holds the id {bad}, but the vocabulary has {tiny.VOCAB_SIZE}"):
        load(tmp_path, ids, mask)


@pytest.mark.parametrize("change", [lambda x: x.astype(float), lambda x: x[:, 0]])
def test_fault_06_ids_float_or_flat(tmp_path, change):
    ids, mask, _ = tiny.rows(5)
    with pytest.raises(UserError, match="input_ids are"):
        load(tmp_path, change(ids), mask)


@pytest.mark.parametrize("change", [lambda y: y.astype(float), lambda y: np.eye(3, dtype=int)[y], lambda y: y[:, None]])
def test_fault_06_labels_float_or_one_hot(tmp_path, change):
    ids, mask, labels = tiny.rows(5)
    with pytest.raises(UserError, match=r"labels are .*expected integers"):
        load(tmp_path, ids, mask, change(labels), num_labels=3)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint8])
def test_fault_08_numeric_mask_is_read_with_a_warning(tmp_path, dtype):
    ids, mask, _ = tiny.rows(5)
    data = load(tmp_path, ids, mask.astype(dtype))
    np.testing.assert_array_equal(data.lengths, (~mask).sum(1))
    assert "read as bool with 1 = PAD" in data.notes[0]


def test_fault_08_mask_with_other_values(tmp_path):
    ids, mask, _ = tiny.rows(5)
    numbers = mask.astype(np.float32)
    numbers[3, 2] = 0.5
    with pytest.raises(UserError, match=r"holds 0\.5 in row 3"):
        load(tmp_path, ids, numbers)


def test_fault_09_inverted_mask(tmp_path):
    ids, mask, _ = tiny.rows(50)
    with pytest.raises(UserError, match=r"seems inverted.*Save ~attention_mask"):
        load(tmp_path, ids, ~mask)


def test_fault_10_row_of_padding_is_reported(tmp_path):
    ids, mask, _ = tiny.rows(5)
    ids[2], mask[2] = 0, True
    data = load(tmp_path, ids, mask)
    assert data.lengths[2] == 0
    assert "1 of 5 rows are all padding" in data.notes[0]


def test_fault_10_padding_inside_a_row(tmp_path):
    ids, mask, _ = tiny.rows(20)
    mask[7], mask[7, 1] = False, True
    with pytest.raises(UserError, match="in row 7 real tokens follow padding"):
        load(tmp_path, ids, mask)


@pytest.mark.parametrize("shape", [(0, 8), (4, 0)])
def test_fault_11_nothing_to_train_on(tmp_path, shape):
    with pytest.raises(UserError, match="nothing to train on"):
        load(tmp_path, np.zeros(shape, np.int64), np.zeros(shape, bool))


def test_fault_11_long_rows_are_cut_and_reported(tmp_path):
    ids, mask, _ = tiny.rows(40)
    lengths = (~mask).sum(1)
    data = load(tmp_path, ids, mask, max_length=10)
    np.testing.assert_array_equal(data.lengths, np.minimum(lengths, 10))
    lost = int(np.maximum(lengths - 10, 0).sum())
    assert f"{(lengths > 10).sum()} of 40 rows are longer than 10 tokens" in data.notes[0]
    assert f"{lost} of {lengths.sum()} tokens" in data.notes[0]


@pytest.mark.parametrize("bad", [-1, -100, 3])
def test_fault_12_labels_out_of_range(tmp_path, bad):
    ids, mask, labels = tiny.rows(9)
    labels[4] = bad
    with pytest.raises(UserError, match=f"row 4 has the label {bad}"):
        load(tmp_path, ids, mask, labels, num_labels=3)


def test_fault_12_absent_class_is_reported(tmp_path):
    ids, mask, labels = tiny.rows(9)
    labels[labels == 1] = 0
    assert "no row has the label 1" in load(tmp_path, ids, mask, labels, num_labels=3).notes[0]


def test_fault_13_tensors_of_unequal_length(tmp_path):
    ids, mask, labels = tiny.rows(9)
    with pytest.raises(UserError, match="attention_mask has shape"):
        load(tmp_path, ids, mask[:8])
    with pytest.raises(UserError, match="8 labels for 9 rows"):
        load(tmp_path, ids, mask, labels[:8], num_labels=3)


def test_fault_05_labels_missing(tmp_path):
    ids, mask, _ = tiny.rows(9)
    with pytest.raises(UserError, match="holds 2 tensors, expected 3"):
        load(tmp_path, ids, mask, num_labels=3)
