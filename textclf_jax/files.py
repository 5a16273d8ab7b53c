"""Writes files as a whole or not at all, and JSON that every reader takes."""

import json
import math
import os
from pathlib import Path
from typing import Any

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


def json_text(content: Any) -> str:
    """The text of a JSON file; numbers that are not finite, which JSON does not have, are null."""
    return json.dumps(finite(content), indent=1, allow_nan=False)


def finite(content: Any) -> Any:
    """Dicts, lists and values as they are, but None for each number that is not finite."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
