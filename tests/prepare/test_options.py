"""Options that make no sense are refused by the flag's name."""

import pytest

from tests.prepare.cases import options, refused, write_csv
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.texts import ReadOptions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either INPUT files.*or --train"),
        ({"inputs": "t", "train": "t"}, "either INPUT files.*or --train"),
        ({"inputs": "t", "test": "t"}, "--val and --test go with --train"),
        ({"inputs": "t", "val_fraction": 1.5}, "--val-fraction 1.5"),
        ({"inputs": "t", "val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"inputs": "t", "max_length": 2}, "--max-length 2"),
        ({"inputs": "t", "cls_max_length": 11}, "--cls-max-length 11 is below --max-length 12"),
        ({"inputs": "t", "task": "mlm", "cls_max_length": 20}, "--task mlm .*: leave --cls-max-length out"),
        ({"inputs": "txt", "cls_max_length": 20}, "no row has a label, and --cls-max-length is"),
        ({"inputs": "t", "seed": -1}, "--seed -1"),
        ({"inputs": "t", "shard_size": 0}, "--shard-size 0 must be at least 1: it is the rows of a file"),
        ({"inputs": "txt", "shard_size": 5, "skip_empty": True}, "no row has a label, and --skip-empty is"),
        ({"inputs": "t", "vocab": "t"}, "--vocab-size is for training one"),
        ({"inputs": "t", "vocab_size": 0}, "--vocab-size 0 must be at least 1"),
        ({"inputs": "t", "min_frequency": -2}, "--min-frequency -2 must be at least 1"),
        ({"inputs": "t", "limit_alphabet": 0}, "--limit-alphabet 0 must be at least 1"),
        ({"inputs": "t", "max_word_length": 0}, "--max-word-length 0 must be at least 1"),
        ({"inputs": "t", "max_word_length": 1001}, "--max-word-length 1001 must be at most 1000"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "max_word_length": 9}, "--max-word-length is for training"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "strip_accents": True}, "--strip-accents is for training"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "min_frequency": 3}, "--min-frequency is for training"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "lowercase": True}, "--lowercase is for training"),
        ({"inputs": "t", "vocab_size": None, "vocab": "t", "lowercase": False}, "--no-lowercase is for training"),
        ({"train": "t", "val": "t", "val_fraction": 0.1}, "--val-fraction splits some off: give one of the two"),
        ({"train": "t", "test_fraction": 0.1}, "--test-fraction splits rows off INPUT"),
        ({"inputs": "t", "task": "cls", "long_texts": "split"}, "--long-texts is for MLM rows"),
        ({"inputs": "t", "task": "mlm", "label_names": "t"}, "--task mlm .*: leave --label-names out"),
        ({"inputs": "t", "task": "mlm", "accept_labels": True}, "--task mlm .*: leave --accept-labels out"),
        ({"inputs": "t", "task": "mlm", "skip_empty": True}, "--task mlm .*: leave --skip-empty out"),
        ({"inputs": "txt", "label_names": "t"}, "no row has a label, and --label-names is for rows that have one"),
        ({"inputs": "txt", "accept_labels": True}, "no row has a label, and --accept-labels is"),
        ({"inputs": "txt", "skip_empty": True}, "no row has a label, and --skip-empty is"),
        ({"inputs": "txt", "read": ReadOptions(label_column="topic")}, "--label-column says how csv, tsv, jsonl and"),
        ({"inputs": "txt", "read": ReadOptions(quoting="auto")}, "--quoting says how csv and tsv files"),
        ({"inputs": "t", "read": ReadOptions(text_unit="line")}, "--text-unit says how txt files"),
    ],
)
def test_faulty_options_are_refused(out, table, tmp_path, changes, message):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    refused(out, {"t": table, "txt": tmp_path / "a.txt"}, changes, message)


def test_options_that_one_of_the_files_has_a_use_for_are_taken(out, table, tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\nthree\n")
    read = ReadOptions(label_column="label", text_unit="paragraph", delimiter=",", encoding="utf-8")
    report = prepare(options(out, train=(table,), extra_text=(tmp_path / "a.txt",), read=read, long_texts="split"))
    assert report.row_counts() == "rows: 42 read = 36 train + 4 val + 2 for MLM training alone"
    # a fraction of 0 asks for what is done
    none = {"val_fraction": 0, "test_fraction": 0, "force": True}
    report = prepare(options(out, train=(table,), val=(table,), **none))
    assert report.row_counts() == "rows: 80 read = 40 train + 40 val"
    # with --task mlm, the labels decide the split
    prepare(options(out, inputs=(table,), task="mlm", read=ReadOptions(label_column="label"), force=True))


def test_a_column_of_labels_that_only_extra_text_has_is_refused(out, tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    extra = write_csv(tmp_path / "e.csv", [("three", "x")])
    changes = {"train": "txt", "extra_text": (extra,), "read": ReadOptions(label_column="label")}
    refused(out, {"txt": tmp_path / "a.txt"}, changes, "no row has a label, and --label-column is for")
