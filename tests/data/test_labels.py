"""Labels of a file: one a text, and 0 and 1 for each class."""

import numpy as np
import pytest
import torch

from tests import tiny
from tests.data.test_splits import config
from textclf_jax.data.agreement import RunClasses, numbering_of
from textclf_jax.data.beside import read_beside
from textclf_jax.data.dataset import load_dataset
from textclf_jax.data.splits import load_splits
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import load_wrapper


def label_sets(count: int = 30, num_labels: int = 3) -> np.ndarray:
    """[N, C] uint8; all classes occur, and rows with none, one and several labels."""
    labels = (np.random.default_rng(1).random((count, num_labels)) < 0.4).astype(np.uint8)
    labels[:4, :3] = [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]
    return labels


def load(folder, labels: np.ndarray, *, num_labels: int = 3, multi_label: bool = True, ids=None, numbering=None):
    made, mask, _ = tiny.rows(len(labels))
    write_tensors(folder / "data.pt", made if ids is None else ids, mask, labels)
    options = {"vocab_size": tiny.VOCAB_SIZE, "pad_id": 0, "max_length": tiny.MAX_LENGTH}
    return load_dataset(
        folder / "data.pt", num_labels=num_labels, multi_label=multi_label, numbering=numbering, **options
    )


def refusal(folder, labels: np.ndarray, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, labels, **options)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_, np.float16, np.float32, np.float64])
def test_zeros_and_ones_of_every_dtype(tmp_path, dtype):
    labels = label_sets()
    data = load(tmp_path, labels.astype(dtype))
    assert data.labels is not None
    assert (data.labels.dtype, data.labels.shape) == (np.uint8, (30, 3))
    np.testing.assert_array_equal(data.labels, labels)
    empty = int((labels.sum(1) == 0).sum())
    assert data.notes == (f"{data.path}: {empty} of 30 rows have no label, and count as none of the classes",)


@pytest.mark.parametrize(
    ("dtype", "value", "told"),
    [
        (np.int64, 2, "has 2 for the label 1, expected 0 or 1; 1 of 30 rows have such values. Are these counts"),
        (np.int64, -100, "has -100 for the label 1, expected 0 or 1; 1 of 30 rows have such values. What is not known"),
        (np.int8, -1, "has -1 for the label 1"),
        (np.float32, np.nan, "has nan for the label 1.* What is not known"),
        (np.float32, np.inf, "has inf for the label 1"),
        (np.float32, 0.5, r"has 0.5 for the label 1.* decide them, for instance labels > 0.5"),
    ],
)
def test_other_values_are_refused(tmp_path, dtype, value, told):
    labels = label_sets().astype(dtype)
    labels[17, 1] = value
    with pytest.raises(UserError, match=rf"data\.pt: row 17 {told}"):
        load(tmp_path, labels)


def test_a_whole_row_of_an_unknown_label_in_a_later_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("textclf_jax.data.torch_files.ROWS_CHUNK_BYTES", 100)
    labels = label_sets().astype(np.int64)
    np.testing.assert_array_equal(load(tmp_path, labels).labels, labels)
    labels[[22, 28]] = -100
    told = refusal(tmp_path, labels)
    assert "row 22 has -100 for the label 0" in told
    assert "2 of 30 rows" in told


def test_another_form_names_the_key_that_it_fits(tmp_path):
    labels, single = label_sets(), tiny.rows(30)[2]
    one_hot = np.eye(3, dtype=np.int64)[single]
    told = refusal(tmp_path, single)
    assert "labels are int64 of shape [30], expected 0 and 1 for each class [N, C]" in told
    assert "set classification_head.multi_label to false" in told
    told = refusal(tmp_path, labels, multi_label=False)
    assert "labels are uint8 of shape [30, 3], expected integers [N]. Several labels a text?" in told
    assert "set classification_head.multi_label to true and classification_head.num_labels to 3" in told
    assert "labels.int().argmax(1)" in refusal(tmp_path, one_hot, multi_label=False)
    numbers = np.stack([single, np.full(30, -1)], axis=1)
    assert "save 0 and 1 for each class [N, C]" in refusal(tmp_path, numbers, multi_label=False)
    for multi_label in (False, True):
        assert "labels.squeeze(1).long()" in refusal(tmp_path, single[:, None], multi_label=multi_label)
    told = refusal(tmp_path, labels, num_labels=4)
    assert "labels have shape [30, 3], one column a class, but classification_head.num_labels is 4. Set it to 3" in told
    shares = np.full((30, 1), 0.5, np.float32)
    for multi_label in (False, True):
        assert "squeeze" not in refusal(tmp_path, shares, multi_label=multi_label)
    assert "shape [30, 3, 1]" in refusal(tmp_path, labels[:, :, None])
    ids, mask, _ = tiny.rows(5)
    torch.save((torch.from_numpy(ids), torch.from_numpy(mask)), tmp_path / "two.pt")
    with pytest.raises(UserError, match=r"holds 2 tensors, expected 3: .*, labels \[N, C\]"):
        load_dataset(tmp_path / "two.pt", vocab_size=60, pad_id=0, max_length=24, num_labels=3, multi_label=True)


def test_the_remedy_for_one_column_works(tmp_path):
    column = (tiny.rows(30)[2] > 0).astype(np.float32)[:, None]
    told = refusal(tmp_path, column, num_labels=2)
    assert "set classification_head.multi_label to false and classification_head.num_labels to 2" in told
    mended = torch.from_numpy(column).squeeze(1).long().numpy()
    np.testing.assert_array_equal(load(tmp_path, mended, num_labels=2, multi_label=False).labels, column[:, 0])


def test_what_is_odd_about_the_classes_is_told(tmp_path):
    labels = label_sets()
    labels[:, 2] = 0
    assert "no row has the label 2" in " ".join(load(tmp_path, labels).notes)
    labels[:, 2] = 1
    assert "every row has the label 2" in " ".join(load(tmp_path, labels).notes)
    notes = load(tmp_path, np.zeros((30, 3), np.uint8)).notes
    assert any(note.startswith("warning: ") and "no row has a label: all 90 labels are 0" in note for note in notes)
    one_hot = np.eye(3, dtype=np.uint8)[tiny.rows(30)[2]]
    assert "every row has one label. If no text can have several" in " ".join(load(tmp_path, one_hot).notes)
    assert load(tmp_path, one_hot[:10]).notes == ()


def test_equal_rows_with_other_label_sets(tmp_path):
    ids = tiny.rows(30)[0]
    ids[[2, 5, 9]] = ids[[3, 8, 4]]
    labels = label_sets()
    labels[8], labels[5] = labels[5], [0, 1, 0]
    labels[8] = labels[5]  # an equal set contradicts nothing
    labels[9], labels[4] = [0, 0, 0], [0, 1, 0]
    mask_free = ids.copy()
    mask_free[ids == 0] = 7
    write_tensors(tmp_path / "data.pt", mask_free, np.zeros(ids.shape, bool), labels)
    data = load_dataset(
        tmp_path / "data.pt", vocab_size=60, pad_id=0, max_length=24, num_labels=3, multi_label=True, special=None
    )
    (note,) = [note for note in data.notes if "no model can tell" in note]
    assert "4 of 30 rows equal another row that has other labels (row 2 has [1, 2], row 3 has [0, 1, 2])" in note


# --- classes in another order ---------------------------------------------------------------------------------


def numbering(folder, *names: str, run: tuple[str, ...] = ("a", "b", "c"), notes: list[str]):
    (folder / "labels.txt").write_text("".join(name + "\n" for name in names))
    return numbering_of(read_beside(folder / "data.pt"), RunClasses(len(run), run, "the model"), notes)


def test_columns_follow_the_names(tmp_path):
    labels, notes = label_sets(), []
    data = load(tmp_path, labels, numbering=numbering(tmp_path, "c", "a", "b", notes=notes))
    np.testing.assert_array_equal(data.labels, labels[:, [1, 2, 0]])
    assert "its labels are mapped to the classes of the model by their names" in notes[0]
    assert data.fingerprint != load(tmp_path, labels).fingerprint


def test_classes_that_the_run_lacks(tmp_path):
    labels = label_sets(num_labels=4, count=30)
    labels[:, 1] = 0
    labels[[11, 20], 1] = 1
    told = refusal(tmp_path, labels, numbering=numbering(tmp_path, "c", "x", "a", "b", notes=[]))
    assert "row 11 has the class 'x' (label 1 by" in told
    assert "as have 2 rows classes that the run lacks" in told
    labels[:, 1] = 0
    data = load(tmp_path, labels, numbering=numbering(tmp_path, "c", "x", "a", "b", notes=[]))
    np.testing.assert_array_equal(data.labels, labels[:, [2, 3, 0]])
    assert "no row has a class that the run lacks (x, by" in " ".join(data.notes)


def test_classes_that_the_file_lacks(tmp_path):
    labels = label_sets(num_labels=3)[:, :2]
    data = load(tmp_path, labels, numbering=numbering(tmp_path, "c", "a", notes=[]))
    np.testing.assert_array_equal(data.labels, np.stack([labels[:, 1], np.zeros(30), labels[:, 0]], axis=1))
    assert "its labels do not tell of b: its rows count as without" in " ".join(data.notes)
    told = refusal(tmp_path, label_sets(), numbering=numbering(tmp_path, "c", "a", notes=[]))
    assert "labels have shape [30, 3], one column a class, but the classes in" in told
    labels[3, 1] = 7
    assert "row 3 has 7 for the label 1 ('a')" in refusal(
        tmp_path, labels, numbering=numbering(tmp_path, "c", "a", notes=[])
    )


def test_two_names_of_one_class_are_joined(tmp_path):
    labels, names, run = label_sets(), ("0", "1", "LABEL_0"), ("LABEL_0", "LABEL_1")
    data = load(tmp_path, labels, num_labels=2, numbering=numbering(tmp_path, *names, run=run, notes=[]))
    np.testing.assert_array_equal(data.labels, np.stack([labels[:, 0] | labels[:, 2], labels[:, 1]], axis=1))


def test_splits_of_a_run(tmp_path):
    tiny.write_vocabulary(tmp_path / "vocab")
    for split, count in (("train", 30), ("test", 12)):
        ids, mask, _ = tiny.rows(count)
        (tmp_path / "train" / "cls").mkdir(parents=True, exist_ok=True)
        write_tensors(tmp_path / "train" / "cls" / f"{split}.pt", ids, mask, label_sets(count))
    run = config(tmp_path, "train", "train", "vocab", classification_head={"num_labels": 3, "multi_label": True})
    splits = load_splits(run, load_wrapper(run.tokenizer.wrapper_path, "vocab", root=tmp_path), tmp_path)
    for split, count in (("train", 30), ("test", 12)):
        np.testing.assert_array_equal(splits[split].labels, label_sets(count))
