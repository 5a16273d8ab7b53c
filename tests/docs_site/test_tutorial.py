"""The tutorial, command by command as it stands there, on a smaller csv of the same making."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs_site.tutorial import commands, python_code
from tests.examples.packages import write_packages
from tests.test_docs import ROOT
from textclf_jax.cli import main


@pytest.mark.slow
def test_the_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    packages = write_packages(tmp_path / "packages")
    (python, script, *words), *others = commands()
    assert python == "python"
    subprocess.run([sys.executable, ROOT / script, *words, "--packages", packages, "--rows", "40"], check=True)
    for program, *words in others:
        assert program == "textclf"
        assert main(words) == 0, words
    assert [name for _, name, *_ in others] == [
        *("check", "prepare", "new", "pretrain", "new", "finetune", "report", "predict", "predict"),
    ]
    with open("data/docstrings.csv", newline="") as given, open("data/labelled.csv", newline="") as made:
        rows, labelled = list(csv.DictReader(given)), list(csv.DictReader(made))
    assert [row["text"] for row in labelled] == [row["text"] for row in rows]
    agreed = sum(row["label"] == row["predicted_label"] for row in labelled)
    assert agreed > 0.8 * len(rows)  # they are told apart by their words
    for file in ("report.html", "MODEL_CARD.md", "learning_curves.png"):
        assert Path("experiments/finetuning/packages", file).is_file()
    capsys.readouterr()
    names: dict[str, object] = {}
    exec(python_code(), names)
    assert {row["label"] for row in rows} == set(names["classifier"].labels)  # pyright: ignore[reportAttributeAccessIssue]
