"""The package as a stranger installs it: built, unpacked elsewhere, used from an empty folder."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.serve.asking import predictions_of, server
from tests.test_docs import ROOT

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "configs", "textclf_jax")
# one process for several commands: each would import and trace everything anew
IN_TURN = """
import json, sys
from textclf_jax.cli import main
sys.exit(any(main(command) for command in json.loads(sys.argv[1])))
"""
SMALL = ("training.epochs=2", "training.batch_size=16", "architecture.num_layers=1")


def run(*command: str, cwd: Path, package: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with the package, from a wheel that was built from the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:  # building leaves files beside them
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    run("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})", cwd=source)
    (archive,) = folder.glob("*.tar.gz")
    run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(archive), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run("-m", "pip", "install", "-q", "--no-deps", "--target", str(folder / "site"), str(wheel), cwd=folder)
    return folder / "site"


@pytest.mark.slow
def test_from_a_csv_to_a_server_in_an_empty_folder(package, tmp_path):
    def textclf(*arguments: str) -> str:
        return run("-m", "textclf_jax", *arguments, cwd=tmp_path, package=package)

    where = run("-c", "import textclf_jax; print(textclf_jax.__file__)", cwd=tmp_path, package=package)
    assert Path(where.strip()).is_relative_to(package)
    words = {"sport": "the team won the match in extra time", "money": "shares of the bank fell after the forecast"}
    with open(tmp_path / "news.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"{text} {i} {label}", label] for i in range(100) for label, text in words.items())
    commands = [
        ["prepare", "news.csv", "--out", "data/news"],
        ["new", "pretraining", "news", "--data", "data/news", "--preset", "bert-tiny", "--set", *SMALL],
        ["pretrain", "news"],
        ["new", "finetuning", "topics", "news", "--data", "data/news", "--set", *SMALL[:2]],
        ["finetune", "topics"],
    ]
    run("-c", IN_TURN, json.dumps(commands), cwd=tmp_path, package=package)
    texts = ["the team lost the match", "the bank fell"]
    lines = textclf("predict", "topics", "--text", texts[0], "--text", texts[1], "--format", "json").splitlines()
    predicted = [json.loads(line) for line in lines]
    assert [p["label"] for p in predicted] == ["sport", "money"]
    with server(tmp_path, "topics", package=package) as url:
        served = predictions_of(url, texts=texts)
    assert [p["probabilities"] for p in served] == [p["probabilities"] for p in predicted]
    assert "wrote" in textclf("report", "topics")
    assert "textclf-jax" in textclf("doctor")
