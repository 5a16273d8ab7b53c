"""The torch file format: what is written comes back, and nothing else is believed."""

import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from textclf_jax.data.torch_files import read_tensors, write_tensors
from textclf_jax.errors import UserError

UNSAFE_ADVICE = ("weights_only=False", "trust")


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 400, (8, 16)), rng.random((8, 16)) < 0.3, rng.integers(0, 4, 8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.pt"


def assert_same(found, expected):
    assert len(found) == len(expected)
    for array, other in zip(found, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


def refused(path, *messages):
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    for message in (str(path), *messages):
        assert message in str(caught.value)
    assert not any(advice in str(caught.value) for advice in UNSAFE_ADVICE)


# --- what is accepted -----------------------------------------------------------------------------------------


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


# --- fault 1: no such file, or another kind of file -----------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"label,text\n1,hello\n", "is a text file"),
        (("ä" * 400).encode(), "is a text file"),  # the first 512 bytes may end within a character
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (bytes(3000), "NUL bytes"),
        (b"\x1f\x8b" + bytes(100), "gzip"),
        (b"\xd0\xcf\x11\xe0" * 200, "is not a file that torch.save wrote"),
        (b"PK\x03\x04" + bytes(range(200)), "damaged or cut off"),
    ],
)
def test_other_kinds_of_file(path, raw, message):
    path.write_bytes(raw)
    refused(path, message)


def test_missing_folder_device_and_other_zip(path, tmp_path):
    refused(path, "there is no such file")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "is a zip, but not one that torch.save wrote")


# --- fault 2: damage ------------------------------------------------------------------------------------------


def test_flipped_bits_are_noticed_or_do_not_matter(path, arrays):
    write_tensors(path, *arrays)
    raw = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(raw)), 300):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_tensors(path)
        except UserError:
            continue
        assert_same(found, arrays)


def test_truncated_files_are_refused(path, arrays):
    write_tensors(path, *arrays)
    raw = path.read_bytes()
    for length in [*range(0, len(raw), 37), len(raw) - 1]:
        path.write_bytes(raw[:length])
        refused(path)


# --- fault 3: malicious pickles -------------------------------------------------------------------------------


class Malicious:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("environment", ["0", "1"])
@pytest.mark.parametrize("kind", ["zip", "protocol 4", "nested", "legacy", "raw"])
def test_malicious_pickles_do_not_run(path, tmp_path, monkeypatch, kind, environment):
    import torch

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", environment)
    evil = Malicious(tmp_path / "witness")
    if kind == "raw":
        path.write_bytes(pickle.dumps(evil))
    elif kind == "legacy":
        torch.save(evil, path, _use_new_zipfile_serialization=False)
    elif kind == "protocol 4":
        torch.save(evil, path, pickle_protocol=4)
    else:
        torch.save((torch.zeros(2, 2), evil) if kind == "nested" else evil, path)
    refused(path, "can run code" if kind in ("raw", "legacy") else "nothing in it ran")
    assert not (tmp_path / "witness").exists()


def test_torch_alone_refuses_what_the_names_let_through(path, tmp_path, monkeypatch):
    """Both locks hold by themselves: with the check of names open, the load still runs nothing."""
    import torch

    from textclf_jax.data import torch_files

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(torch_files, "_check_names", lambda *_: None)
    torch.save(Malicious(tmp_path / "witness"), path)
    refused(path, "torch could not read it")
    assert not (tmp_path / "witness").exists()


# --- fault 4: tensors that are larger than their file ---------------------------------------------------------


def rewrite(path, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as archive:
        records = [(record.filename, archive.read(record)) for record in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records:
            archive.writestr(name, change(name, data))


def test_views_and_other_layouts(path):
    import torch

    ids = torch.zeros(6, 4, dtype=torch.long)
    for tensor, message in (
        (torch.zeros(1, dtype=torch.long).expand(10**9, 16), "is a view (strides (0, 0))"),
        (ids[:, :2], "is a view"),
        (ids.t(), "is a view"),
        (ids.to_sparse(), "sparse"),
        (ids.to("meta"), "meta"),
        (ids.bfloat16(), "bfloat16"),
    ):
        torch.save((tensor, ids == 0), path)
        refused(path, message)


def test_compressed_and_doubled_records(path):
    import torch

    ids = torch.zeros(10**6, dtype=torch.long)
    torch.save((ids, ids == 0), path)
    rewrite(path, compression=zipfile.ZIP_DEFLATED)
    refused(path, "is compressed")
    torch.save((ids[:4].clone(), ids[:4] == 0), path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"again")
    refused(path, "two records have the same name")


def claim_longer(path, record_name, count, false_count):
    """Changes the number of elements in the pickle, checksums right."""
    old, new = b"M" + struct.pack("<H", count), b"J" + struct.pack("<i", false_count)

    def change(name, data):
        if not name.endswith(record_name):
            return data
        assert old in data
        return data.replace(old, new)

    rewrite(path, change)


@pytest.mark.parametrize("false_count", [7778, 2**31 - 1])
def test_storage_longer_than_its_record(path, false_count):
    import torch

    torch.save((torch.zeros(7777, dtype=torch.long), torch.zeros(9000, dtype=torch.bool)), path)
    claim_longer(path, "data.pkl", 7777, false_count)
    refused(path)


def test_memory_stays_small(tmp_path):
    """Neither stride 0 nor a long file costs memory before rows are used (peak, in MB, of a process of its own)."""
    import torch

    torch.save((torch.zeros(1, dtype=torch.long).expand(10**9, 16), torch.zeros(2)), tmp_path / "wide.pt")
    torch.save((torch.zeros(20_000_000, dtype=torch.long), torch.zeros(2)), tmp_path / "long.pt")
    code = """
import re, sys
from pathlib import Path
import torch
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.errors import UserError
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
read_tensors(Path("small.pt"))
before = peak()
try:
    read_tensors(Path("wide.pt"))
except UserError:
    kept = read_tensors(Path("long.pt"))
    print(peak() - before)
"""
    write_tensors(tmp_path / "small.pt", np.zeros(3))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 50


# --- fault 5: other objects -----------------------------------------------------------------------------------


def test_other_objects(path):
    import torch
    from torch.utils.data import Subset, TensorDataset

    ids = torch.zeros(6, 4, dtype=torch.long)
    for thing, message in (
        (ids, "holds one Tensor"),
        (Subset(TensorDataset(ids, ids == 0), [0, 1]), "holds torch.utils.data.dataset.Subset"),
        ([(row, row == 0) for row in ids], "tensor 0 is a tuple"),
        ((ids, 3), "tensor 1 is a int"),
        ({"ids": ids}, "is a dict with the keys ids"),
        ({"input_ids": ids, "attention_mask": ids == 0, "extra": ids}, "extra"),
        ((ids.numpy(), ids), "holds numpy"),
        ("hello", "holds one str"),
    ):
        torch.save(thing, path)
        refused(path, message, "Expected: torch.save(TensorDataset(input_ids, attention_mask[, labels]), path)")
