"""Which files hold the rows of a split, and the rows of several files as one array that is never in memory."""

import glob
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textclf_jax.config.data import Paths
from textclf_jax.errors import UserError, listed

SHOWN_FILES = 5
WARNING = "warning: "


class DataFiles(NamedTuple):
    """The files of a split, whose rows follow each other in this order.

    Attributes:
      name: the file; of several the pattern, or the first one and how many there are, for messages.
      paths: at least one, none of them twice.
    """

    name: Path
    paths: tuple[Path, ...]

    def row_names(self, sizes: Sequence[int]) -> Callable[[int], str]:
        """What to call the rows that all files have together, by their numbers in their own file.

        Args:
          sizes: the number of rows of each file.
        """
        starts = np.cumsum([0, *sizes])

        def name(row: int) -> str:
            if len(self.paths) == 1:
                return f"row {row}"
            i = int(np.searchsorted(starts, row, side="right")) - 1
            return f"row {row - int(starts[i])} of {self.paths[i].name}"

        return name


def data_files(root: Path, given: Paths, key: str) -> DataFiles:
    """Finds the files of a split: those of a pattern in natural order (2 before 10), those of a list as they stand.

    Args:
      root: the folder that relative paths start from.
      given: a path, a pattern, or several of these; what exists under a name is no pattern.
      key: of the config, for messages.

    Raises:
      UserError: a pattern matches nothing, a file in a list is missing, or a file would be read twice. That a single
        file is missing is found when it is read.
    """
    patterns = [given] if isinstance(given, str) else list(given)
    paths: list[Path] = []
    places: dict[Path, Path] = {}
    for pattern in patterns:
        for path in _matching(root, pattern, key, is_listed=len(patterns) > 1):
            other = places.setdefault(path.resolve(), path)
            if other is not path:
                same = "it stands there twice" if other == path else f"{other} is the same file"
                raise UserError(f"{key}: {path} would be read twice, for {same}. Take one of the two out.")
            paths.append(path)
    if isinstance(given, str) or len(paths) == 1:
        name = paths[0] if len(paths) == 1 else root / patterns[0]
    else:
        name = Path(f"{paths[0]} and {len(paths) - 1} more")
    return DataFiles(name, tuple(paths))


def missing_data(root: Path, given: Paths) -> Path | None:
    """The first path, or pattern, of which there is no file; None: all are there."""
    patterns = [given] if isinstance(given, str) else given
    absent = (root / each for each in patterns if not (root / each).exists() and not _matches(root, each))
    return next(absent, None)


def refuse_shared(splits: Mapping[str, DataFiles]) -> None:
    """Raises UserError where a pattern or a list takes in a file of another split, as *.pt would."""
    owners: dict[Path, tuple[str, DataFiles]] = {}
    for name, files in splits.items():
        for path in files.paths:
            owner, others = owners.setdefault(path.resolve(), (name, files))
            if owner != name and set(others.paths) != set(files.paths):
                raise UserError(
                    f"data.{owner}.dataset_path and data.{name}.dataset_path both have the file {path}: what is "
                    "trained on cannot be tested on. Take it out of one of the two, with a narrower pattern (such as "
                    "train-*.pt) or a list of the files."
                )


def _matching(root: Path, pattern: str, key: str, *, is_listed: bool) -> list[Path]:
    path = root / pattern
    if path.exists():
        return [path]
    if found := _matches(root, pattern):
        return found
    if glob.has_magic(pattern):
        raise UserError(f"{key}: no file matches {path}. {_what_is_there(path)}")
    if is_listed:
        raise UserError(f"{key}: there is no {path}. {_what_is_there(path)}")
    return [path]


def _matches(root: Path, pattern: str) -> list[Path]:
    """The files that a pattern matches, numbers in their names in the order of their values."""
    found = (
        [root / name for name in glob.glob(pattern, root_dir=root, recursive=True)] if glob.has_magic(pattern) else []
    )
    return sorted((path for path in found if path.is_file()), key=_natural)


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", str(path))  # text and numbers in turn
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], str(path)


def _what_is_there(path: Path) -> str:
    """What the user may have meant, and the way to make data."""
    make = "Correct it, or make the data: textclf prepare INPUT --out FOLDER --shard-size ROWS"
    folder = next((parent for parent in path.parents if not glob.has_magic(str(parent))), path.parent)
    if not folder.is_dir():
        return f"There is no folder {folder}, either. {make}"
    files = sorted((each for each in folder.iterdir() if each.suffix == ".pt"), key=_natural)
    names = listed([each.name for each in files], SHOWN_FILES, whole=True)
    return (f"In {folder} there are {names}. " if files else f"{folder} has no .pt file. ") + make


def few(notes: Sequence[str], files: DataFiles) -> list[str]:
    """Notes on the files of a split: of several, the first few warnings and other notes, and how many there are."""
    if len(files.paths) == 1:
        return list(notes)
    shown = []
    for mark in (WARNING, ""):
        kind = [note for note in notes if note.startswith(WARNING) == bool(mark)]
        shown += kind[:SHOWN_FILES]
        if (more := len(kind) - SHOWN_FILES) > 0:
            shown.append(f"{mark}{files.name}: {more} more {'warnings' if mark else 'notes'} of this kind on its files")
    return shown


def joined_fingerprint(fingerprints: Sequence[str]) -> str:
    """16 hex digits that change with any of the files, their number and their order; of one file its own."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()[:16]


class JoinedRows:
    """Rows of several memory-mapped arrays under one numbering [N, L]; indexing copies what is asked for.

    Attributes:
      parts: the arrays, [N_i, L] of one dtype, none of them empty.
      starts: [F + 1] the number of each part's first row, then N.
      shape: (N, L).
      dtype: of the parts.
    """

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self.starts[-1]), int(parts[0].shape[1]))
        self.dtype = parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """As of one array: `[rows]`, `[rows, first:last]`, or `[rows, columns]` in pairs.

        Args:
          key: rows are a number, a slice or an array [R] of numbers from 0; columns a slice or an array [R].
        """
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        numbers = np.atleast_1d(np.asarray(rows))
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"row numbers from {numbers.min()} to {numbers.max()}, but there are {len(self)} rows")
        in_pairs = not isinstance(columns, slice)
        width = () if in_pairs else (len(range(*columns.indices(self.shape[1]))),)
        result = np.empty((*numbers.shape, *width), self.dtype)
        part_of = np.searchsorted(self.starts, numbers, side="right") - 1
        for i in np.unique(part_of):
            here = part_of == i
            result[here] = self.parts[i][numbers[here] - self.starts[i], columns[here] if in_pairs else columns]
        return result[0] if np.ndim(rows) == 0 else result
