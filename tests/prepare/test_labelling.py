"""Labels are asked for only where they are used, and no row goes without a word."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prepare.cases import options, refused, write_csv
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.texts import ReadOptions

PARTLY = [("cat one", "a"), ("dog two", ""), ("cow three", "b"), ("", ""), ("hen four", "a"), ("emu five", "b")]


def test_partly_labelled_rows_are_refused_dropped_or_for_mlm(out, tmp_path):
    path = write_csv(tmp_path / "p.csv", PARTLY)
    with pytest.raises(UserError, match=r"1 of 5 rows have no label \(.*p.csv line 3\).*--unlabelled-rows drop"):
        prepare(options(out, train=(path,), val_fraction=0))
    dropped = prepare(options(out, train=(path,), val_fraction=0, unlabelled_rows="drop"))
    assert (dropped.splits["train"].mlm_rows, dropped.splits["train"].cls_rows) == (4, 4)
    assert dropped.row_counts() == "rows: 6 read = 4 train + 1 without text, left out + 1 without a label, left out"
    other = prepare(options(tmp_path / "mlm", train=(path,), val_fraction=0, unlabelled_rows="mlm"))
    assert len(read_tensors(tmp_path / "mlm/mlm/train.pt")[0]) == 5
    assert len(read_tensors(tmp_path / "mlm/cls/train.pt")[0]) == 4
    assert other.row_counts() == "rows: 6 read = 4 train + 1 for MLM training alone + 1 without text, left out"
    assert any("without a label that are used for MLM training alone: 1" in note for note in other.notes)


def test_unlabelled_test_rows_are_never_trained_on(out, tmp_path):
    train = write_csv(tmp_path / "t.csv", [("a", "x"), ("b", "y")])
    test = write_csv(tmp_path / "p.csv", [("a b", "x"), ("b a", "")])
    report = prepare(options(out, train=(train,), test=(test,), val_fraction=0, unlabelled_rows="mlm"))
    assert report.row_counts() == "rows: 4 read = 2 train + 1 test + 1 without a label, left out"


def test_labels_are_not_asked_for_where_none_is_used(out, tmp_path):
    to_fill = write_csv(tmp_path / "f.csv", [(f"a film {i}", "") for i in range(6)])
    report = prepare(options(out, inputs=(to_fill,), task="mlm"))
    assert report.row_counts() == "rows: 6 read = 4 train + 1 val + 1 test"
    train = tmp_path / "t.csv"
    train.write_text("text,mood\n" + "".join(f"film {i},{'ab'[i % 2]}\n" for i in range(20)))
    extra = tmp_path / "e.csv"
    extra.write_text("text\nplain\n")
    read = ReadOptions(label_column="mood")
    report = prepare(options(tmp_path / "e", train=(train,), extra_text=(extra,), read=read))
    assert report.row_counts() == "rows: 21 read = 18 train + 2 val + 1 for MLM training alone"
    prepare(options(tmp_path / "m", train=(extra,), read=read, task="mlm", val_fraction=0))


def test_partly_labelled_text_for_mlm_keeps_its_labels_beside_the_splits(out, tmp_path):
    path = write_csv(tmp_path / "p.csv", [(f"word {i}", "a" if i % 2 else "") for i in range(10)])
    prepare(options(out, inputs=(path,), task="mlm"))
    rows = [row for split in ("train", "val", "test") for row in _read(out / f"splits/{split}.csv")]
    assert sorted(rows) == sorted([f"word {i}", "a" if i % 2 else ""] for i in range(10))


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "likely"}, "no column 'label', but 'Class name'.*--label-column 'Class name'.*--task mlm"),
        ({"inputs": "likely", "task": "cls"}, "has no labels.*'Class name'"),
        ({"inputs": "empty"}, "the column 'label' has no label in any row.*--task mlm"),
        ({"inputs": "broken"}, "line 2: the label 'x.ny' has a line break"),
        ({"train": "t", "test": "empty"}, "empty.csv: has no labels, which classification needs"),
        ({"train": "txt", "test": "t"}, "a.txt: has no labels, which classification needs"),
        ({"inputs": "t", "unlabelled_rows": "drop", "task": "mlm"}, "leave --unlabelled-rows out"),
        ({"inputs": "t", "unlabelled_rows": "mlm", "task": "cls"}, "makes no MLM rows"),
        ({"inputs": "txt", "unlabelled_rows": "drop"}, "no row has a label"),
    ],
)
def test_missing_labels_are_named(tmp_path, out, table, changes, message):
    files = {"t": table, "txt": tmp_path / "a.txt", "likely": tmp_path / "likely.csv"}
    files["txt"].write_text("one\ntwo\n")
    files["likely"].write_text("text,Class name\none,a\ntwo,b\n")
    files["empty"] = write_csv(tmp_path / "empty.csv", [("one", ""), ("two", " ")])
    files["broken"] = write_csv(tmp_path / "broken.csv", [("one", "x\ny"), ("two", "z")])
    refused(out, files, changes, message)


ROWS = st.lists(st.tuples(st.sampled_from(["", "a", "b c", "d\ne"]), st.sampled_from(["", "x", "y"])), max_size=8)


@given(rows=ROWS, unlabelled=st.sampled_from(["mlm", "drop"]), skip=st.booleans(), deduplicate=st.booleans())
@settings(deadline=None, derandomize=True, max_examples=20)
def test_strangers_every_row_is_accounted_for(rows, unlabelled, skip, deduplicate):
    with tempfile.TemporaryDirectory() as folder:
        path = write_csv(Path(folder) / "t.csv", [("one", "x"), ("two", "y"), *rows])
        choices = {"unlabelled_rows": unlabelled, "skip_empty": skip, "deduplicate": deduplicate}
        if not skip and any(label and not text for text, label in rows):
            with pytest.raises(UserError, match=r"labelled rows? ha(s|ve) no text"):
                prepare(options(Path(folder) / "out", train=(path,), val_fraction=0, **choices))
            return
        report = prepare(options(Path(folder) / "out", train=(path,), val_fraction=0, **choices))
        left_out = sum(report.empty.values()) + report.unlabelled + report.repeated
        assert report.rows_read == len(rows) + 2 == sum(report.rows_used.values()) + left_out
        assert report.splits["train"].cls_rows == report.rows_used["train"]
