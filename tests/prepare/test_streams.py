"""Which texts there are, and to which split each belongs, by hashes alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prepare.cases import options
from textclf_jax.errors import UserError
from textclf_jax.prepare.pipeline import read_splits
from textclf_jax.prepare.report import Report
from textclf_jax.prepare.streams import scan

FEW = st.lists(st.sampled_from(["a", "b", "c", "d", "", "e f"]), min_size=1, max_size=14)


def written(folder: Path, name: str, lines: list[str]) -> tuple[Path, ...]:
    (folder / f"{name}.txt").write_text("".join(line + "\n" for line in lines))
    return (folder / f"{name}.txt",)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(FEW, FEW, FEW, st.booleans(), st.booleans(), st.integers(0, 9))
def test_splits_and_counts_are_those_of_texts_in_memory(tmp_path_factory, one, two, three, is_given, drop, seed):
    """Repeated texts within and between splits, blank lines and refusals included."""
    folder = tmp_path_factory.mktemp("texts")
    sources = {"train": one, "test": two} if is_given else {"inputs": one}
    paths = {name: written(folder, name, lines) for name, lines in {**sources, "extra_text": three}.items()}
    chosen = options(folder / "out", **paths, deduplicate=drop, seed=seed, shard_size=5)
    try:
        expected = read_splits(chosen, before := Report())
    except UserError as error:
        told = re.escape(str(error))
        with pytest.raises(UserError, match=f"^{told}$"):
            scan(chosen, Report())
        return
    streams = scan(chosen, report := Report())
    assert streams is not None
    assert report == before
    found: dict[str, list[str]] = {}
    for name, text in streams.texts():
        found.setdefault(name, []).append(text)
    rows = {name: [row.text for row in part] for name, part in expected.splits.items()}
    rows["train"] += [row.text for row in expected.extra]
    assert found == rows
    assert streams.names == list(expected.splits)
    assert len(streams) == sum(map(len, rows.values()))
    alone = [text for name, text in streams.texts(with_extra=False) if name == "train"]
    assert alone == [row.text for row in expected.splits["train"]]


def test_labelled_texts_are_not_streamed(tmp_path, table):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two", "label": "x"}\n')
    for paths, changes in (((table,), {}), ((tmp_path / "a.jsonl",), {}), ((table,), {"task": "mlm"})):
        report = Report()
        assert scan(options(tmp_path / "out", inputs=paths, **changes), report) is None
        assert report == Report()
    assert scan(options(tmp_path / "out", inputs=written(tmp_path, "a", ["x"]), task="cls"), Report()) is None


def test_columns_that_look_like_labels_are_pointed_out(tmp_path):
    (tmp_path / "a.csv").write_text("text,topic\n" + "one,x\ntwo,y\n" * 20)
    with pytest.raises(UserError, match=r"has no column 'label', but 'topic'.*pass --task mlm"):
        scan(options(tmp_path / "out", inputs=(tmp_path / "a.csv",)), Report())
    assert scan(options(tmp_path / "out", inputs=(tmp_path / "a.csv",), task="mlm"), Report()) is not None


@pytest.mark.parametrize("lines", [["a", "b"], ["a", "b", "c", "d"]])
def test_files_that_change_meanwhile_are_told(tmp_path, lines):
    streams = scan(options(tmp_path / "out", inputs=written(tmp_path, "a", ["a", "b", "c"])), Report())
    assert streams is not None
    written(tmp_path, "a", lines)
    with pytest.raises(UserError, match=r"a\.txt: has changed while it was read"):
        list(streams.texts())


def test_a_sample_is_spread_over_the_training_texts(tmp_path):
    lines = [f"{i:09d}" for i in range(100)]
    paths = {"train": written(tmp_path, "a", lines[:80]), "extra_text": written(tmp_path, "b", lines[80:])}
    streams = scan(options(tmp_path / "out", **paths, val_fraction=0.0), Report())
    assert streams is not None
    for characters, every in ((900, 1), (899, 2), (100, 9)):
        sample, k = streams.sample(characters)
        assert k == every
        assert sample == lines[::every]
    assert np.unique(streams.parts["extra"]).tolist() == [0]
