"""A study whose runs are not trained: what trains them is a stand-in, and the clock goes on by what it does."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.prepare.cases import write_csv
from textclf_jax.data.dataset import Dataset, load_dataset
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.study import running
from textclf_jax.study.design import Design
from textclf_jax.training.budget import RunCost
from textclf_jax.training.speed import MeasuredLength

WORDS = {"sport": "goal match team", "money": "bank share profit", "sky": "star planet orbit"}
PREPARING, MEASURING, TRAINING = 30.0, 20.0, 100.0


def write_texts(folder: Path) -> None:
    """train.csv, val.csv and test.csv, whose classes can be told from their words."""
    for name, count in (("train", 60), ("val", 12), ("test", 30)):
        labels = [list(WORDS)[i % 3] for i in range(count)]
        write_csv(folder / f"{name}.csv", [(f"text {i} of {WORDS[label]}", label) for i, label in enumerate(labels)])


def design(**changes: Any) -> Design:
    """A study of the three files in the current folder."""
    paths = {name: (Path(f"{name}.csv"),) for name in ("train", "val", "test")}
    arguments = {"--minutes": 10.0, "--seeds": 2}
    values: dict[str, Any] = {"minutes": 10.0, "seeds": 2, "methods": ("majority", "tfidf", "scratch", "pretrained")}
    values |= {"preset": "bert-tiny", "finetuning_share": 0.2, "pretraining_keys": (), "finetuning_keys": ()}
    data = PrepareOptions(Path("studies/toy/data"), **paths, task="both", vocab_size=120, max_length=16)
    values |= {"out": Path("studies/toy"), "data": data, "arguments": arguments, "command": "textclf study"}
    return Design(**{**values, **changes})


class Machine:
    """What a study asks for: each piece of work moves the clock, and is noted.

    Attributes:
      now: the clock, in seconds.
      trained: names of the runs that were trained, in their order.
      measured: (name of the run, minutes it is to take), in their order.
      stop_at: the run that a signal stops once.
      accuracies: of runs on the validation split, by a part of their name.
    """

    def __init__(self, monkeypatch):
        self.now, self.trained, self.measured = 0.0, [], []
        self.stop_at: str | None = None
        self.accuracies: dict[str, float] = {}
        monkeypatch.setattr(running, "length_within", self.length_within)
        monkeypatch.setattr(running, "predict_split", self.predict_split)

    def clock(self) -> float:
        return self.now

    def prepare(self, options: PrepareOptions) -> None:
        prepare(options)
        self.now += PREPARING

    def length_within(self, minutes, config, root, *, measuring_counts, clock) -> MeasuredLength:
        assert measuring_counts
        self.now += MEASURING
        self.measured.append((config.experiment.name, minutes))
        return MeasuredLength(12, 3, RunCost(1.0, 0.5, 1.0, 1.0, 4, 1, 0), minutes)

    def train(self, kind: str, folder: Path) -> int:
        """Leaves what the study needs of a finished run."""
        self.now += TRAINING
        if self.stop_at == folder.name:
            self.stop_at = None
            return 130
        self.trained.append(folder.name)
        accuracy = next((value for part, value in self.accuracies.items() if part in folder.name), 0.5)
        (folder / "summary.json").write_text(json.dumps({"results": {"val": {"accuracy": accuracy}}}))
        (folder / "record.json").write_text(json.dumps({"device": "cpu", "versions": {"jax": "1.2.3"}}))
        return 0

    def predict_split(self, model: Path, split: str, *, note) -> tuple[np.ndarray, np.ndarray | None, Dataset]:
        """All test rows right but those that the run's name decides; a linear path alone has the last 5 wrong."""
        note(f"compiling for {model}")
        assert split == "test"
        data = load_dataset(Path("studies/toy/data/cls/test.pt"), vocab_size=120, pad_id=0, max_length=16, num_labels=3)
        wrong = {"scratch-short": 12, "scratch-long": 9, "pretrained": 3}
        count = next(count for part, count in wrong.items() if part in model.parent.name)
        assert data.labels is not None
        found = data.labels.copy()
        found[:count] = (found[:count] + 1) % 3
        alone = data.labels.copy()
        alone[-5:] = (alone[-5:] + 1) % 3
        return found, alone if "pretrained-linear" in model.parent.name else None, data
