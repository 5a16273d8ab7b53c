"""Commands in environments that are not UTF-8: names of folders, what goes into files, what a terminal shows."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from textclf_jax.cli import guarded, main

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LABELS = ("乙", "甲")


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "texts.csv"
    rows = [f"word number {i % 7},{LABELS[i % 2]}" for i in range(40)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


class Latin:
    """Standard output as a locale of ISO-8859-1 gives it.

    Attributes:
      bytes: what was written.
    """

    def __init__(self, monkeypatch):
        self.bytes = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(self.bytes, encoding="latin-1"))

    def said(self) -> str:
        sys.stdout.flush()
        return self.bytes.getvalue().decode("utf-8")


def test_preparing_ends_well_where_the_locale_lacks_the_labels(texts, tmp_path, monkeypatch):
    latin = Latin(monkeypatch)
    assert main(["prepare", str(texts), "--task", "cls", "--out", str(tmp_path / "data"), "--max-length", "16"]) == 0
    assert "乙" in latin.said()
    assert (tmp_path / "data/labels.txt").read_bytes().decode("utf-8").split() == sorted(LABELS)


def test_csv_and_json_are_utf8(monkeypatch):
    latin = Latin(monkeypatch)

    def command() -> int:
        csv.writer(sys.stdout, lineterminator="\n").writerow(["中文", 1])
        print(json.dumps({"text": "🙂"}, ensure_ascii=False))
        return 0

    assert guarded(command) == 0
    assert latin.said() == '中文,1\n{"text": "🙂"}\n'


def test_without_standard_output_a_command_still_works(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["prepare", str(texts), "--out", str(tmp_path / "data"), "--max-length", "16"]) == 0
    assert (tmp_path / "data/dataset.json").is_file()
    assert sys.stdout is not None
    sys.stdout.close()


@pytest.mark.parametrize(
    "arguments", [["prepare", "t\udce4xt.csv", "--out", "x"], ["prepare", "t.csv", "--out", "\udcff"]]
)
def test_a_name_that_is_no_text_is_a_message(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "this name is not UTF-8. Rename the file or folder.\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_folders_get_the_names_that_were_typed(texts, tmp_path):
    """In the C locale, with Python's own remedies for it switched off, and without a home."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    arguments = ["prepare", texts, "--out", "dät x/中", "--max-length", "16"]
    done = subprocess.run(
        [sys.executable, "-m", "textclf_jax", *arguments],
        cwd=tmp_path,
        env={**environment, **locale, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "dät x/中 is ready" in done.stdout.decode("utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"texts.csv", "dät x"}
    assert (tmp_path / "dät x/中/vocab/tokenizer.json").is_file()
