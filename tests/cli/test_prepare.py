"""`textclf prepare` as a command."""

import argparse
import subprocess
import sys

import pytest

from textclf_jax.cli import prepare
from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions


def run(*arguments):
    parser = argparse.ArgumentParser()
    prepare.add_parser(parser.add_subparsers())
    args = parser.parse_args(["prepare", *map(str, arguments)])
    return prepare.run(args)


@pytest.fixture
def table(tmp_path):
    rows = "".join(f'"the number {i}, written",{"odd" if i % 2 else "even"}\n' for i in range(30))
    (tmp_path / "all.csv").write_text("body,kind\n" + rows)
    return tmp_path / "all.csv"


def test_a_dataset_and_its_summary(table, tmp_path, capsys):
    out = tmp_path / "data" / "numbers"
    columns = ("--text-column", "body", "--label-column", "kind")
    assert run(table, "--out", out, *columns, "--vocab-size", 80, "--max-length", 16) == 0
    assert (out / "cls" / "train.pt").is_file()
    printed = capsys.readouterr()
    assert "classes: 2 (even, odd)" in printed.out
    assert "rows: 30 read = 24 train + 3 val + 3 test" in printed.out
    assert "[UNK]" in printed.out
    assert "is ready" in printed.out
    assert printed.err.splitlines()[0] == "reading"
    assert "encoding train for MLM" in printed.err
    assert "\x1b" not in printed.out + printed.err


def test_how_files_were_read_is_said(tmp_path, capsys):
    rows = "".join(f'"Said {i}.\t{"ab"[i % 2]}\n and more {i}."\t{"ab"[i % 2]}\n' for i in range(10))
    (tmp_path / "speech.csv").write_bytes(("text\tlabel\n" + rows).encode("utf-16"))
    assert run(tmp_path / "speech.csv", "--out", tmp_path / "data", "--vocab-size", 80) == 0
    printed = capsys.readouterr().out
    assert "rows: 20 read = 16 train + 2 val + 2 test" in printed
    for note in ("it is UTF-16", "separated by tab", "quotation marks are plain characters", "20 rows would be 10"):
        assert note in printed


FLAGS = """
    --train a.csv b.csv --val c.csv --test d.csv --extra-text e.txt --out o --force --seed 7 --text-column t
    --label-column l --label-names n --no-quotes --delimiter pipe --encoding cp1252 --text-unit paragraph
    --deduplicate --skip-empty --unlabelled-rows drop --task cls
    --max-length 9 --cls-max-length 20 --long-texts truncate --vocab v --no-lowercase --min-frequency 4
    --strip-accents --limit-alphabet 50 --max-word-length 60
"""


def test_flags_reach_the_options():
    parser = argparse.ArgumentParser()
    prepare.add_parser(parser.add_subparsers())
    args = parser.parse_args(["prepare", *FLAGS.split()])
    options = prepare.prepare_options(args)
    assert [path.name for path in options.train] == ["a.csv", "b.csv"]
    assert [path.name for paths in (options.val, options.test, options.extra_text) for path in paths] == [
        "c.csv",
        "d.csv",
        "e.txt",
    ]
    assert options.read == ReadOptions("t", "l", "off", "|", "cp1252", "paragraph")
    assert options.unlabelled_rows == "drop"
    assert (options.force, options.deduplicate, options.skip_empty, options.lowercase) == (True, True, True, False)
    assert (options.seed, options.max_length, options.min_frequency, options.vocab_size) == (7, 9, 4, None)
    assert options.cls_max_length == 20
    assert (options.strip_accents, options.limit_alphabet, options.max_word_length) == (True, 50, 60)
    assert (options.task, options.long_texts, str(options.vocab), str(options.label_names)) == (
        "cls",
        "truncate",
        "v",
        "n",
    )


def test_shards_and_their_summary(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("".join(f"the number {i} is written\n" for i in range(30)))
    out = tmp_path / "data" / "numbers"
    flags = ("--shard-size", 10, "--vocab-size", 80, "--max-length", 16)
    assert run(tmp_path / "a.txt", "--out", out, *flags) == 0
    names = ["test-00000.pt", "train-00000.pt", "train-00001.pt", "train-00002.pt", "val-00000.pt"]
    assert sorted(path.name for path in (out / "mlm").iterdir()) == names
    printed = capsys.readouterr()
    assert "rows: 30 read = 24 train + 3 val + 3 test" in printed.out
    assert printed.err.splitlines() == [
        "reading",
        "training the vocabulary",
        "encoding",
        "writing the texts of the splits",
    ]


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, textclf_jax.cli.prepare; "
        "assert not {'torch', 'jax', 'tokenizers', 'numpy', 'rich', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_vocabulary_that_no_run_would_take_is_refused_before_encoding(table, tmp_path):
    columns = ("--text-column", "body", "--label-column", "kind")
    words = ["a", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "b"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(UserError, match=r"vocab\.txt: the id of \[PAD\] is 5; it must be 0"):
        run(table, "--out", tmp_path / "data", *columns, "--vocab", tmp_path / "vocab.txt")
    assert not (tmp_path / "data").exists()
