"""Trimming against the recorded batches; three of the cases are refused here (REFUSED)."""

import numpy as np
import pytest

from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import load_dataset
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError

pytestmark = pytest.mark.golden

REFUSED = {
    "collate/interior_pad.npz": "real tokens follow padding",
    "collate/inverted_mask.npz": "seems inverted",
    "collate/all_rows_all_pad.npz": "there is no real token",
}


def test_batches_are_trimmed_alike(golden, tmp_path):
    seen = 0
    for entry in golden.entries("collate"):
        arrays = golden.load(entry)
        path = tmp_path / "rows.pt"
        inputs = [arrays[f"in/{name}"] for name in ("input_ids", "attention_mask")]
        write_tensors(path, *inputs)
        width = arrays["out/input_ids"].shape[1]
        if entry["file"] in REFUSED:
            with pytest.raises(UserError, match=REFUSED[entry["file"]]):
                load(path, inputs[0])
            continue
        data = load(path, inputs[0], entry["config"].get("max_seq_len"))
        assert max(1, int(data.lengths.max())) == width, entry["file"]
        taken = data.take(BatchRows(np.arange(len(data)), (len(data), width)), 0)
        np.testing.assert_array_equal(taken, arrays["out/input_ids"])
        np.testing.assert_array_equal(np.arange(width) >= data.lengths[:, None], arrays["out/attention_mask"])
        seen += 1
    assert seen >= 7


def load(path, ids, max_length=None):
    return load_dataset(path, vocab_size=int(ids.max()) + 1, pad_id=0, max_length=max_length or ids.shape[1])
