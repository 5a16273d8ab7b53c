"""Rows 1 to 4: data files that are damaged, hostile or of another kind are refused, and nothing in them runs."""

import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from tests.faults.harness import flipped_bits
from tests.trained import assert_same
from textclf_jax.data.torch_files import read_tensors, write_tensors
from textclf_jax.errors import UserError

TRAIN = "data/mlm/train.pt"
UNSAFE_ADVICE = ("weights_only=False", "trust")


# --- 1: no such file, or another kind of file -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "there is no such file"),
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
def test_fault_01_no_file_or_another_kind(project, raw, message):
    (project.root / TRAIN).unlink()
    if raw is not None:
        (project.root / TRAIN).write_bytes(raw)
    project.refused(TRAIN, message)


def test_fault_01_folder_pipe_and_other_zip(project):
    path = project.root / TRAIN
    path.unlink()
    path.mkdir()
    project.refused(TRAIN, "is a folder")
    path.rmdir()
    os.mkfifo(path)
    project.refused(TRAIN, "not a regular file")
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    project.refused(TRAIN, "is a zip, but not one that torch.save wrote")


# --- 2: damage ------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 400, (8, 16)), rng.random((8, 16)) < 0.3, rng.integers(0, 4, 8)


def test_fault_02_flipped_bits_are_noticed_or_do_not_matter(tmp_path, arrays):
    path, refused = tmp_path / "data.pt", 0
    write_tensors(path, *arrays)
    for flipped in flipped_bits(path.read_bytes(), 300, seed=0):
        path.write_bytes(flipped)
        try:
            assert_same(read_tensors(path), arrays)
        except UserError:
            refused += 1
    assert refused > 200  # the rest hit padding between records


def test_fault_02_truncated_files_are_refused(tmp_path, arrays):
    path = tmp_path / "data.pt"
    write_tensors(path, *arrays)
    raw = path.read_bytes()
    for length in [*range(0, len(raw), 37), len(raw) - 1]:
        path.write_bytes(raw[:length])
        with pytest.raises(UserError, match=re.escape(str(path))):
            read_tensors(path)


def test_fault_02_the_command_says_so(project):
    raw = bytearray((project.root / TRAIN).read_bytes())
    raw[len(raw) // 2] ^= 1
    (project.root / TRAIN).write_bytes(raw)
    project.refused(TRAIN, "is damaged or cut off", "Copy or make the file again")


# --- 3: malicious pickles -------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("environment", ["0", "1"])
@pytest.mark.parametrize("kind", ["zip", "protocol 4", "nested", "legacy", "raw"])
def test_fault_03_malicious_pickles_do_not_run(project, monkeypatch, kind, environment):
    import torch

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", environment)
    path, witness = project.root / TRAIN, project.root / "witness"
    evil = Malicious(witness)
    if kind == "raw":
        path.write_bytes(pickle.dumps(evil))
    elif kind == "legacy":
        torch.save(evil, path, _use_new_zipfile_serialization=False)
    elif kind == "protocol 4":
        torch.save(evil, path, pickle_protocol=4)
    else:
        torch.save((torch.zeros(2, 2), evil) if kind == "nested" else evil, path)
    message = project.refused(TRAIN, "can run code" if kind in ("raw", "legacy") else "nothing in it ran")
    assert not any(advice in message for advice in UNSAFE_ADVICE)
    assert not witness.exists()


def test_fault_03_what_is_named_is_not_called(project):
    """Both locks hold by themselves: even where the name is allowed, nothing is imported or called."""
    import torch

    from textclf_jax.data.torch_files import DATASET, read_file

    path = project.root / TRAIN
    torch.save(Malicious(project.root / "witness"), path)
    with pytest.raises(UserError, match="it calls what is not a function"):
        read_file(path, DATASET._replace(allowed=DATASET.allowed | {"posix mkdir"}))
    assert not (project.root / "witness").exists()


# --- 4: tensors that are larger than their file ---------------------------------------------------------------


def rewrite(path, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as archive:
        records = [(record.filename, archive.read(record)) for record in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records:
            archive.writestr(name, change(name, data))


def test_fault_04_views_and_other_layouts(project):
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
        torch.save((tensor, ids == 0), project.root / TRAIN)
        project.refused(TRAIN, message)


def test_fault_04_compressed_and_doubled_records(project):
    import torch

    path, ids = project.root / TRAIN, torch.zeros(10**6, dtype=torch.long)
    torch.save((ids, ids == 0), path)
    rewrite(path, compression=zipfile.ZIP_DEFLATED)
    project.refused(TRAIN, "is compressed")
    torch.save((ids[:4].clone(), ids[:4] == 0), path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"again")
    project.refused(TRAIN, "two records have the same name")


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
def test_fault_04_storage_longer_than_its_record(project, false_count):
    import torch

    path = project.root / TRAIN
    torch.save((torch.zeros(7777, dtype=torch.long), torch.zeros(9000, dtype=torch.bool)), path)
    claim_longer(path, "data.pkl", 7777, false_count)
    project.refused(TRAIN)
