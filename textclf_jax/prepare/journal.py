"""An unfinished dataset that a later command goes on with: its folder, and what is done, in journal.json."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError, listed
from textclf_jax.files import json_text, write_whole
from textclf_jax.prepare.folder import put_in_place

JOURNAL_FILE, LOCK_FILE = "journal.json", "lock"


class Journal:
    """What of an unfinished dataset is done.

    Attributes:
      folder: of the dataset.
      made_of: the options and the checksums of the text files; what is there goes with no others.
      done: by name, as JSON; `save` keeps it.
    """

    def __init__(self, folder: Path, made_of: Mapping[str, Any], done: dict[str, Any]):
        self.folder, self.made_of, self.done = folder, made_of, done

    def save(self) -> None:
        """Writes the journal; files that it tells of must be there."""
        write_whole(self.folder / JOURNAL_FILE, json_text({"made_of": self.made_of, "done": self.done}))

    def discard(self) -> None:
        """Removes all files of the dataset, with which no command can go on."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def resumable_folder(out: Path, force: bool, made_of: Mapping[str, Any]) -> Iterator[Journal]:
    """Yields the journal of a folder to fill, which is renamed to `out` at the end; what fails or is killed stays.

    Args:
      out: the folder to make.
      force: replace a dataset that is there, or an unfinished one that is made of something else.
      made_of: the options and the checksums of the text files.

    Raises:
      UserError: the folder cannot be written, holds a dataset made of something else, or another process fills it.
    """
    folder = out.with_name(f".{out.name}.unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            journal = _opened(folder, force, made_of)
            try:
                yield journal
            except UserError:
                if not journal.done:
                    journal.discard()
                raise
            (folder / JOURNAL_FILE).unlink(missing_ok=True)
            (folder / LOCK_FILE).unlink(missing_ok=True)
            put_in_place(folder, out, force)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error


def _opened(folder: Path, force: bool, made_of: Mapping[str, Any]) -> Journal:
    """The journal of a folder; a new one where there is none, or where `force` allows to begin anew."""
    made_of = json.loads(json_text(made_of))
    try:
        content = json.loads((folder / JOURNAL_FILE).read_bytes())
        before, done = content["made_of"], content["done"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Journal(folder, made_of, {})
    changed = [
        f"{name}: {before.get(name)} then, {made_of.get(name)} now"
        for name in sorted(before.keys() | made_of.keys())
        if before.get(name) != made_of.get(name)
    ]
    if not changed:
        return Journal(folder, made_of, done)
    if not force:
        raise UserError(
            f"{folder}: is an unfinished dataset that was begun with other options or texts "
            f"({listed(changed, 3, whole=True)}). Undo the change to go on with it, or begin anew with --force."
        )
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()
    return Journal(folder, made_of, {})


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out; the lock is the open file's, so a killed process leaves none. Windows has none."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{folder}: another process is making this dataset. Wait for it, or choose another --out."
            ) from None
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
