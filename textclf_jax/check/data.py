"""The rows to check: read as they were guessed, with their other columns and the split that each is in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from textclf_jax.class_names import same_name
from textclf_jax.constants import SPLITS
from textclf_jax.errors import UserError
from textclf_jax.prepare.guessing import guess_reading
from textclf_jax.prepare.labels import look_alikes, look_like_classes, merge_alike
from textclf_jax.prepare.options import DEFAULT_FRACTION, PrepareOptions
from textclf_jax.prepare.rare_classes import RareClasses, count_labels
from textclf_jax.prepare.splitting import read_label_names, stratified_split, with_class_names
from textclf_jax.prepare.tables import find_column
from textclf_jax.prepare.texts import TABLES, ReadOptions, Row, TextFile, ending_of, read_file


@dataclass(frozen=True)
class CheckOptions:
    """What to check; each field is a flag of `textclf check`.

    Attributes:
      inputs: files that are to be split; or
      train, val, test: files that are split already.
      read: how files are read; what it leaves open is guessed.
      group_column: rows with the same value here must not be in two splits.
      time_column: the test must not be earlier than rows to train on.
      rare_classes: what becomes of classes with fewer rows than splits, where the files are not split yet.
      label_names: a file with a class name a line, where labels are numbers from 0.
      alike_labels: what becomes of labels that differ only by case, spaces or the like; None: they are left as they
        are, and reported.
    """

    inputs: tuple[Path, ...] = ()
    train: tuple[Path, ...] = ()
    val: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    read: ReadOptions = field(default_factory=ReadOptions)
    group_column: str | None = None
    time_column: str | None = None
    rare_classes: RareClasses | None = None
    label_names: Path | None = None
    alike_labels: Literal["merge", "keep"] | None = None

    @property
    def sources(self) -> dict[str, tuple[Path, ...]]:
        """The files by their role, those to train on first."""
        roles = {"input": self.inputs, "train": self.train, "val": self.val, "test": self.test}
        return {role: paths for role, paths in roles.items() if paths}


@dataclass(frozen=True)
class Data:
    """The rows to check.

    Attributes:
      rows: of all files.
      splits: the split of each row: as its file says, or, where `is_drawn`, as `textclf prepare` would draw it.
      is_drawn: whether the files are not split yet.
      columns: what stands in each of the other columns, by row; empty where a file has no such column.
      repeated_headers: rows that repeat the names of the columns.
      read: how the files were read.
      files, guesses, notes: their names; what was guessed; how they were read, where that is not plain.
    """

    rows: list[Row]
    splits: list[str]
    is_drawn: bool
    columns: dict[str, list[str]]
    repeated_headers: list[str]
    read: ReadOptions
    files: list[str]
    guesses: list[str]
    notes: list[str]

    def parts(self, texts: Sequence[str] | None = None) -> dict[str, list[Row]]:
        """The rows by split, in the order of SPLITS; `texts` take the place of their own."""
        rows = self.rows
        if texts is not None:
            rows = [row._replace(text=text) for row, text in zip(self.rows, texts, strict=True)]
        found = {name: [r for r, split in zip(rows, self.splits, strict=True) if split == name] for name in SPLITS}
        return {name: part for name, part in found.items() if part}


def read_data(options: CheckOptions) -> Data:
    """Guesses how the files are to be read, and reads them.

    Raises:
      UserError: as `guess_reading` and `read_file`; no such group or time column; flags that exclude each other; a
        label that is none of the names.
    """
    names = None if options.label_names is None else read_label_names(options.label_names)
    if bool(options.inputs) == bool(options.train):
        raise UserError("give either DATA, or --train (and --val, --test)")
    if options.inputs and (options.val or options.test):
        raise UserError("--val and --test go with --train; DATA is split into all three")
    if options.train and options.rare_classes is not None:
        raise UserError("--rare-classes is for DATA that is to be split: with --train, leave it out")
    paths = [path for part in options.sources.values() for path in part]
    guess = guess_reading(paths, options.read)
    needs_labels = guess.options.label_column is not None
    files = {
        role: [read_file(path, guess.options, needs_labels=needs_labels, keep_records=True) for path in part]
        for role, part in options.sources.items()
    }
    whole = [file for part in files.values() for file in part]
    _require_columns(options, guess.options, whole)
    rows = [row for file in whole for row in file.rows]
    if names is not None:
        rows = with_class_names(rows, names)
    alike = look_alikes(count_labels(rows)) if options.alike_labels == "merge" else []
    merged = [f"labels that look alike are one class, in the first spelling: {group}" for group in alike]
    rows = merge_alike(rows) if merged else rows
    given = [role for role, part in files.items() for file in part for _ in file.rows]
    is_drawn = "input" in files
    return Data(
        rows=rows,
        splits=_drawn(rows) if is_drawn else given,
        is_drawn=is_drawn,
        columns=_other_columns(whole, guess.options),
        repeated_headers=[
            row.place
            for file in whole
            for row, fields in zip(file.rows, file.records, strict=True)
            if ending_of(file.path) in TABLES and [field.strip() for field in fields] == file.names
        ],
        read=guess.options,
        files=[str(path) for path in paths],
        guesses=guess.notes,
        notes=[*(f"{file.path}: {note}" for file in whole for note in file.notes), *merged],
    )


def _require_columns(options: CheckOptions, read: ReadOptions, files: Sequence[TextFile]) -> None:
    for flag, name in (("--group-column", options.group_column), ("--time-column", options.time_column)):
        if name is None:
            continue
        for file in files:
            if ending_of(file.path) not in TABLES:
                raise UserError(f"{flag} names a column of a table, and {file.path} has none: leave it out")
            find_column(file.path, file.names, name, flag)
        for other, used in (("--text-column", read.text_column), ("--label-column", read.label_column)):
            if used is not None and same_name(used) == same_name(name):
                raise UserError(f"{flag} {name!r} is the column of {other}, too: name another")


def _other_columns(files: Sequence[TextFile], read: ReadOptions) -> dict[str, list[str]]:
    """What stands beside texts and labels, by the names of the columns."""
    used = {same_name(read.text_name), same_name(read.label_name)}
    names = dict.fromkeys(same_name(name) for file in files if ending_of(file.path) in TABLES for name in file.names)
    columns: dict[str, list[str]] = {name: [] for name in names if name not in used}
    for file in files:
        index = {same_name(name): i for i, name in enumerate(file.names)}
        for name, cells in columns.items():
            at = index.get(name)
            cells += [""] * len(file.rows) if at is None else [fields[at].strip() for fields in file.records]
    return columns


def _drawn(rows: Sequence[Row]) -> list[str]:
    """The split of each row that `textclf prepare` draws with its defaults."""
    labels = [row.label for row in rows] if look_like_classes(rows) else [None] * len(rows)
    parts = stratified_split(labels, DEFAULT_FRACTION, DEFAULT_FRACTION, PrepareOptions.seed)
    split_of = {int(i): name for name, part in zip(SPLITS, parts, strict=True) for i in part}
    return [split_of[i] for i in range(len(rows))]


def with_text(data: Data) -> Data:
    """The rows that have visible text."""
    kept = [i for i, row in enumerate(data.rows) if not row.is_blank]
    columns: Mapping[str, list[str]] = {name: [cells[i] for i in kept] for name, cells in data.columns.items()}
    return replace(
        data, rows=[data.rows[i] for i in kept], splits=[data.splits[i] for i in kept], columns=dict(columns)
    )
