from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny
from textclf_jax.data.collate import BatchRows
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


@pytest.mark.parametrize("num_labels", [None, 3])
def test_the_tensors_of_a_bert_tokenizer_are_refused(tmp_path, num_labels):
    """TensorDataset(*encoded.values()): input_ids, token_type_ids, attention_mask with 1 = real."""
    ids, mask, _ = tiny.rows(30)
    with pytest.raises(UserError, match=r"data\.pt: attention_mask marks no padding.* The three tensors look like"):
        load(tmp_path, ids, np.zeros_like(ids), (~mask).astype(np.int64), num_labels=num_labels)


def test_fingerprint_follows_the_data(tmp_path):
    ids, mask, _ = tiny.rows(5)
    before = load(tmp_path, ids, mask).fingerprint
    assert load(tmp_path, ids, mask).fingerprint == before
    ids[0, 1] += 1
    assert load(tmp_path, ids, mask).fingerprint != before


def test_take_pads_rows_and_batch(tmp_path):
    ids, mask, _ = tiny.rows(4)
    taken = load(tmp_path, ids, mask).take(BatchRows(np.array([2, 0]), (3, tiny.MAX_LENGTH + 8)), 0)
    assert taken.shape == (3, tiny.MAX_LENGTH + 8)
    np.testing.assert_array_equal(taken[:2, : tiny.MAX_LENGTH], ids[[2, 0]])
    assert not taken[2].any()
    assert not taken[:, tiny.MAX_LENGTH :].any()
