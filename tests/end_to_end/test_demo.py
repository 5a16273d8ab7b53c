"""The demo's driver, from packages to the last table, with a toy corpus and a toy model."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.packages import write_packages

DEMO = Path(__file__).resolve().parent.parent.parent / "examples" / "demo.py"


def demo(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DEMO, "--quick", *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=3600
    )


@pytest.mark.slow
def test_the_demo(tmp_path):
    """It replaces what an earlier demo left, and its classifier has learned."""
    packages, work = write_packages(tmp_path / "packages"), tmp_path / "work"
    for kind in ("pretraining", "finetuning"):
        (work / "experiments" / kind / "demo").mkdir(parents=True)
        (work / "experiments" / kind / "demo" / "old").touch()
    done = demo(work, "--packages", packages)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(work.rglob("old")) == []
    test = json.loads((work / "experiments/finetuning/demo/summary.json").read_text())["results"]["test"]
    assert test["accuracy"] > 0.6  # three classes, told apart by their words
    with (work / "data/demo-texts/test.csv").open(newline="") as file:
        assert test["num_examples"] == len(list(csv.DictReader(file)))
    for command in ("prepare", "pretrain", "finetune", "baseline", "predict"):
        assert f"-m textclf_jax {command}" in done.stdout
    tail = done.stdout[done.stdout.index("test results") :]
    models = ("majority class", "TF-IDF + logistic regression", "linear path alone", "encoder alone, from scratch")
    models += ("encoder alone, pretrained", "from scratch, with linear path", "pretrained, with linear path")
    for row in (*models, "total", "try next"):
        assert row in tail
    assert f"{test['accuracy']:.4f}" in tail


def test_a_failed_step_ends_the_demo_with_its_exit_code(tmp_path):
    """A folder where the dataset belongs, but which is none, makes `prepare` refuse."""
    (tmp_path / "work/data/demo").mkdir(parents=True)
    (tmp_path / "work/data/demo/thesis.tex").write_text("not a dataset")
    done = demo(tmp_path / "work", "--packages", write_packages(tmp_path / "packages"))
    assert done.returncode == 2
    assert "the demo stops here: exit code 2" in done.stderr
    assert "pretrain" not in done.stdout
    assert (tmp_path / "work/data/demo/thesis.tex").read_text() == "not a dataset"
