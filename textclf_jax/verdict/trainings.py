"""The trainings of a run: what each tells goes into a file of its own, and how far it is, and its result, are shown."""

import json
from dataclasses import dataclass
from pathlib import Path

from textclf_jax.config.file import Kind
from textclf_jax.errors import UserError
from textclf_jax.observe.progress import logged
from textclf_jax.runs.record import SUMMARY_FILE
from textclf_jax.runtime.device import OutOfMemoryError
from textclf_jax.study.running import Train
from textclf_jax.training.speed import Clock
from textclf_jax.verdict.options import in_time
from textclf_jax.verdict.remedies import of_training

LOGS_FOLDER = "logs"


@dataclass(frozen=True)
class Trainings:
    """Trains the models of a run; called with the kind of one and its folder.

    Attributes:
      folder: for the files.
      train: does the work, and returns the exit code.
      clock: in seconds.
      command: that goes on with the run.
    """

    folder: Path
    train: Train
    clock: Clock
    command: str

    def __call__(self, kind: Kind, folder: Path) -> int:
        """Trains, or goes on with it; returns the exit code.

        Raises:
          UserError: a problem that the user can solve, as one who has typed the command of the run.
        """
        begin = self.clock()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with (self.folder / f"{folder.name}.log").open("a", encoding="utf-8") as log, logged(log):
                code = self.train(kind, folder)
        except OutOfMemoryError:
            raise
        except UserError as error:
            raise UserError(of_training(str(error), kind, folder.name, self.command)) from error
        if not code:
            print(f"  {_result(folder)} after {in_time(self.clock() - begin)}", flush=True)
        return code


def _result(folder: Path) -> str:
    """How well the best model does on the validation split, in a few words."""
    summary = json.loads((folder / SUMMARY_FILE).read_bytes())
    metric = summary["metric"]
    score = summary["results"].get("val", {}).get(metric)
    if score is None:
        return "finished"
    return f"validation {metric} {score:.4f}" if metric == "loss" else f"validation {metric} {score:.1%}"
