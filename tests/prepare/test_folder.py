"""The dataset folder: what is written, and what is there stays unless it may be replaced."""

import csv
import json

import numpy as np
import pytest

from tests.prepare.cases import options, snapshot
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare import pipeline
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


def test_rows_are_those_of_the_written_split(out, table):
    prepare(options(out, inputs=(table,)))
    wrapper = WordPieceTokenizerWrapper().load(out / "vocab")
    names = (out / "labels.txt").read_text().split()
    rows = []
    for split in ("train", "val", "test"):
        with (out / "splits" / f"{split}.csv").open(newline="") as file:
            part = list(csv.DictReader(file))
        ids, mask, labels = read_tensors(out / "cls" / f"{split}.pt")
        expected = wrapper.encode([row["text"] for row in part], max_length=12)
        np.testing.assert_array_equal(ids, expected.input_ids)
        np.testing.assert_array_equal(mask, expected.attention_mask)
        assert [names[label] for label in labels] == [row["label"] for row in part]
        rows += [(row["text"], row["label"]) for row in part]
    with table.open(newline="") as file:
        assert sorted(rows) == sorted((row["text"], row["label"]) for row in csv.DictReader(file))


def test_same_options_same_bytes_but_for_the_path(out, table, tmp_path):
    prepare(options(out, inputs=(table,)))
    other = tmp_path / "other"
    prepare(options(other, inputs=(table,)))
    first, second = snapshot(out), snapshot(other)
    assert list(first.values()) == list(second.values())
    prepare(options(tmp_path / "third", inputs=(table,), seed=1))
    assert (tmp_path / "third" / "splits" / "val.csv").read_bytes() != (out / "splits" / "val.csv").read_bytes()


def test_dataset_json(out, table):
    report = prepare(options(out, inputs=(table,)))
    made = json.loads((out / "dataset.json").read_text())
    wrapper = WordPieceTokenizerWrapper().load(out / "vocab")
    vocabulary = made["vocabulary"]
    assert (vocabulary["size"], vocabulary["fingerprint"]) == (wrapper.vocab_size, wrapper.fingerprint)
    assert (vocabulary["lowercase"], vocabulary["strip_accents"]) == (True, False)
    assert (made["max_length"], made["seed"], made["task"]) == (12, 42, "both")
    assert made["label_names"] == ["fast", "slow"]
    assert made["splits"]["train"]["cls_rows"] == 32
    assert made["sources"][0]["path"] == str(table)
    assert len(made["sources"][0]["sha256"]) == 64
    assert report.fingerprint == wrapper.fingerprint


def test_what_is_there_is_not_overwritten(out, table, tmp_path):
    prepare(options(out, inputs=(table,)))
    before = snapshot(out)
    with pytest.raises(UserError, match=r"holds a dataset already.*--force"):
        prepare(options(out, inputs=(table,), seed=3))
    assert snapshot(out) == before
    prepare(options(out, inputs=(table,), seed=3, force=True))
    assert snapshot(out) != before
    assert [p.name for p in out.parent.iterdir()] == ["animals"]
    for force in (False, True):
        with pytest.raises(UserError, match="holds something else"):
            prepare(options(tmp_path, inputs=(table,), force=force))
    with pytest.raises(UserError, match="is no folder"):
        prepare(options(table, inputs=(table,), force=True))


def test_an_interrupted_run_leaves_nothing_and_keeps_what_was_there(out, table, monkeypatch):
    prepare(options(out, inputs=(table,)))
    before = snapshot(out)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write_description", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(options(out, inputs=(table,), seed=3, force=True))
    assert snapshot(out) == before
    assert [p.name for p in out.parent.iterdir()] == ["animals"]
