"""Checks what callers hand to the tokenizer: texts, files and labels."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.text_files import iterate_lines, well_formed

Paths = Sequence[str | Path] | str | Path


def require_one(files: Paths | None, texts: Sequence[str] | None, method: str) -> None:
    """Raises UserError unless one of the two is given."""
    if (files is None) == (texts is None):
        raise UserError(f"{method}: give either texts or files")


def as_paths(files: Paths | None) -> list[Path]:
    """The files as a list of paths."""
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]


def lines_of(paths: Iterable[Path]) -> Iterator[str]:
    """Yields the lines of all files."""
    for path in paths:
        yield from iterate_lines(path)


def file_rows(paths: Iterable[Path], skip_blank: bool, labelled: bool) -> list[str]:
    """The stripped lines of all files."""
    rows = []
    for path in paths:
        for number, line in enumerate(map(str.strip, iterate_lines(path)), start=1):
            if not line and labelled and not skip_blank:
                raise UserError(f"{path} line {number}: is blank, but every label needs a text")
            if line or not skip_blank:
                rows.append(line)
    return rows


def check_texts(texts: Sequence[str], method: str) -> Sequence[str]:
    """The texts, well formed; raises UserError, naming the row, where one is not a string."""
    if isinstance(texts, str):
        raise UserError(f"{method}: texts is one string; give a list of strings, or files=")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{method}: row {row} is {text!r} ({type(text).__name__}), not a text")
    return [well_formed(text) for text in texts]


def check_labels(labels: Sequence[int] | np.ndarray, num_texts: int) -> np.ndarray:
    """[texts] int64."""
    array = np.asarray(labels)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise UserError(f"encode: labels must be whole numbers, one a text, not {array.dtype} of shape {array.shape}")
    if len(array) != num_texts:
        raise UserError(f"encode: {len(array)} labels for {num_texts} texts")
    return array.astype(np.int64)
