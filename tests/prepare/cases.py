"""Small tables of labelled texts, and options to prepare them."""

import csv
from pathlib import Path
from typing import Any

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.pipeline import prepare


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def options(out: Path, **changes: Any) -> PrepareOptions:
    return PrepareOptions(out=out, vocab_size=120, max_length=12, **changes)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(out: Path, files: dict[str, Path], changes: dict[str, Any], message: str) -> None:
    """Checks that options, with names of `files` for paths, are refused with a message and nothing is made."""
    arguments: dict[str, Any] = {"out": out, "vocab_size": 120, "max_length": 12}
    for name, value in changes.items():
        value = files.get(value, value)
        arguments[name] = (value,) if name in ("inputs", "train", "val", "test") else value
    with pytest.raises(UserError, match=message):
        prepare(PrepareOptions(**arguments))
    assert not out.parent.exists()
