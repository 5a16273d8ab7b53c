"""Shards of streamed texts: the rows of one file, in constant memory, and a killed command goes on."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.prepare.cases import options, snapshot, write_csv
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare import streamed
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.texts import ReadOptions
from textclf_jax.tokenizer import wordpiece_tokenizer_wrapper as wrapper

WORDS = ("river", "stone", "Lantern", "caf\u00e9", "walk", "the", "under", "7", "\u6f22")


def texts(count: int, seed: int) -> list[str]:
    """Texts of 1 to 40 words; some repeat, some are blank, control characters alone, or have an unknown word."""
    rng = np.random.default_rng(seed)
    lines = [" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(count)]
    lines[count // 3] = lines[0]
    lines[count // 2] = lines[count - 1]
    lines[2], lines[5], lines[7] = "  ", "\u0085\u0086", "x" * 101
    return lines


@pytest.fixture
def files(tmp_path):
    """Texts in three kinds of files, and some of them twice; a row of `notes` is none."""
    a, b = texts(120, 0), texts(60, 1)
    (tmp_path / "a.txt").write_text("\n".join([*a, ""]), "utf-8")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*b, *a[:9]]), "utf-8")
    write_csv(tmp_path / "c.csv", [(text, "some label") for text in [*texts(40, 2), *b[:3]]])
    return {name: tmp_path / name for name in ("a.txt", "b.jsonl", "c.csv")}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """So that a split has many batches, some of which end in a shard."""
    monkeypatch.setattr(streamed, "CHARACTERS_PER_BATCH", 700)
    monkeypatch.setattr(wrapper, "CHARACTERS_PER_BATCH", 700)


def rows_of(folder: Path, task: str, pattern: str) -> tuple[list[int], list[np.ndarray]]:
    """The rows of each file of a split, and the tensors of all of them."""
    found = [torch.load(path, weights_only=False).tensors for path in sorted((folder / task).glob(pattern))]
    return [len(tensors[0]) for tensors in found], [np.concatenate(each) for each in zip(*found, strict=True)]


def described(folder: Path) -> dict[str, Any]:
    """dataset.json, without what may differ."""
    content = json.loads((folder / "dataset.json").read_text("utf-8"))
    del content["shard_size"]
    for split in content["splits"].values():
        del split["unknown_words"]["missing"]  # the most frequent of a batch, not of the split
    return content


CASES = {
    "drawn": {"inputs": ("a.txt", "b.jsonl")},
    "given": {"train": ("a.txt",), "val": ("b.jsonl",), "extra_text": ("c.csv",)},
    "distinct": {"inputs": ("a.txt", "b.jsonl"), "extra_text": ("c.csv",), "deduplicate": True},
    "all given": {"train": ("a.txt",), "val": ("b.jsonl",), "test": ("b.jsonl",), "val_fraction": 0.0},
    "no repeats": {"train": ("a.txt",), "test": ("b.jsonl",), "deduplicate": True},
    "truncated": {"inputs": ("a.txt",), "long_texts": "truncate", "task": "mlm", "test_fraction": 0.0},
    "documents": {"inputs": ("a.txt",), "read": ReadOptions(text_unit="document"), "test_fraction": 0.2},
}


def case(name: str, files: dict[str, Path], out: Path, **changes: Any) -> PrepareOptions:
    given = {
        key: tuple(files[each] for each in value) if isinstance(value, tuple) else value
        for key, value in CASES[name].items()
    }
    return options(out, **given, **changes)


@pytest.mark.parametrize("name", CASES)
def test_shards_have_the_rows_of_one_file(tmp_path, files, name):
    """And all else of the folder is the same, too: vocabulary, figures, texts of the splits."""
    if name == "documents":
        files["a.txt"].write_text("\n\n\n".join(texts(120, 0)), "utf-8")
    one, several = tmp_path / "data" / "one", tmp_path / "data" / "several"
    reports = prepare(case(name, files, one)), prepare(case(name, files, several, shard_size=20))
    for split in reports[0].splits:
        sizes, rows = rows_of(several, "mlm", f"{split}-*.pt")
        assert sizes[:-1] == [20] * (len(sizes) - 1)
        assert 0 < sizes[-1] <= 20
        for ours, expected in zip(rows, rows_of(one, "mlm", f"{split}.pt")[1], strict=True):
            np.testing.assert_array_equal(ours, expected)
            assert ours.dtype == expected.dtype
    assert described(several) == described(one)
    assert reports[1].row_counts() == reports[0].row_counts()
    assert list(reports[1].advice(12)) == list(reports[0].advice(12))
    others = [
        {path.relative_to(folder): content for path, content in snapshot(folder).items() if path.suffix != ".pt"}
        for folder in (one, several)
    ]
    for each in others:
        del each[Path("dataset.json")]
    assert others[0] == others[1]
    assert [path.name for path in several.parent.iterdir() if path.name.startswith(".")] == []


def test_labelled_texts_are_in_shards_too(tmp_path, files, table):
    one, several = tmp_path / "one", tmp_path / "several"
    prepare(options(one, inputs=(table,)))
    report = prepare(options(several, inputs=(table,), shard_size=7))
    assert "The texts have labels: all of them were in memory. Unlabelled files are streamed instead." in report.notes
    for task in ("mlm", "cls"):
        sizes, rows = rows_of(several, task, "train-*.pt")
        assert sizes == [7, 7, 7, 7, 4]
        for ours, expected in zip(rows, rows_of(one, task, "train.pt")[1], strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_a_killed_command_goes_on_with_the_shards_that_are_there(tmp_path, files, monkeypatch):
    """Killed at each second file in turn, all in one dataset: nothing that was done is done again."""
    out, whole = tmp_path / "data" / "a", tmp_path / "data" / "whole"
    prepare(case("distinct", files, whole, shard_size=20))
    written, trained, limit = [], [], 2

    def counting(path: Path, *arrays: np.ndarray) -> None:
        if len(written) == limit:
            raise KeyboardInterrupt
        write_tensors(path, *arrays)
        written.append(path.name)

    def training(*arguments):
        trained.append(1)
        return make_vocabulary(*arguments)

    make_vocabulary = streamed.make_vocabulary
    monkeypatch.setattr(streamed, "write_tensors", counting)
    monkeypatch.setattr(streamed, "make_vocabulary", training)
    stages: list[str] = []
    while not out.exists():
        try:
            prepare(case("distinct", files, out, shard_size=20), lambda what, *_: stages.append(what))
        except KeyboardInterrupt:
            assert {path.name for path in out.parent.iterdir()} == {"whole", ".a.unfinished"}
            limit += 2
    assert len(written) == len(set(written)) == len(list((whole / "mlm").iterdir())) > 6
    assert len(trained) == 1
    assert "going on after 4 finished shards" in stages
    assert snapshot(out).keys() == {out / path.relative_to(whole) for path in snapshot(whole)}
    for path, content in snapshot(whole).items():
        assert (out / path.relative_to(whole)).read_bytes() == content, path
    assert {path.name for path in out.parent.iterdir()} == {"a", "whole"}


@pytest.fixture
def unfinished(tmp_path, files, monkeypatch):
    """Options of a dataset of which one shard is there."""
    chosen = case("drawn", files, tmp_path / "data" / "a", shard_size=20)
    left = [1]

    def once(*arguments) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write_tensors(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(streamed, "write_tensors", once)
        with pytest.raises(KeyboardInterrupt):
            prepare(chosen)
    return chosen


def test_other_options_or_texts_are_not_mixed(unfinished, files, tmp_path):
    folder = tmp_path / "data" / ".a.unfinished"
    before = snapshot(folder)
    told = rf"{folder}: is an unfinished dataset that was begun with other options or texts \({{}}\)\. Undo.*--force"
    for changes, what in (
        ({"max_length": 10}, "max_length: 12 then, 10 now"),
        ({"shard_size": 30}, "shard_size: 20 then, 30 now"),
    ):
        with pytest.raises(UserError, match=told.format(what)):
            prepare(replace(unfinished, **changes))
    text = files["a.txt"].read_text("utf-8")
    files["a.txt"].write_text(text + "one more\n", "utf-8")
    with pytest.raises(UserError, match=r"input .*/a\.txt: [0-9a-f]{16} then, [0-9a-f]{16} now"):
        prepare(unfinished)
    assert snapshot(folder) == before
    prepare(replace(unfinished, force=True))
    assert not folder.exists()
    assert rows_of(unfinished.out, "mlm", "train-*.pt")[0][0] == 20


def test_a_second_process_is_kept_out(unfinished, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "data" / ".a.unfinished" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is making this dataset"):
            prepare(unfinished)
    prepare(unfinished)


def test_a_vocabulary_that_changed_meanwhile_is_refused(tmp_path, files, monkeypatch):
    prepare(case("drawn", files, tmp_path / "other"))
    vocabulary = tmp_path / "other" / "vocab"
    chosen = replace(case("drawn", files, tmp_path / "a", shard_size=20), vocab=vocabulary, vocab_size=None)

    def stop(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(streamed, "write_tensors", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(chosen)
    (vocabulary / "tokenizer.json").unlink()
    words = (vocabulary / "vocab.txt").read_text("utf-8").split("\n")
    (vocabulary / "vocab.txt").write_text("\n".join([*words[:5], words[6], words[5], *words[7:]]), "utf-8")
    with pytest.raises(UserError, match="vocab: has changed since the dataset was begun"):
        prepare(chosen)


def test_options_that_make_nothing_of_use_leave_nothing(tmp_path, files):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nnone\n")
    chosen = case("drawn", files, tmp_path / "data" / "a", shard_size=20)
    with pytest.raises(UserError, match=r"of the tokens of the train split are \[UNK\]"):
        prepare(replace(chosen, vocab=tmp_path / "vocab.txt", vocab_size=None))
    (tmp_path / "vocab.txt").write_text("none\n")
    with pytest.raises(UserError, match="the vocabulary lacks"):
        prepare(replace(chosen, vocab=tmp_path / "vocab.txt", vocab_size=None))
    assert list((tmp_path / "data").iterdir()) == []


def test_a_long_text_trains_the_vocabulary_by_a_sample_and_says_so(tmp_path, files, monkeypatch):
    monkeypatch.setattr(streamed, "VOCABULARY_CHARACTERS", 4000)
    report = prepare(case("drawn", files, tmp_path / "a", shard_size=20))
    total = len(files["a.txt"].read_text("utf-8")) + len(files["b.jsonl"].read_text("utf-8"))
    (note,) = report.notes
    every = int(note.split("one of ")[1].split()[0])
    assert note == f"The vocabulary is trained on a sample: one of {every} training texts."
    assert 2 <= every <= -(-total // 4000)


MEASURED = """
import re, sys
from pathlib import Path
from textclf_jax.prepare import streamed
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.tokenizer import wordpiece_tokenizer_wrapper as wrapper
streamed.CHARACTERS_PER_BATCH = wrapper.CHARACTERS_PER_BATCH = 200_000
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
def make(name):
    prepare(PrepareOptions(
        Path(name), inputs=(Path(name + ".txt"),), vocab=Path("vocab.txt"), max_length=32, shard_size=2000
    ))
    return peak()
small = make("small")
print(make("large") - small)
"""


def test_memory_does_not_follow_the_texts(tmp_path):
    """Of 16 MB of text in lines of 2,000 characters; its ids alone would take 20 MB."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlantern\nriver\n")
    for name, count in (("small", 800), ("large", 8000)):
        lines = (f"{'lantern river ' * 143} {i % 100}\n" for i in range(count))
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    done = subprocess.run([sys.executable, "-c", MEASURED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 8
