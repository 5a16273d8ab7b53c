"""Writes files whole or not at all, csv that all readers split alike and JSON; digests files."""

import csv
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from textclf_jax.errors import UserError

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-8 has no code for it


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


def write_csv(stream: IO[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes rows as csv with line feeds; None is an empty field.

    Rows with a carriage return are written in quotation marks: it ends a row for many readers, but csv.writer does not
    know.
    """
    plain, enclosed = (
        csv.writer(stream, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    for row in rows:
        writer = enclosed if any(isinstance(field, str) and "\r" in field for field in row) else plain
        writer.writerow(row)


def why_not_writable(folder: Path) -> str | None:
    """Makes a folder if need be; returns why files cannot be made in it, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def sha256_of(files: Iterable[Path]) -> str:
    """Hexadecimal sha256 of files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def json_text(content: Any, *, indent: int | None = 1) -> str:
    """The text of JSON in characters that UTF-8 has; numbers that are not finite, which JSON does not have, are null.

    Args:
      content: dicts, lists and values.
      indent: spaces for each level; None: all in one line.
    """
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    return LONE_SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def finite(content: Any) -> Any:
    """Dicts, lists and values as they are, but None for each number that is not finite."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
