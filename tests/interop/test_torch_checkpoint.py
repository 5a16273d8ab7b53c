"""State dicts in PyTorch's files: what is read, what is refused, what is written."""

import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from textclf_jax.errors import UserError
from textclf_jax.interop.torch_checkpoint import read_state, write_state

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.ckpt"


def refused(path, *messages):
    with pytest.raises(UserError) as caught:
        read_state(path)
    for message in (str(path), *messages):
        assert message in str(caught.value)
    assert "weights_only=False" not in str(caught.value)


@pytest.mark.golden
@pytest.mark.parametrize("file", ["model.ckpt", "best-model.ckpt"])
def test_files_of_the_reference(golden, file):
    state = read_state(golden.path / "torch_files" / file)
    contents = golden.load(f"torch_files/{file.replace('-', '_').replace('.', '_')}_contents.npz")
    recorded = {key.removeprefix("model_state/"): v for key, v in contents.items() if key.startswith("model_state/")}
    assert set(state) == set(recorded)
    for name, value in recorded.items():
        np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("wrap", [dict, OrderedDict, lambda s: {"model_state": s, "epoch": 3, "scaler_state": {}}])
def test_containers(path, wrap):
    torch.save(wrap(STATE), path)
    state = read_state(path)
    assert list(state) == list(STATE)
    np.testing.assert_array_equal(state["a.weight"], STATE["a.weight"].numpy())


def test_other_dtypes_parameters_and_views(path):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    torch.save(
        {"half": STATE["a.weight"].half(), "bf16": STATE["a.weight"].bfloat16(), "ids": torch.arange(3), "p": weight}
        | {"transposed": STATE["a.weight"].T, "empty": torch.zeros(0)},
        path,
    )
    state = read_state(path)
    assert {name: value.dtype for name, value in state.items()} == {
        **dict.fromkeys(("half", "bf16", "p", "transposed", "empty"), np.dtype(np.float32)),
        "ids": np.dtype(np.int64),
    }
    np.testing.assert_array_equal(state["transposed"], STATE["a.weight"].numpy().T)
    assert state["transposed"].flags.c_contiguous


def test_fault_20_what_is_there_is_listed(path):
    (path.parent / "other.txt").touch()
    refused(path, "no such checkpoint", "holds: other.txt")
    torch.save({"epoch": 1, "optimizer_state": {}}, path)
    refused(path, "there is no model_state", "holds: epoch, optimizer_state")
    torch.save({"model_state": {"a": 1}}, path)
    refused(path, "model_state is no state dict")
    torch.save(torch.ones(2), path)
    refused(path, "holds one Tensor")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(path, "git lfs pull")
    path.unlink()
    path.mkdir()
    refused(path, "is a folder")


def test_a_flipped_bit_is_refused(path):
    torch.save({"model_state": STATE}, path)
    with zipfile.ZipFile(path) as archive:
        record = next(r for r in archive.infolist() if r.filename.endswith("data/0"))
    content = bytearray(path.read_bytes())
    content[content.index(STATE["a.weight"].numpy().tobytes(), record.header_offset)] ^= 1
    path.write_bytes(content)
    refused(path, "damaged or cut off")


@pytest.mark.parametrize("environment", ["0", "1"])
def test_code_in_a_payload_does_not_run(path, monkeypatch, environment):
    witness = path.with_name("witness")

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", environment)
    torch.save({"model_state": STATE, "scheduler_state": Evil()}, path)
    refused(path, "nothing in it ran")
    assert not witness.exists()


def test_a_tensor_longer_than_its_file_is_refused(path):
    torch.save({"a": torch.zeros(1).expand(1 << 30)}, path)
    refused(path, "claims 4294967296 bytes")


def test_tied_arrays_share_a_storage(path):
    words = np.arange(4.0, dtype=np.float32)
    words.flags.writeable = False
    write_state(path, {"words": words, "decoder": words, "other": words + 0})
    state = torch.load(path, weights_only=True)["model_state"]
    assert state["words"].data_ptr() == state["decoder"].data_ptr() != state["other"].data_ptr()
    np.testing.assert_array_equal(read_state(path)["decoder"], words)
    with pytest.raises(UserError, match="cannot be written"):
        write_state(path / "missing", {"a": words})
