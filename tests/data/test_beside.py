"""What lies beside a data file is found, read and checked."""

import json

import pytest

from tests import tiny
from textclf_jax.data.beside import read_beside
from textclf_jax.errors import UserError


def dataset(folder, names=("bad", "good"), *, fingerprint="f" * 64, **changes):
    """A folder as `textclf prepare` leaves it, without the rows; returns the path of its cls/train.pt."""
    (folder / "cls").mkdir(parents=True)
    listed = None if names is None else list(names)
    described = {"vocabulary": {"size": 60, "fingerprint": fingerprint}, "label_names": listed, **changes}
    (folder / "dataset.json").write_text(json.dumps(described), "utf-8")
    if names is not None:
        (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    tiny.write_vocabulary(folder / "vocab")
    return folder / "cls" / "train.pt"


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        read_beside(path)
    return str(caught.value)


def test_a_prepared_folder(tmp_path):
    path = dataset(tmp_path / "data")
    found = read_beside(path)
    assert found.names == ("bad", "good")
    assert found.names_file == tmp_path / "data" / "labels.txt"
    assert (found.is_prepared, found.fingerprint, found.notes) == (True, "f" * 64, ())
    assert found.vocab_dir == tmp_path / "data" / "vocab"
    assert read_beside(path, with_names=False).names is None


def test_a_file_alone(tmp_path):
    found = read_beside(tmp_path / "cls" / "train.pt")
    assert (found.names, found.fingerprint, found.vocab_dir, found.notes) == (None, None, None, ())


def test_a_link_means_what_its_target_means(tmp_path):
    """Linked into another dataset, whose names are not its own; where nothing lies beside the target, the link's."""
    path, other = dataset(tmp_path / "a", ("x", "y")), dataset(tmp_path / "b", ("y", "x"))
    path.write_bytes(b"")
    other.symlink_to(path)
    assert read_beside(other).names == ("x", "y")
    store = tmp_path / "store" / "deep" / "1f2e"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"")
    other.unlink()
    other.symlink_to(store)
    assert read_beside(other).names == ("y", "x")


@pytest.mark.parametrize("text", [b"bad\ngood\n", b"\xef\xbb\xbfbad\r\ngood\r\n", b"bad\ngood"])
def test_names_as_editors_save_them(tmp_path, text):
    path = dataset(tmp_path / "data")
    (tmp_path / "data" / "labels.txt").write_bytes(text)
    assert read_beside(path).names == ("bad", "good")
    assert read_beside(path).notes == ()


@pytest.mark.parametrize("name", ["a\u2028b", "c\x85d", "e\x0bf", "g\rh"])
def test_names_with_line_breaks_of_any_kind_are_refused(tmp_path, name):
    message = refusal(dataset(tmp_path / "data", ("x", name)))
    assert f"label_names 1: the class name {name!r} has a line break in it" in message


def test_a_renamed_class_keeps_its_number_and_is_told(tmp_path):
    path = dataset(tmp_path / "data", ("0", "1"))
    (tmp_path / "data" / "labels.txt").write_text("negative\npositive\n")
    found = read_beside(path)
    assert found.names == ("negative", "positive")
    assert "its classes are negative, positive, renamed since dataset.json (0, 1)" in found.notes[0]


@pytest.mark.parametrize("text", ["good\nbad\n", "bad\ngood\nugly\n", "bad\n", "bad\nbad\n", "bad\n\n", "good\nx\n"])
def test_names_whose_order_or_number_changed_are_refused(tmp_path, text):
    """What the message advises, removing the file, leads to the names that the labels were numbered by."""
    path = dataset(tmp_path / "data")
    (tmp_path / "data" / "labels.txt").write_text(text)
    message = refusal(path)
    assert str(tmp_path / "data" / "labels.txt") in message
    assert "Remove this file, and the names in dataset.json count" in message
    (tmp_path / "data" / "labels.txt").unlink()
    assert read_beside(path).names == ("bad", "good")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label_names": ["a", "a"]}, "label_names 0 and label_names 1 are both 'a': class names must differ"),
        ({"label_names": ["caf\u00e9", "cafe\u0301"]}, "label_names 0 and label_names 1 are both 'caf\u00e9'"),
        ({"label_names": "ab"}, "label_names are 'ab', not a list of names"),
        ({"label_names": [1, 2]}, "label_names are [1, 2], not a list of names"),
        ({"vocabulary": {"fingerprint": 5}}, "vocabulary.fingerprint is 5, not text"),
    ],
)
def test_a_description_that_is_wrong(tmp_path, change, words):
    message = refusal(dataset(tmp_path / "data", **change))
    assert message.startswith(f"{tmp_path / 'data' / 'dataset.json'}: ")
    assert words in message
    assert "Make the dataset again with textclf prepare" in message


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe{", b'{"vocabulary": {"size": 60, "fing'])
def test_a_damaged_description(tmp_path, raw):
    path = dataset(tmp_path / "data")
    (tmp_path / "data" / "dataset.json").write_bytes(raw)
    assert "dataset.json: cannot be read (" in refusal(path)
    (tmp_path / "data" / "dataset.json").unlink()  # as advised
    assert read_beside(path).names == ("bad", "good")
    assert read_beside(path).vocab_dir == tmp_path / "data" / "vocab"


@pytest.mark.parametrize("raw", [b"{", b"[1, 2]", b'{"name": "ours"}', b'"text"'])
def test_a_description_of_another_program_is_left_alone(tmp_path, raw):
    (tmp_path / "dataset.json").write_bytes(raw)
    found = read_beside(tmp_path / "train.pt")
    assert (found.is_prepared, found.names, found.notes) == (False, None, ())


@pytest.mark.parametrize("raw", [b"1\n0\n1\n1\n", b"bad\n\ngood\n", b"\xe9t\xe9\n"])
def test_a_labels_txt_of_anybody_is_told_and_not_believed(tmp_path, raw):
    (tmp_path / "labels.txt").write_bytes(raw)
    found = read_beside(tmp_path / "train.pt")
    assert found.names is None
    assert f"{tmp_path / 'labels.txt'}: " in found.notes[0]
    assert "its lines are not taken for class names" in found.notes[0]


def test_a_vocabulary_counts_beside_a_file_or_in_the_layout_of_prepare(tmp_path):
    tiny.write_vocabulary(tmp_path / "vocab")
    assert read_beside(tmp_path / "train.pt").vocab_dir == tmp_path / "vocab"
    assert read_beside(tmp_path / "mlm" / "train.pt").vocab_dir == tmp_path / "vocab"
    assert read_beside(tmp_path / "data" / "train.pt").vocab_dir is None
