"""A file that is written part by part, and goes on where it was when the process was interrupted, or killed."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from textclf_jax.errors import UserError
from textclf_jax.files import json_text, write_whole
from textclf_jax.runs.lock import is_in_place, lock

SAVE_SECONDS = 1.0  # between two saves: what came after the last one is computed again
SPACE = "Free some space or mend the folder; the same command then goes on where it was."


class ResumableFile:
    """Writes a file beside itself, as `.NAME.partial`, and gives it its name when it is whole.

    `.NAME.progress.json` says how much of it counts, and what it was made of. A context manager; while it is entered,
    other processes cannot write the same file.

    Attributes:
      position: what was given to the last save of an interrupted process; None: this starts at the beginning.
    """

    def __init__(self, path: Path, made_of: Mapping[str, str], *, fresh: bool = False):
        """Writes nothing yet.

        Args:
          path: of the file.
          made_of: all that decides what is in it, by names for messages; an interrupted one goes on only if it agrees.
          fresh: an interrupted one does not go on, but is written over.
        """
        self._shown, self._path, self._made_of, self._fresh = path, path.resolve(), dict(made_of), fresh
        self._partial = self._path.with_name(f".{self._path.name}.partial")
        self._progress = self._path.with_name(f".{self._path.name}.progress.json")
        self._saved_at = time.monotonic()
        self._bytes = 0  # of all parts that were written as a whole
        self._unsaved: tuple[int, Mapping[str, Any]] | None = None  # what there is, since the last save
        self.position: dict[str, Any] | None = None

    def __enter__(self) -> "ResumableFile":
        """Opens the file.

        Raises:
          UserError: another process writes it, or an interrupted one was made of something else.
        """
        self._file = self._opened()
        try:
            saved = None if self._fresh else self._saved()
            if saved is None:  # first of all: it must not tell of what will be written now
                self._progress.unlink(missing_ok=True)
            else:
                self._bytes = saved["bytes"]
            self._file.truncate(self._bytes)
            self._file.seek(0, os.SEEK_END)
        except BaseException:
            self._file.close()
            raise
        self.position = saved["position"] if saved else None
        return self

    def __exit__(self, *_: object) -> None:
        """Saves what there is, where the file is not whole."""
        with suppress(OSError, UserError):  # another error is on its way
            if self._unsaved is not None:
                self._save(*self._unsaved)
            elif is_in_place(self._file.fileno(), self._partial) and not self._file.tell():
                self._partial.unlink()
        with suppress(OSError):  # what a full disk has no room for does not count
            self._file.close()

    def write(self, content: str, position: Mapping[str, Any]) -> None:
        """Writes a part, in UTF-8, and from time to time saves that it is there.

        Args:
          content: the part.
          position: JSON-able; what tells where to go on behind this part.

        Raises:
          UserError: the disk is full.
        """
        try:
            self._bytes += self._file.write(content.encode())
            self._unsaved = self._bytes, position
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._save(*self._unsaved)
        except OSError as error:
            raise UserError(f"{self._shown}: could not be written ({error.strerror}). {SPACE}") from error

    def finish(self) -> None:
        """Gives the file its name; it is whole.

        Raises:
          UserError: the disk is full.
        """
        try:
            self._sync()
            self._unsaved = None
            self._partial.replace(self._path)
            self._progress.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self._shown}: could not be written ({error.strerror}). {SPACE}") from error

    def _opened(self) -> IO[bytes]:
        while True:
            try:
                file = self._partial.open("ab")
            except OSError as error:
                raise UserError(f"{self._shown}: could not be written ({error.strerror}). {SPACE}") from error
            if not lock(file.fileno(), self._partial.parent):
                file.close()
                raise UserError(f"{self._shown}: another process is writing it. Wait until it has ended, or stop it.")
            if is_in_place(file.fileno(), self._partial):
                return file
            file.close()

    def _save(self, size: int, position: Mapping[str, Any]) -> None:
        self._sync()
        state = {"made_of": self._made_of, "bytes": size, "position": position}
        write_whole(self._progress, json_text(state))
        self._saved_at, self._unsaved = time.monotonic(), None

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _saved(self) -> dict[str, Any] | None:
        """What an interrupted process has saved; None where there is nothing to go on from."""
        try:
            saved = json.loads(self._progress.read_text(encoding="utf-8"))
            is_there = self._partial.stat().st_size >= saved["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not is_there:
            return None
        before = saved["made_of"]
        if differing := [name for name, value in self._made_of.items() if before.get(name) != value]:
            raise UserError(
                f"{self._shown}: an interrupted command has begun it with something else: {', '.join(differing)}. "
                "Give what it was given, and it goes on; or start over with --fresh."
            )
        return saved
