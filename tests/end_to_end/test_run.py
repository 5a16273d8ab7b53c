"""`textclf run` with its real parts: checked, prepared, trained, interrupted, tested, reported."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.check.cases import make_rows, write
from textclf_jax.cli import main
from textclf_jax.observe.progress import Progress
from textclf_jax.training.budget import RunCost
from textclf_jax.verdict import running


@pytest.mark.slow  # four runs are compiled and trained
def test_from_a_csv_to_a_report_with_an_interruption(tmp_path, monkeypatch, capsys):
    """The figures are those of the runs' own tests, and the page says what the command says."""
    monkeypatch.chdir(tmp_path)
    write(Path("survey.csv"), make_rows(150), author=[f"a{i % 30}" for i in range(150)])
    cost = RunCost(5.0, 2.0, 1.0, 5.0, 4, 1, 0)  # a few updates for each
    monkeypatch.setattr(running, "measure_cost", lambda *_, **__: cost)
    monkeypatch.setattr(running.Run, "spent", 1.0)
    command = ["run", "survey.csv", "--budget", "3m", "--group-column", "author"]
    original = Progress.update

    def update(self, update, **figures):
        original(self, update, **figures)
        if update == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", update)
        assert main(command) == 143
    assert "to go on from here: textclf run survey.csv" in capsys.readouterr().out
    plan = json.loads(Path("runs/survey/run.json").read_text())["plan"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert json.loads(Path("runs/survey/run.json").read_text())["plan"] == plan
    assert plan["seeds"] == 1
    told = json.loads(Path("runs/survey/verdict.json").read_text())
    for each in told["results"]["methods"][2:]:
        name = each["by_seed"][0]["run"]
        tested = json.loads(Path(f"experiments/finetuning/{name}/summary.json").read_text())["results"]["test"]
        assert each["accuracy"]["value"] == pytest.approx(tested["accuracy"])
        assert each["f1_macro"]["value"] == pytest.approx(tested["f1_macro"])
        assert np.load(f"runs/survey/predictions/{name}.npy").shape == (told["results"]["test_rows"],)
    page = Path("runs/survey/report.html").read_text(encoding="utf-8")
    assert '<h2 id="verdict">Verdict</h2>' in page
    for sentence in (*told["verdict"], told["forecast"]["sentence"]):
        assert sentence in shown
        assert sentence in page
    assert "after its temperature" in page
    assert "What the check found" in page
    assert "textclf run survey.csv --group-column author --budget 3m" in page
    assert Path("runs/survey/MODEL_CARD.md").is_file()
    files = sorted(path.name for path in Path("runs/survey").iterdir())
    assert main(command) == 0
    assert "this run is finished; nothing is done again" in capsys.readouterr().out
    assert sorted(path.name for path in Path("runs/survey").iterdir()) == files
