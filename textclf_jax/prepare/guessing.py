"""Guesses how files are to be read where that is not said: encoding, delimiter, the columns of texts and labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textclf_jax.errors import listed
from textclf_jax.prepare.class_folder import files_of
from textclf_jax.prepare.encodings import guess_common_encoding
from textclf_jax.prepare.guessed_columns import choose_label_column, choose_text_column, describe_columns, refuse_a_row
from textclf_jax.prepare.tables import BY_ENDING, find_column
from textclf_jax.prepare.texts import PARQUET, TABLES, ReadOptions, ending_of, read_records, refuse_unused


@dataclass(frozen=True)
class Guess:
    """How files are to be read.

    Attributes:
      options: as they were given, and where they were not, as they were guessed; `read_file` reads the files with them.
      notes: what was guessed and why, a sentence each.
    """

    options: ReadOptions
    notes: list[str]


def guess_reading(paths: Sequence[Path], options: ReadOptions) -> Guess:
    """Guesses what `options` leaves open, by the names of columns and by what stands in the files.

    Args:
      paths: files that are read alike, those to train on first; its first table decides which columns are read.
      options: as given; what is given is never changed.

    Raises:
      UserError: several answers are possible, and the message names the flags that choose; or a file cannot be read.
    """
    refuse_unused(options, paths)
    options, notes = _guess_encoding(paths, options)
    tables = [path for path in paths if ending_of(path) in TABLES]
    if not tables:
        return Guess(options, notes)
    columns = _guess_columns(tables[0], options)
    # several files may be separated otherwise: each is then read as the name of its column of texts tells
    delimiter = columns.options.delimiter if len(tables) == 1 else options.delimiter
    return Guess(replace(columns.options, delimiter=delimiter), notes + columns.notes)


def _guess_encoding(paths: Sequence[Path], options: ReadOptions) -> tuple[ReadOptions, list[str]]:
    if options.encoding is not None:
        return options, []
    guess = guess_common_encoding([file for path in paths if ending_of(path) != PARQUET for file in files_of(path)])
    if guess.name is None:
        return options, []
    return replace(options, encoding=guess.name), [f"encoding: {guess.note}"]


def _guess_columns(path: Path, options: ReadOptions) -> Guess:
    """Names the columns of texts and labels of a table, and what separates its fields."""
    table = read_records(path, options, None)
    records = [fields for _, fields in table.records]
    if options.delimiter is None and ending_of(path) in BY_ENDING and len(table.names) > 1:
        options = replace(options, delimiter=table.delimiter)
    columns = describe_columns(table.names, records)
    if options.text_column is None:
        text, why_text = choose_text_column(path, columns, options.label_column)
    else:
        text, why_text = columns[find_column(path, table.names, options.text_column, "--text-column")], "as given"
    if options.label_column is None:
        label, why_label = choose_label_column(path, columns, text)
    else:
        label, why_label = columns[find_column(path, table.names, options.label_column, "--label-column")], "as given"
    chosen = options.text_column is not None and options.label_column is not None
    if label is not None and not chosen and ending_of(path) in BY_ENDING:
        refuse_a_row(path, columns, text, label)
    found = replace(options, text_column=text.name, label_column=None if label is None else label.name)
    others = [column.name for column in columns if column not in (text, label)]
    notes = [f"texts: the column {text.name!r}, {why_text}"]
    notes.append(f"labels: the column {label.name!r}, {why_label}" if label else f"labels: none, {why_label}")
    notes += [f"other columns: {listed(others)}"] if others else []
    return Guess(found, notes)
