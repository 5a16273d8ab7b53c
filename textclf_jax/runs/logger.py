"""The record of a run while it trains: rows of metrics go to CSV files, and to W&B and TensorBoard where asked for."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from textclf_jax.config.schema import Logging
from textclf_jax.extras import install_line, is_installed
from textclf_jax.files import write_whole
from textclf_jax.runs.metrics_files import (
    POSITION_COLUMNS,
    CsvFile,
    Number,
    csv_paths,
    plain_number,
    read_metrics,
)
from textclf_jax.runs.tensorboard_files import SERVICE, TensorBoardFile, remove_events
from textclf_jax.runs.wandb_run import WandbRun, warn

RUN_ID_PATH = "wandb/run_id"


class Sink(Protocol):
    """Where metrics go beside the CSV files. It may fail, and the run goes on."""

    def log(self, values: dict[str, float]) -> None:
        """Takes a row: the position, and figures by `<split>/<name>`."""

    def finish(self, *, failed: bool = False) -> None:
        """Ends it, within a bounded time."""


class RunLogger:
    """Writes the metrics of a run as `<split>/<name>` columns of one CSV file a split, and to W&B and TensorBoard.

    Rows belong to a step. Log what was measured at a step before the checkpoint of that step is saved: when the run is
    resumed from it, rows up to that step stay and later ones are cut off and written again.
    """

    def __init__(
        self,
        run_dir: Path,
        settings: Logging,
        *,
        resolved: dict[str, Any],
        keep_until_step: int | None,
        evaluation_due: bool = False,
    ):
        """Opens the record.

        Args:
          run_dir: the folder of the run; every file stays inside it.
          settings: the `logging` section.
          resolved: the whole resolved config, shown in W&B.
          keep_until_step: None starts anew and removes earlier CSV files; a step resumes after it.
          evaluation_due: the evaluation of that step is to be repeated, so its row is cut off, too.

        Raises:
          UserError: a path leads out of the run folder, is no .csv or is used twice; a file cannot be written; a file
            that is to be continued holds something else.
        """
        paths = csv_paths(run_dir, settings)
        self._files = {split: CsvFile(path) for split, path in paths.items()}
        last_steps: dict[str, int | None] = dict.fromkeys(self._files, keep_until_step)
        if keep_until_step is not None:
            last_steps["eval"] = keep_until_step - evaluation_due
        last_steps["test"] = None  # the test comes once, at the end
        for split, file in self._files.items():
            file.start(last_steps[split])
        resume = keep_until_step is not None
        self._sinks: list[Sink] = []
        if settings.use_wandb and not is_installed("wandb"):
            warn(f"it is not installed: {install_line('wandb')}")
        elif settings.use_wandb:
            self._sinks.append(WandbRun(_wandb_arguments(run_dir, settings, resolved, resume=resume)))
        if not resume:
            remove_events(run_dir)
        if settings.use_tensorboard and not is_installed("tensorboardX"):
            warn(f"tensorboardX is not installed: {install_line('tensorboard')}", SERVICE)
        elif settings.use_tensorboard:
            rows = (row for path in paths.values() for row in read_metrics(path))
            self._sinks.append(TensorBoardFile(run_dir, rows))

    def log(self, split: str, metrics: Mapping[str, Number], *, step: int, update: int, epoch: Number) -> None:
        """Appends one row to the file of `split`: train, eval or test. Metric names come without the split.

        Figures of time and speed differ between equal runs: they go to `log_throughput`.
        """
        position = dict(zip(POSITION_COLUMNS, (step, update, epoch), strict=True))
        row = position | {f"{split}/{name}": value for name, value in metrics.items()}
        self._files[split].append(row)
        for sink in self._sinks:
            sink.log({name: plain_number(value) for name, value in row.items()})

    def log_throughput(self, figures: Mapping[str, Number], *, step: int, update: int, epoch: Number) -> None:
        """Appends one row to `metrics/train/throughput.csv`."""
        self.log("throughput", figures, step=step, update=update, epoch=epoch)

    def sync(self) -> None:
        """Writes all rows to the disk (fsync); may be called from another thread while `log` runs."""
        for file in self._files.values():
            file.sync()

    def close(self, *, failed: bool = False) -> None:
        """Ends W&B, waiting 7 s at most (2 s where the run failed). The CSV files are complete at any time."""
        while self._sinks:
            self._sinks.pop().finish(failed=failed)

    def __enter__(self) -> "RunLogger":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)


def _wandb_arguments(run_dir: Path, settings: Logging, resolved: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """The arguments of `wandb.init`; a resumed run continues the W&B run whose id is stored in the run folder."""
    id_file = run_dir / RUN_ID_PATH
    resume = resume and id_file.exists()
    if not resume:
        id_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(id_file, secrets.token_hex(4) + "\n")
    return {
        "dir": str(run_dir),
        "entity": settings.wandb.entity,
        "project": settings.wandb.project,
        "name": settings.wandb.run_name or run_dir.resolve().name,
        "id": id_file.read_text(encoding="utf-8").strip(),
        "resume": "allow" if resume else None,
        "config": resolved,
    }
