"""Metrics as event files of TensorBoard, in the folder of the run."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from textclf_jax.runs.metrics_files import POSITION_COLUMNS
from textclf_jax.runs.wandb_run import warn

SERVICE, FOLDER = "TensorBoard", "tensorboard"
FLUSH_SECONDS = 5.0  # a page that is open shows what is on the disk


def remove_events(run_dir: Path) -> None:
    """Removes the event files of a run, if there are any."""
    for path in (run_dir / FOLDER).glob("events.out.tfevents.*"):
        path.unlink()


class TensorBoardFile:
    """The event file of a run. No method raises: where the file cannot be written, it says so once and stops."""

    def __init__(self, run_dir: Path, rows: Iterable[Mapping[str, float]]):
        """Begins the file anew.

        Args:
          run_dir: the folder of the run.
          rows: of the CSV files so far: a resumed run neither lacks points nor has them twice, whatever of the earlier
            file came to the disk. The time of these points is that of resuming.
        """
        self._writer: Any = None
        self._messages: Any = None  # its type stubs know none of them
        self._flushed = 0.0
        try:
            # imported for this file alone; with torch there, it imports that, too
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2

            self._messages = event_pb2
            (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
            remove_events(run_dir)
            self._writer = EventsWriter(str(run_dir / FOLDER / "events"))
        except OSError as error:
            self._stop(error)
        for row in rows:
            self.log(row)

    def log(self, values: Mapping[str, float]) -> None:
        """Appends a row: a point for each figure, at its step."""
        if self._writer is None:
            return
        now = time.time()
        event = self._messages.Event(wall_time=now, step=int(values["step"]))
        for name, value in values.items():
            if name not in POSITION_COLUMNS:
                event.summary.value.add(tag=name, simple_value=value)
        try:
            self._writer.write_event(event)
            if now - self._flushed >= FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = now
        except OSError as error:
            self._stop(error)

    def finish(self, *, failed: bool = False) -> None:
        """Ends the file."""
        del failed  # points are all that it has
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except OSError as error:
            self._stop(error)

    def _stop(self, error: OSError) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
        warn(f"its file cannot be written: {error.strerror or error}", SERVICE)
