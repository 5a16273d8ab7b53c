"""Rows 1 to 15: data files that are damaged, hostile or wrong are told, not learned."""

import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.faults.harness import flipped_bits
from tests.trained import assert_same, interrupted, read_column
from textclf_jax.config.file import load_config
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


MEASURED = """
import re, sys, time
from pathlib import Path
from textclf_jax.data.dataset import load_dataset
from textclf_jax.errors import UserError
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
def load(name):
    return load_dataset(Path(name), vocab_size=60, pad_id=1, max_length=512)
load("small.pt")
before, start = peak(), time.process_time()
try:
    load(sys.argv[1])
except UserError:
    assert sys.argv[1] == "wide.pt"
print(peak() - before, peak(), time.process_time() - start)
"""


def measured(folder: Path, name: str) -> list[float]:
    """Loads a file in a process of its own: growth and peak of its memory in MB, and seconds of CPU."""
    write_tensors(folder / "small.pt", np.zeros((3, 3), np.int64), np.zeros((3, 3), bool))
    done = subprocess.run([sys.executable, "-c", MEASURED, name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def test_fault_04_memory_stays_small(tmp_path):
    import torch

    torch.save((torch.zeros(1, dtype=torch.long).expand(10**9, 16), torch.zeros(2)), tmp_path / "wide.pt")
    assert measured(tmp_path, "wide.pt")[0] < 50


# --- 5 to 7: other objects, types, ids ------------------------------------------------------------------------


def test_fault_05_other_objects(project):
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
        torch.save(thing, project.root / TRAIN)
        project.refused(
            TRAIN, message, "Expected: torch.save(TensorDataset(input_ids, attention_mask[, labels]), path)"
        )


def test_fault_05_wrong_number_of_tensors(project):
    project.change_data(lambda ids, mask, labels: (ids, mask), "finetuning")
    project.refused("cls/train.pt", "holds 2 tensors, expected 3", "labels [N]", kind="finetuning")
    project.change_data(lambda ids, mask, labels: (ids,))
    project.refused(TRAIN, "holds 1 tensors, expected 2: input_ids [N, L], attention_mask [N, L] (True = PAD)")


def test_fault_05_plain_containers_are_accepted(project):
    project.change_data(lambda ids, mask, labels: (ids, mask))
    project.train("pretraining", "--dry-run")


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (lambda ids, mask, labels: (ids.astype(float), mask), "float64 of shape [20, 24]"),
        (lambda ids, mask, labels: (ids[:, 0], mask), "int64 of shape [20]"),
    ],
)
def test_fault_06_ids_float_or_flat(project, change, shown):
    project.change_data(change)
    project.refused(TRAIN, f"input_ids are {shown}, expected integers [N, L]")


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (lambda y: y.astype(float), "float64 of shape [20]"),
        (lambda y: np.eye(3, dtype=int)[y], "int64 of shape [20, 3]"),
        (lambda y: y[:, None], "int64 of shape [20, 1]"),
    ],
)
def test_fault_06_labels_float_or_one_hot(project, change, shown):
    project.change_data(lambda ids, mask, labels: (ids, mask, change(labels)), "finetuning")
    project.refused("cls/train.pt", f"labels are {shown}, expected integers [N]", kind="finetuning")


@pytest.mark.parametrize("bad", [-1, tiny.VOCAB_SIZE, 2**40])
def test_fault_07_ids_out_of_range(project, bad):
    def change(ids, mask, labels):
        ids[13, 1] = bad
        return ids, mask

    project.change_data(change)
    project.refused(TRAIN, f"row 13 holds the id {bad}, but the vocabulary has {tiny.VOCAB_SIZE}")


# --- 8 to 10: masks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint8])
def test_fault_08_numeric_mask_is_read_with_a_warning(project, dtype):
    project.change_data(lambda ids, mask, labels: (ids, mask.astype(dtype)))
    said = project.train("pretraining", "--dry-run")
    assert f"attention_mask is {np.dtype(dtype)}, read as bool with 1 = PAD" in said
    assert f"{int((~tiny.rows(20)[1]).sum())} real tokens" in said


def test_fault_08_mask_with_other_values(project):
    def change(ids, mask, labels):
        numbers = mask.astype(np.float32)
        numbers[3, 2] = 0.5
        return ids, numbers

    project.change_data(change)
    project.refused(TRAIN, "holds 0.5 in row 3")


def test_fault_09_inverted_mask(project):
    project.change_data(lambda ids, mask, labels: (ids, ~mask))
    project.refused(TRAIN, "seems inverted", "read as True = real on 100%", "Save ~attention_mask")


@pytest.mark.parametrize("kind", ["pretraining", "finetuning"])
def test_fault_10_a_row_of_padding_is_reported_and_trains(project, kind):
    def change(ids, mask, labels):
        ids[2], mask[2] = 0, True
        return ids, mask, labels

    path = project.change_data(change, kind)
    assert f"{path.relative_to(project.root)}: 1 of 20 rows are all padding" in project.train(kind)
    losses = read_column(project.run_dir(kind), "train/loss")
    assert losses
    assert np.isfinite(losses).all()


def test_fault_10_padding_inside_a_row(project):
    def change(ids, mask, labels):
        mask[7], mask[7, 1] = False, True
        return ids, mask

    project.change_data(change)
    project.refused(TRAIN, "in row 7 real tokens follow padding")


# --- 11 to 13: sizes, labels, numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 8), (4, 0)])
def test_fault_11_nothing_to_train_on(project, shape):
    project.change_data(lambda ids, mask, labels: (np.zeros(shape, np.int64), np.zeros(shape, bool)))
    project.refused(TRAIN, f"shape {list(shape)}: there is nothing to train on")


def test_fault_11_fewer_rows_than_a_batch_are_trained(project):
    project.change_data(lambda ids, mask, labels: (ids[:5], mask[:5], labels[:5]), "finetuning")
    project.add("finetuning", training={"epochs": 1}, logging={"log_interval_updates": 1})
    project.train("finetuning")
    (accuracy,) = read_column(project.run_dir("finetuning"), "train/accuracy")
    assert accuracy * 5 == pytest.approx(round(accuracy * 5))  # a share of five rows


def test_fault_11_long_rows_are_cut_and_reported(project):
    project.add("pretraining", architecture=tiny.architecture(max_sequence_length=10))
    project.change_data(lambda ids, mask, labels: (ids, mask))
    lengths = (~tiny.rows(20)[1]).sum(1)
    said, lost = project.train("pretraining", "--dry-run"), int(np.maximum(lengths - 10, 0).sum())
    assert f"{(lengths > 10).sum()} of 20 rows are longer than 10 tokens" in said
    assert f"{lost} of {lengths.sum()} tokens" in said


@pytest.mark.parametrize("bad", [-1, -100, 3])
def test_fault_12_labels_out_of_range(project, bad):
    def change(ids, mask, labels):
        labels[4] = bad
        return ids, mask, labels

    project.change_data(change, "finetuning")
    project.refused("cls/train.pt", f"row 4 has the label {bad}", "num_labels is 3", kind="finetuning")


def test_fault_12_absent_class_is_reported(project):
    project.change_data(lambda ids, mask, labels: (ids, mask, np.where(labels == 1, 0, labels)), "finetuning")
    assert "cls/train.pt: no row has the label 1" in project.train("finetuning", "--dry-run")


def test_fault_13_tensors_of_unequal_length(project):
    project.change_data(lambda ids, mask, labels: (ids, mask[:8]))
    project.refused(TRAIN, "attention_mask has shape [8, 24], but input_ids [20, 24]")
    project.change_data(lambda ids, mask, labels: (ids, mask, labels[:8]), "finetuning")
    project.refused("cls/train.pt", "labels have shape [8], but there are 20 rows", kind="finetuning")
    project.change_data(lambda ids, mask, labels: (ids, mask, labels[0]), "finetuning")  # found by fuzzing
    project.refused("cls/train.pt", "labels have shape [], but there are 20 rows", kind="finetuning")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_fault_13_nan_or_inf(project, bad):
    def change(ids, mask, labels):
        numbers = mask.astype(np.float32)
        numbers[6, 0] = bad
        return ids, numbers

    project.change_data(change)
    project.refused(TRAIN, f"holds {bad} in row 6")


# --- 14 and 15: data that changed, data that is large ---------------------------------------------------------


def test_fault_14_data_changed_since_the_checkpoint(project, monkeypatch):
    folder = project.run_dir()
    interrupted(load_config(folder / "config.yaml").config, folder, monkeypatch, at_update=2)
    path = project.root / "data/mlm/val.pt"
    ids, mask = (np.array(array) for array in read_tensors(path))
    ids[0, 1] = 7 if ids[0, 1] != 7 else 8
    write_tensors(path, ids, mask)
    project.refused("data.val:", "go on all the same with --changed-data", "--fresh")
    assert "resuming after step" in project.train("pretraining", "--changed-data")


def test_fault_14_settings_changed_since_the_checkpoint(project, monkeypatch):
    folder = project.run_dir()
    interrupted(load_config(folder / "config.yaml").config, folder, monkeypatch, at_update=2)
    flags = ("--changed-data", "--set", "training.learning_rate=0.001")
    message = project.refused("config.training.learning_rate: 0.003 before, 0.001 now", flags=flags)
    assert "all the same" not in message
    project.train("pretraining", "--set", "training.checkpoint_interval_updates=5")


class WithHoles(io.FileIO):
    """A file whose zeros take no place on the disk."""

    def write(self, data) -> int:
        if np.frombuffer(data, np.uint8).any():
            return super().write(data)
        self.seek(len(data), os.SEEK_CUR)
        return len(data)


@pytest.mark.slow
def test_fault_15_ten_gigabytes_open_in_seconds(tmp_path):
    """Rows of the id 0, which is not that of PAD here: a sound file of 10 GB that is one large hole."""
    import torch

    shape = (2_180_000, 512)
    with WithHoles(tmp_path / "large.pt", "w") as out:
        torch.save((torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)), out)
    assert (tmp_path / "large.pt").stat().st_size > 10e9
    assert (tmp_path / "large.pt").stat().st_blocks < 1000
    _, peak, seconds = measured(tmp_path, "large.pt")
    assert peak < 1000
    assert seconds < 60


def test_fault_15_memory_does_not_follow_the_size(tmp_path):
    write_tensors(tmp_path / "long.pt", np.zeros((40_000, 512), np.int64), np.zeros((40_000, 512), bool))
    assert measured(tmp_path, "long.pt")[0] < 100
