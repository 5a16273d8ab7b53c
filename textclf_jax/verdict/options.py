"""What `textclf run` is asked to do, and the checks that need no file."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textclf_jax.check.data import CheckOptions
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import validate_name
from textclf_jax.prepare.texts import TextUnit

BUDGET = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
SECONDS = {"s": 1, "m": 60, "h": 3600}
DEFAULT_BUDGET = "20m"


@dataclass(frozen=True)
class RunOptions:
    """What to run; each field is a flag of `textclf run`.

    Attributes:
      out: the folder of the run, whose name begins those of its experiments.
      data: the files with labels, how they are read and split.
      extra_text: unlabelled files, for pretraining.
      text_unit: what a text of extra files that are txt is; None: a line.
      accept_labels: take labels as classes that look like texts, ids or amounts.
      budget: seconds, for all of it.
      seeds: how many; None: as the time allows.
      max_error: the share of texts that may get a wrong label from the best model; None: every text gets a label.
      arguments: the flags that were given, by name: a run goes on with the same ones alone.
      command: that made it.
    """

    out: Path
    data: CheckOptions
    extra_text: tuple[Path, ...]
    text_unit: TextUnit | None
    accept_labels: bool
    budget: float
    seeds: int | None
    max_error: float | None
    arguments: dict[str, Any]
    command: str

    @property
    def sources(self) -> list[Path]:
        """All files and folders that are read."""
        further = () if self.data.label_names is None else (self.data.label_names,)
        return [path for part in self.data.sources.values() for path in part] + [*self.extra_text, *further]


def parse_budget(text: str) -> float:
    """The seconds of a time such as 90s, 20m or 1.5h.

    Raises:
      UserError: it is no such time, or 0.
    """
    match = BUDGET.fullmatch(text.strip().lower())
    seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if not seconds:
        raise UserError(f"--budget {text}: must be a time above 0, such as 90s, 20m or 1h")
    return seconds


def in_time(seconds: float) -> str:
    """Seconds in the unit that suits them: 45 s, 12.5 minutes, 2.1 hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def default_out(path: Path) -> Path:
    """The folder of a run on a file or folder: `runs/` and its name without endings."""
    name = path.resolve().name
    for _ in path.suffixes if path.is_file() else ():
        name = name.rpartition(".")[0] or name
    return Path("runs") / name


def check_options(options: RunOptions) -> None:
    """Raises UserError for values that no run can have; needs no file."""
    data = options.data
    if bool(data.inputs) == bool(data.train):
        raise UserError("give either DATA, or --train and --test (and --val)")
    if data.train and not data.test:
        raise UserError("there would be no test split, which tells what a method is worth: give --test FILE, too")
    if data.read.label_separator is not None:
        raise UserError(
            "--label-separator: textclf run compares classifiers that give each text one class. For several labels a "
            "text, see textclf prepare --label-separator and textclf finetune"
        )
    if data.group_column is not None and data.time_column is not None:
        raise UserError("--group-column and --time-column: the split goes by one of them; leave the other out")
    if options.seeds is not None and options.seeds < 1:
        raise UserError(f"--seeds {options.seeds} must be at least 1")
    validate_name(f"{options.out.name}-pretrained-linear-seed{1 if options.seeds is None else options.seeds}")
