"""CSV files of metrics: rows are whole after a kill, and a resumed run writes the same bytes as an unbroken one."""

import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import SupportsFloat

from textclf_jax.config.schema import Logging
from textclf_jax.errors import UserError
from textclf_jax.files import write_whole

POSITION_COLUMNS = ("step", "update", "epoch")
THROUGHPUT_PATH = "metrics/train/throughput.csv"

Number = SupportsFloat


def csv_paths(run_dir: Path, settings: Logging) -> dict[str, Path]:
    """The CSV file of train, eval, test and throughput.

    Raises:
      UserError: a path leads out of `run_dir`, is no .csv, or two are the same.
    """
    keys = {split: f"logging.csv_{split}_metrics_path" for split in ("train", "eval", "test")}
    chosen = {split: getattr(settings, key.removeprefix("logging.")) for split, key in keys.items()}
    owners = {(run_dir / THROUGHPUT_PATH).resolve(): f"the throughput figures ({THROUGHPUT_PATH})"}
    for split, text in chosen.items():
        path = (run_dir / text).resolve()
        if not path.is_relative_to(run_dir.resolve()) or path.suffix != ".csv":
            raise UserError(f"{keys[split]}: {text!r} must name a .csv file inside the run folder {run_dir}")
        if path in owners:
            raise UserError(f"{keys[split]}: {text!r} is already used by {owners[path]}. Give each its own file.")
        owners[path] = keys[split]
    return {split: run_dir / text for split, text in chosen.items()} | {"throughput": run_dir / THROUGHPUT_PATH}


class CsvFile:
    """A CSV file to which whole rows are appended; its header widens when a row brings new names."""

    def __init__(self, path: Path):
        self._path = path
        self._columns: list[str] = []

    def start(self, keep_until_step: int | None) -> None:
        """Removes the file (None), or cuts it back to the rows of steps up to `keep_until_step`, torn line included.

        Raises:
          UserError: the file cannot be written, or holds something else than such rows.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if keep_until_step is None:
                self._path.unlink(missing_ok=True)
            elif self._path.exists():
                self._cut(keep_until_step)
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot be written ({error.strerror}). Check the folder and its rights."
            ) from error

    def append(self, row: Mapping[str, Number]) -> None:
        """Appends one row in one write; names that are not in `row` stay empty.

        Raises:
          UserError: the disk is full or the file cannot be written.
        """
        new = [name for name in row if name not in self._columns]
        try:
            if new and self._columns:
                self._widen(new)
            elif new:
                self._columns = new
                self._write(_line(new) + self._line_of(row))
                return
            self._write(self._line_of(row))
        except OSError as error:
            raise UserError(
                f"{self._path}: a row could not be written ({error.strerror}). "
                "Free some space or mend the folder, then resume the run."
            ) from error

    def _line_of(self, row: Mapping[str, Number]) -> str:
        return _line(repr(plain_number(row[name])) if name in row else "" for name in self._columns)

    def _write(self, text: str) -> None:
        data = text.encode()
        with open(self._path, "ab", buffering=0) as file:
            while data:  # a nearly full disk takes a part, then raises
                data = data[file.write(data) :]

    def _widen(self, new: list[str]) -> None:
        header, *rows = self._path.read_text(encoding="utf-8").splitlines()
        write_whole(self._path, _line([header, *new]) + "".join(_line([row, *[""] * len(new)]) for row in rows))
        self._columns += new

    def _cut(self, last_step: int) -> None:
        text = self._path.read_text(encoding="utf-8", errors="replace")
        lines = text[: text.rfind("\n") + 1].splitlines()  # what follows the last newline is a torn row
        if not lines:
            self._path.unlink()
            return
        self._columns = lines[0].split(",")
        if tuple(self._columns[: len(POSITION_COLUMNS)]) != POSITION_COLUMNS:
            raise UserError(f"{self._path}: the first line is not the header of a metrics file. Move the file away.")
        rows = [lines[0]]
        for number, line in enumerate(lines[1:], start=2):
            step, *others = line.split(",")
            if not step.isdigit() or len(others) != len(self._columns) - 1:
                raise UserError(f"{self._path}: line {number} is not a row of this run. Remove the line or the file.")
            if int(step) <= last_step:
                rows.append(line)
        cut = "".join(line + "\n" for line in rows)
        if cut != text:
            write_whole(self._path, cut)

    def sync(self) -> None:
        """Writes what was appended to the disk (fsync)."""
        if self._path.exists():
            with open(self._path, "ab") as file:
                os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Reads a metrics file: one dict a whole row, without the fields that are empty. A missing file has no rows."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    header, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    fields = (zip(header.split(","), line.split(","), strict=True) for line in lines)
    return [{name: float(value) for name, value in row if value} for row in fields]


def _line(fields: Iterable[str]) -> str:
    return ",".join(fields) + "\n"


def plain_number(value: Number) -> int | float:
    """A Python number of any scalar, numpy's and JAX's too; its repr is the shortest that reads back as the same."""
    return int(value) if isinstance(value, Integral) else float(value)
