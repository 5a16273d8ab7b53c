"""Writes files as a whole or not at all."""

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
    """JSON for every reader: numbers that are not finite, for which it has no words, become null."""
    return json.dumps(_finite(content), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
