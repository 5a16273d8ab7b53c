"""Runs whose speed is made up and whose models are not trained: the clock goes on by what is done."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.check.cases import make_rows
from tests.prepare.cases import write_csv
from textclf_jax.check.checking import Facts
from textclf_jax.check.data import CheckOptions
from textclf_jax.check.findings import Finding
from textclf_jax.data.dataset import load_dataset
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.study import running as study_running
from textclf_jax.training.budget import RunCost
from textclf_jax.verdict import running
from textclf_jax.verdict.options import RunOptions
from textclf_jax.verdict.running import Tools

PREPARING, MEASURING = 10.0, 5.0


def options(**changes: Any) -> RunOptions:
    """A run on news.csv of the current folder."""
    values: dict[str, Any] = {"out": Path("runs/news"), "data": CheckOptions(inputs=(Path("news.csv"),))}
    values |= {"extra_text": (), "text_unit": None, "accept_labels": False}
    values |= {
        "budget": 600.0,
        "seeds": None,
        "max_error": None,
        "arguments": {"INPUT": ["news.csv"]},
        "command": "textclf run news.csv",
    }
    return RunOptions(**{**values, **changes})


def write_news(count: int = 150) -> None:
    """news.csv with rows of two topics."""
    write_csv(Path("news.csv"), [(row.text, str(row.label)) for row in make_rows(count)])


def cost(**changes: Any) -> RunCost:
    """Of a run with 4 steps an epoch: 2 s to start, 0.1 s an update, 0.5 s an evaluation, 3 s to end."""
    return RunCost(2.0, 0.1, 0.5, 3.0, 4, 1, 0)._replace(**changes)


class Machine:
    """What a run asks for: each piece of work moves the clock, and is noted.

    Attributes:
      now: the clock, in seconds.
      speed: how much longer trainings take than was measured.
      trained: names of the runs that were trained, in their order.
      measured: names of the parts that were measured.
      stops: runs that a signal stops once each.
      reports: runs that a report was written of.
      findings: of the check.
    """

    def __init__(self, monkeypatch):
        self.now, self.speed = 0.0, 1.0
        self.trained: list[str] = []
        self.measured: list[str] = []
        self.reports: list[str] = []
        self.stops: list[str] = []
        self.findings: list[Finding] = []
        monkeypatch.setattr(study_running, "predict_split", self.predict_split)
        monkeypatch.setattr(running, "write_report_of", self.write_report_of)
        monkeypatch.setattr(running, "measure_cost", self.measure)

    @property
    def tools(self) -> Tools:
        return Tools(self.prepare, self.train, self.show_check, str, lambda: self.now)

    def show_check(self, facts: Facts, findings: list[Finding]) -> None:
        self.findings = findings

    def prepare(self, options: PrepareOptions) -> None:
        prepare(options)
        self.now += PREPARING

    def measure(self, config, root, minutes, started, clock) -> RunCost:
        assert (started, clock()) == (self.now, self.now)
        self.now += MEASURING
        self.measured.append(config.experiment.kind)
        return cost()

    def train(self, kind: str, folder: Path) -> int:
        """Leaves what is needed of a finished run, after the time that its length takes."""
        from textclf_jax.config.file import load_config

        config = load_config(folder / "config.yaml").config
        if folder.name in self.stops:
            self.stops.remove(folder.name)
            self.now += 1.0
            return 130
        self.now += self.speed * cost().seconds(config.training.max_updates or 0)
        self.trained.append(folder.name)
        (folder / "summary.json").write_text(json.dumps({"metric": "accuracy", "results": {"val": {"accuracy": 0.5}}}))
        (folder / "record.json").write_text(json.dumps({"device": "cpu", "versions": {"jax": "1.2.3"}}))
        (folder / "test_report").mkdir()
        confidence = {"error_before": 0.2, "error": 0.1}
        (folder / "test_report/metrics.json").write_text(json.dumps({"confidence": confidence}))
        return 0

    def predict_split(self, model: Path, split: str, *, note):
        """Rows right but those that the run's name decides; a linear path alone has 9 wrong."""
        note(f"compiling for {model}")
        assert split == "test"
        data = Path("runs/news/data")
        described = json.loads((data / "dataset.json").read_text())
        found = load_dataset(
            data / "cls/test.pt",
            vocab_size=described["vocabulary"]["size"],
            pad_id=0,
            max_length=described["max_length"],
            num_labels=2,
        )
        wrong = {"scratch": 6, "pretrained-linear": 0, "pretrained": 3}
        count = next(count for part, count in wrong.items() if part in model.parent.name)
        assert found.labels is not None
        predicted = found.labels.copy()
        predicted[:count] = 1 - predicted[:count]
        alone = found.labels.copy()
        alone[-9:] = 1 - alone[-9:]
        return predicted, alone if "pretrained-linear" in model.parent.name else None, found

    def write_report_of(self, out: Path, outcome, check: Path) -> None:
        assert check.is_file()
        self.reports.append(outcome["reported_run"])
        self.now += 5.0


def by_class(labels) -> dict[str, int]:
    """How often each label is there."""
    names, counts = np.unique(labels, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
