"""Logs of small runs, for the tests of this folder."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from textclf_jax.config.schema import Logging
from textclf_jax.runs.logger import RunLogger

TRAIN, EVAL = "metrics/train/metrics.csv", "metrics/eval/metrics.csv"


def open_log(run_dir: Path, keep_until_step: int | None = None, **settings) -> RunLogger:
    return RunLogger(run_dir, Logging(**settings), resolved={"seed": 1}, keep_until_step=keep_until_step)


def write_steps(log: RunLogger, steps: Iterable[int]) -> None:
    """What a run with an evaluation each third step, and a figure that appears late, writes."""
    for step in steps:
        late = {"skipped_updates": 1} if step >= 5 else {}
        log.log("train", {"loss": 1 / step, "lr": 1e-4, **late}, step=step, update=step, epoch=step / 4)
        if step % 3 == 0:
            log.log("eval", {"loss": np.float32(0.1) * step}, step=step, update=step, epoch=step / 4)
