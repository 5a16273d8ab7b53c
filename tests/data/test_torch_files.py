"""The torch file format: what is written comes back, and nothing else is believed."""

import numpy as np
import pytest

from tests.plain_torch_files import write_plain_tensors
from tests.trained import assert_same
from textclf_jax.data.torch_files import read_tensors, write_tensors
from textclf_jax.errors import UserError


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 400, (8, 16)), rng.random((8, 16)) < 0.3, rng.integers(0, 4, 8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.pt"


@pytest.mark.golden
@pytest.mark.parametrize("name", ["mlm", "cls"])
def test_files_of_the_reference(golden, name):
    found = read_tensors(golden.path / "torch_files" / f"{name}.pt")
    contents = golden.load(f"torch_files/{name}_pt_contents.npz")
    keys = ["input_ids", "attention_mask", "labels"]
    assert_same(found, [contents[key] for key in keys if key in contents])


def test_round_trip(path, arrays):
    import torch
    from torch.utils.data import TensorDataset

    ids, mask, labels = arrays
    ids.flags.writeable = False
    write_tensors(path, ids, mask[:, ::-1], labels)
    assert_same(read_tensors(path), [ids, mask[:, ::-1], labels])
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with torch.serialization.safe_globals([TensorDataset]):
        assert isinstance(torch.load(path, weights_only=True), TensorDataset)  # readable without this package
    write_tensors(path, ids)  # replaces
    assert_same(read_tensors(path), [ids])


def test_files_of_tests_without_torch_are_such_files(path, arrays):
    import torch

    write_plain_tensors(path, *arrays)
    assert_same(read_tensors(path), arrays)
    assert_same([tensor.numpy() for tensor in torch.load(path, weights_only=True)], arrays)


def test_arrays_are_read_only(path, arrays):
    write_tensors(path, *arrays)
    with pytest.raises(ValueError, match="read-only"):
        read_tensors(path)[0][0, 0] = 1


def test_containers(path, arrays):
    import torch

    tensors = [torch.from_numpy(array) for array in arrays]
    named = dict(zip(("labels", "attention_mask", "input_ids"), reversed(tensors), strict=True))
    for container in (tuple(tensors), tensors, named):
        torch.save(container, path)
        assert_same(read_tensors(path), arrays)
    torch.save((tensors[0][2:5], tensors[1][2:5]), path)  # contiguous rows of a longer tensor
    assert_same(read_tensors(path), [arrays[0][2:5], arrays[1][2:5]])
    torch.save((tensors[0][:0], tensors[1][:0]), path)
    assert [array.shape for array in read_tensors(path)] == [(0, 16), (0, 16)]


def test_writing_where_one_cannot(tmp_path, arrays):
    with pytest.raises(UserError, match="cannot be written"):
        write_tensors(tmp_path / "missing" / "data.pt", *arrays)
