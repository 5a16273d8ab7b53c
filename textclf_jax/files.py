"""Files that appear whole or not at all."""

import os
from pathlib import Path

from textclf_jax.errors import UserError


def write_whole(path: Path, content: str | bytes) -> None:
    """Puts `content` (text as UTF-8) in the place of a file; a kill leaves the old or the new one, never a mixture.

    Raises:
      UserError: the disk is full, or the folder cannot be written; the old file is as it was.
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
