"""Writes files as a whole or not at all, and tells where none can be written."""

import os
import tempfile
from pathlib import Path

from textclf_jax.errors import UserError


def write_whole(path: Path, content: str | bytes) -> None:
    """Replaces a file by `content` (text as UTF-8); a process killed meanwhile leaves the old or the new one whole.

    Raises:
      UserError: the disk is full, or the folder cannot be written; the old file is unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path}: could not be written ({error.strerror}). Free some space or mend the folder, then try again."
        ) from error


def why_not_writable(folder: Path) -> str | None:
    """Makes a folder if need be; returns why files cannot be made in it, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)
