"""Rows 5 to 14: data that is wrong, or changed since the checkpoint, is reported and not learned from."""

import numpy as np
import pytest

from tests import tiny
from tests.trained import interrupted, read_column
from textclf_jax.config.file import load_config
from textclf_jax.data.torch_files import read_tensors, write_tensors

TRAIN = "data/mlm/train.pt"


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


def test_fault_09_a_mask_of_zeros(project):
    """As token_type_ids are; before, it was believed where less than half of the file is padding."""
    project.change_data(lambda ids, mask, labels: (ids, np.zeros_like(ids)))
    project.refused(TRAIN, "attention_mask marks no padding, but", "Save attention_mask = (input_ids == 0)")


@pytest.mark.parametrize("split", ["train", "val"])
def test_fault_10_no_real_token(project, split):
    """Of a whole file, by the mask or by its ids; and of one row that has some."""
    project.change_data(lambda ids, mask, labels: (ids, np.ones_like(mask), labels), "finetuning", split)
    project.refused(f"cls/{split}.pt", "is True everywhere", kind="finetuning")
    project.change_data(lambda ids, mask, labels: (0 * ids, mask, labels), "finetuning", split)
    project.refused(f"cls/{split}.pt", "there is no real token: all ids are 0 ([PAD])", kind="finetuning")

    def change(ids, mask, labels):
        ids[4], mask[4] = 7, True
        return ids, mask, labels

    project.change_data(change, "finetuning", split)
    project.refused(f"cls/{split}.pt", "row 4 has real tokens, but attention_mask is True", kind="finetuning")


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


# --- 14: data that changed ------------------------------------------------------------------------------------


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


def test_fault_14_classes_that_have_other_numbers_since_the_checkpoint(project, monkeypatch):
    """The rows are the same, so that only the names tell."""
    names = project.root / "data/labels.txt"
    names.write_text("a\nb\nc\n")
    folder = project.run_dir("finetuning")
    interrupted(load_config(folder / "config.yaml").config, folder, monkeypatch, at_update=1)
    names.write_text("b\na\nc\n")
    project.refused("the classes are b, a, c now", "begun they were a, b, c", "--fresh", kind="finetuning")
