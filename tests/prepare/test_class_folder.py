"""Folders with a folder of texts for each class."""

import hashlib
import json

import pytest

from tests.prepare.cases import options
from textclf_jax.errors import UserError
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.texts import ReadOptions, read_file


def make(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_file_is_a_text_and_its_folder_the_class(tmp_path):
    files = {"pos/1.txt": b"Good\r\nfilm\n", "neg/2": b"", "neg/.hidden": b"\0", "README.md": b"about"}
    file = read_file(make(tmp_path / "films", files), ReadOptions(), keep_records=True)
    assert [(row.text, row.label, row.path.name) for row in file.rows] == [
        ("", "neg", "2"),
        ("Good\nfilm", "pos", "1.txt"),
    ]
    assert file.records == [["", "neg"], ["Good\nfilm", "pos"]]
    assert file.notes == ["files beside the folders of the classes, not read: README.md"]


def test_a_folder_is_prepared_like_a_table(tmp_path):
    files = {f"{'ab'[i % 2]}/{i}.txt": f"text number {i} runs".encode() for i in range(20)}
    out = tmp_path / "data"
    report = prepare(options(out, inputs=(make(tmp_path / "films", files),)))
    assert report.label_names == ["a", "b"]
    (source,) = json.loads((out / "dataset.json").read_text())["sources"]
    raw = b"".join(files[name] for name in sorted(files))
    assert source["sha256"] == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train.csv": b"x", "test.csv": b"x"},
            r"split already\. Name the parts: --train .*train.csv --test .*test.csv",
        ),
        ({"train/pos/1": b"x", "train/urls.txt": b"x", "test/pos/1": b"x"}, "--train .*train --test .*test"),
        ({"a/b/1.txt": b"x", "a/2.txt": b"x"}, "a/b is a folder where texts should be"),
        ({"notes.csv": b"x"}, "has no folder with files in it, but notes.csv.*to read a table, name its file"),
        ({".x": b""}, "is empty. A folder of texts has a folder for each class"),
    ],
)
def test_other_folders_are_refused_with_what_to_type(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_file(make(tmp_path / "films", files), ReadOptions())
