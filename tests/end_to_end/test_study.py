"""A study with the real commands: data prepared, models trained, interrupted, tested."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.study.cases import write_texts
from textclf_jax.cli import main
from textclf_jax.observe.progress import Progress
from textclf_jax.study import running
from textclf_jax.training.budget import RunCost
from textclf_jax.training.speed import MeasuredLength


@pytest.mark.slow  # three runs are compiled and trained
def test_a_study_is_interrupted_goes_on_and_agrees_with_its_runs(tmp_path, monkeypatch, capsys):
    """The figures of a model are those of the test that its run has made itself."""
    write_texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    length = MeasuredLength(6, 6, RunCost(1.0, 0.5, 1.0, 1.0, 1, 1, 0), 1.0)
    monkeypatch.setattr(running, "length_within", lambda *_, **__: length)
    command = ["study", "--train", "train.csv", "--val", "val.csv", "--test", "test.csv", "--out", "studies/toy"]
    command += ["--minutes", "2", "--seeds", "1", "--preset", "bert-tiny", "--vocab-size", "120", "--max-length", "16"]
    command += ["--methods", "tfidf", "pretrained"]
    original = Progress.update

    def update(self, update, **figures):
        original(self, update, **figures)
        if update == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", update)
        assert main(command) == 130
    assert "the study is not finished; the same command goes on" in capsys.readouterr().out
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "resuming after step" in shown
    assert "study toy: 30 test rows, 1 seeds" in shown
    results = json.loads(Path("studies/toy/results.json").read_text())
    tested = json.loads(Path("experiments/finetuning/toy-pretrained-seed1/summary.json").read_text())["results"]["test"]
    (pretrained,) = (each for each in results["methods"] if each["method"] == "pretrained")
    assert pretrained["accuracy"]["value"] == pytest.approx(tested["accuracy"])
    assert pretrained["f1_macro"]["value"] == pytest.approx(tested["f1_macro"])
    assert results["methods"][0]["accuracy"]["value"] == 1.0
    assert results["parts"][0]["seconds"][0] > 0
    # sport, money, sky, by their numbers in labels.txt
    assert np.load("studies/toy/predictions/true.npy").tolist() == [2, 0, 1] * 10
