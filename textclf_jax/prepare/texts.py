"""Reads raw text from csv, tsv and txt files, plain or gzip."""

import csv
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.tokenizer.text_files import iterate_lines

DEFAULT_TEXT_COLUMN, DEFAULT_LABEL_COLUMN = "text", "label"
DELIMITERS = {".csv": ",", ".tsv": "\t"}

TextUnit = Literal["line", "paragraph", "document"]


class Row(NamedTuple):
    """One text and where it came from."""

    text: str
    label: str | None  # as written; None: unlabelled
    path: Path
    line: int  # the first of the text, from 1

    @property
    def place(self) -> str:
        return f"{self.path} line {self.line}"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read."""

    text_column: str | None = None  # of csv and tsv; None: "text"
    label_column: str | None = None  # of csv and tsv; None: "label" where there is one
    quotes: bool = True  # whether quotation marks enclose fields (RFC 4180) or are plain characters
    text_unit: TextUnit = "line"  # of txt; paragraphs are separated by an empty line, documents by two

    @property
    def text_name(self) -> str:
        """The name of the column of texts."""
        return DEFAULT_TEXT_COLUMN if self.text_column is None else self.text_column

    @property
    def label_name(self) -> str:
        """The name of the column of labels, where there is one."""
        return DEFAULT_LABEL_COLUMN if self.label_column is None else self.label_column


def read_rows(path: Path, options: ReadOptions) -> list[Row]:
    """Reads the texts of a .csv, .tsv or .txt file, each also with .gz.

    Returns:
      The rows in the file's order; texts are stripped and may be empty.

    Raises:
      UserError: an unknown kind of file, damaged text, a missing column, a row with missing or extra fields, no rows.
    """
    suffix = (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()
    if suffix in DELIMITERS:
        rows = list(_table_rows(path, DELIMITERS[suffix], options))
    elif suffix == ".txt":
        rows = list(_text_rows(path, options.text_unit))
    else:
        raise UserError(f"{path}: is neither .csv, .tsv nor .txt (each also .gz); the ending tells how to read it")
    if not rows:
        raise UserError(f"{path}: has no rows")
    return rows


# --- csv and tsv ----------------------------------------------------------------------------------------------


def _table_rows(path: Path, delimiter: str, options: ReadOptions) -> Iterator[Row]:
    records = _records(path, delimiter, options.quotes)
    _, header = next(records, (1, []))
    names = [unicodedata.normalize("NFC", name.strip()) for name in header]
    text_at = _column(path, names, options.text_name, "--text-column")
    label_at = None
    if options.label_column is not None or DEFAULT_LABEL_COLUMN in names:
        label_at = _column(path, names, options.label_name, "--label-column")
    for line, record in records:
        if len(record) != len(names):
            raise UserError(
                f"{path} line {line}: has {len(record)} fields, but the header has {len(names)} ({', '.join(names)})"
            )
        # one spelling of accents, the composed one: names that look the same are the same
        label = None if label_at is None else unicodedata.normalize("NFC", record[label_at].strip())
        if label == "":
            raise UserError(f"{path} line {line}: has no label")
        if label is not None and len(label.splitlines()) > 1:
            raise UserError(
                f"{path} line {line}: the label {shortened(label)!r} has a line break in it. Is this the column of the "
                "texts? Name that of the classes with --label-column."
            )
        yield Row(record[text_at].strip(), label, path, line)


def _records(path: Path, delimiter: str, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Yields (first line, fields) of every record; blank lines are allowed at the end of the file only."""
    csv.field_size_limit(sys.maxsize)
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(iterate_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    line, blank = 1, None
    try:
        for fields in reader:
            if not fields:
                blank = blank or line
            elif blank is not None:
                raise UserError(f"{path} line {blank}: is blank, in the middle of the table")
            else:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        remedy = " If quotation marks are plain characters in this file, pass --no-quotes." if quotes else ""
        raise UserError(f"{path} line {line}: this row is not well-formed ({error}).{remedy}") from error


def _column(path: Path, names: list[str], name: str, flag: str) -> int:
    """The index of the only column of that name; `flag` is for messages."""
    name = unicodedata.normalize("NFC", name)
    if names.count(name) == 1:
        return names.index(name)
    if name in names:
        raise UserError(f"{path}: has several columns {name!r}")
    shown = listed([repr(shortened(n, 40)) for n in names], 20)
    raise UserError(f"{path}: has no column {name!r}. Its first line names: {shown}. Choose one with {flag}.")


# --- txt ------------------------------------------------------------------------------------------------------


def _text_rows(path: Path, unit: TextUnit) -> Iterator[Row]:
    if unit == "line":
        for number, line in enumerate(iterate_lines(path), start=1):
            yield Row(line.strip(), None, path, number)
        return
    document: list[str] = []
    first = 1
    for number, apart, text in _paragraphs(path):
        if document and (apart or unit == "paragraph"):
            yield Row("\n\n".join(document), None, path, first)
            document = []
        first = first if document else number
        document.append(text)
    if document:
        yield Row("\n\n".join(document), None, path, first)


def _paragraphs(path: Path) -> Iterator[tuple[int, bool, str]]:
    """Yields (first line, whether two empty lines come before it, text) of each paragraph."""
    lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(iterate_lines(path), start=1))
    apart = False
    for blank, run in groupby(lines, key=lambda numbered: not numbered[1].strip()):
        block = list(run)
        if blank:
            # a line of spaces ends a paragraph but not a document: scanned books are full of them
            apart = any(a == b == "" for (_, a), (_, b) in pairwise(block))
        else:
            yield block[0][0], apart, " ".join(line.strip() for _, line in block)
