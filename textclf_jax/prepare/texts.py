"""Reads raw text from csv, tsv, jsonl and txt files, plain or gzip, from parquet and from folders of classes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

from textclf_jax.class_names import same_name
from textclf_jax.errors import UserError
from textclf_jax.prepare.class_folder import class_files, file_text
from textclf_jax.prepare.json_lines import read_json_lines
from textclf_jax.prepare.label_columns import Columns
from textclf_jax.prepare.label_sets import CellReader
from textclf_jax.prepare.parquet import read_parquet
from textclf_jax.prepare.quoting import Quoting
from textclf_jax.prepare.rereading import Rereadable, first_of
from textclf_jax.prepare.tables import BY_ENDING, Table, find_column, read_table
from textclf_jax.prepare.txt import TextUnit, lines_of_txt, texts_of_txt
from textclf_jax.tokenizer.text_files import encoding_of, is_accented_utf8, is_compressed, iterate_lines

DEFAULT_TEXT_COLUMN, DEFAULT_LABEL_COLUMN = "text", "label"
INVISIBLE = ("Cc", "Cf", "Zl", "Zp", "Zs")  # categories of Unicode
ENCODING_REMEDY = "name it, for example --encoding {}"
JSON_LINES, PARQUET, TXT, CLASS_FOLDER = ".jsonl", ".parquet", ".txt", "folder"
TABLES = {*BY_ENDING, JSON_LINES, PARQUET}

Label = str | tuple[str, ...]  # several, or none of the classes: a sorted tuple


class Row(NamedTuple):
    """One text and where it came from."""

    text: str
    label: Label | None  # as written; None: unlabelled
    path: Path
    line: int  # the first of the text, from 1

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes."""
        if self.label is None or isinstance(self.label, str):
            return () if self.label is None else (self.label,)
        return self.label

    @property
    def is_blank(self) -> bool:
        """Whether there is no visible character in the text: spaces, control and format characters show nothing."""
        return all(category(character) in INVISIBLE for character in self.text)

    @property
    def place(self) -> str:
        return f"{self.path} line {self.line}"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
      text_column: of tables (csv, tsv, jsonl, parquet); None: "text".
      label_column: of tables; None: "label" where there is one.
      label_separator: between the labels of a text, or `label_sets.JSON`; None: a text has one label.
      quoting: whether quotation marks enclose fields (RFC 4180), are plain characters, or what the file tells; None:
        "auto", the last of these.
      delimiter: between fields of csv and tsv; None: what the file tells.
      encoding: as Python names it; None: what the byte order mark tells, UTF-8 without one.
      text_unit: of txt; paragraphs are separated by an empty line, documents by two. None: "line".
    """

    text_column: str | None = None
    label_column: str | None = None
    quoting: Quoting | None = None
    delimiter: str | None = None
    encoding: str | None = None
    text_unit: TextUnit | None = None
    label_separator: str | None = None

    @property
    def text_name(self) -> str:
        """The name of the column of texts."""
        return DEFAULT_TEXT_COLUMN if self.text_column is None else self.text_column

    @property
    def label_name(self) -> str:
        """The name of the column of labels, where there is one."""
        return DEFAULT_LABEL_COLUMN if self.label_column is None else self.label_column

    @property
    def marks(self) -> Quoting:
        """What quotation marks are."""
        return "auto" if self.quoting is None else self.quoting

    @property
    def unit(self) -> TextUnit:
        """What a text is in txt."""
        return "line" if self.text_unit is None else self.text_unit


@dataclass(frozen=True)
class TextFile:
    """A file that was read.

    Attributes:
      path: of the file.
      rows: its texts in the file's order.
      notes: sentences on how it was read, where that is not plain.
      names: its columns, "text" alone of txt, "text" and "label" of a folder of classes.
      records: the fields of each row as they were written, if they were to be kept.
      label_column: the name of the column of labels, if there is one.
      likely_labels: names of columns that look like labels, where there is no such column.
    """

    path: Path
    rows: list[Row]
    notes: list[str]
    names: list[str] = field(default_factory=lambda: [DEFAULT_TEXT_COLUMN])
    records: list[list[str]] = field(default_factory=list)
    label_column: str | None = None
    likely_labels: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TextSource:
    """A file whose texts are read one after the other, as often as they are asked for, and are never all in memory.

    Attributes:
      path: of the file.
      rows: each text, with the fields of its row as they were written.
      notes: sentences on how the file is read, where that is not plain; complete once all rows have been read.
      names: its columns.
      text_at: which of them holds the texts.
      label_column: the name of the column of labels, if there is one.
    """

    path: Path
    rows: Iterable[tuple[Row, list[str]]]
    notes: list[str]
    names: list[str]
    text_at: int = 0
    label_column: str | None = None


def refuse_unused(options: ReadOptions, paths: Sequence[Path]) -> None:
    """Raises UserError for an option that is given, but that none of the files to read has a use for.

    Args:
      options: as given.
      paths: of all files that are read with them, none where texts are given otherwise.
    """
    columns = {
        "--text-column": options.text_column,
        "--label-column": options.label_column,
        "--label-separator": options.label_separator,
    }
    endings = {ending_of(path) for path in paths}
    for kind, is_read, flags in (
        ("csv, tsv, jsonl and parquet files", bool(endings & TABLES), columns),
        ("csv and tsv files", bool(endings & BY_ENDING.keys()), _quoting_flags(options)),
        ("txt files", TXT in endings, {"--text-unit": options.text_unit}),
        ("text files", bool(endings - {PARQUET}), {"--encoding": options.encoding}),
    ):
        for flag, value in flags.items():
            if value is not None and not is_read:
                raise UserError(f"{flag} says how {kind} are read, and none is given here: leave it out")


def _quoting_flags(options: ReadOptions) -> dict[str, str | None]:
    return {"--quoting": options.quoting, "--delimiter": options.delimiter}


def ending_of(path: Path) -> str:
    """The ending that tells how a file is read, .gz aside; CLASS_FOLDER of a folder; raises UserError for another."""
    suffix = (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()
    if suffix in (*BY_ENDING, JSON_LINES, TXT) or path.suffix.lower() == PARQUET:
        return suffix
    if path.is_dir():
        return CLASS_FOLDER
    raise UserError(
        f"{path}: is neither .csv, .tsv, .jsonl nor .txt (each also .gz), nor .parquet; the ending tells how to read it"
    )


def read_file(path: Path, options: ReadOptions, *, needs_labels: bool = True, keep_records: bool = False) -> TextFile:
    """Reads the texts of a .csv, .tsv, .jsonl or .txt file, each also with .gz, a .parquet file or a folder of classes.

    Args:
      path: the file or folder.
      options: how it is read.
      needs_labels: whether `options.label_column`, where it is given, must be there.
      keep_records: whether the other columns are kept too.

    Returns:
      The rows in the file's order; texts are stripped and may be empty. No row of the file is missing.

    Raises:
      UserError: an unknown kind of file, damaged text, a missing column, a row with missing or extra fields, no rows,
        or a file that can be read in two ways.
    """
    source = open_texts(path, options, needs_labels=needs_labels)
    rows, records, columns = [], [], columns_without_labels(source, needs_labels=needs_labels)
    for row, fields in source.rows:
        rows.append(row)
        if columns is not None:
            columns.add(fields)
        if keep_records:
            records.append(fields)
    if not rows:
        raise UserError(f"{path}: has no rows")
    likely = columns.like_labels() if columns is not None else []
    return TextFile(path, rows, source.notes, source.names, records, source.label_column, likely)


def columns_without_labels(source: TextSource, *, needs_labels: bool) -> Columns | None:
    """To look at the columns of a table that needs one of labels and has none of that name; None of other files."""
    looks_for_labels = needs_labels and source.label_column is None and ending_of(source.path) in TABLES
    return Columns(source.names, source.text_at) if looks_for_labels else None


def open_texts(path: Path, options: ReadOptions, *, needs_labels: bool = True) -> TextSource:
    """Finds out how a file is written, for which it may go through it several times; see `read_file`.

    Raises:
      UserError: as `read_file`; what is wrong with a row is found when the row is read.
    """
    ending = ending_of(path)
    if ending in TABLES:
        table = read_records(path, options, (options.text_name, "--text-column"))
        return _texts_of_table(path, table, options, needs_labels)
    if ending == TXT:
        lines, notes = lines_of_txt(path, _lines(path, options))
        texts = Rereadable(lambda: texts_of_txt(lines, options.unit))
        rows = Rereadable(lambda: ((Row(text, None, path, number), [text]) for number, text in texts))
        return TextSource(path, rows, [*_reading_notes(path, options.encoding), *notes], [DEFAULT_TEXT_COLUMN])
    return _open_class_folder(path, options.encoding)


def read_records(path: Path, options: ReadOptions, needed: tuple[str, str] | None) -> Table:
    """Reads a table: csv, tsv, jsonl or parquet.

    Args:
      path: the file.
      options: how it is read.
      needed: the name of a column that it must have, and the flag that gives it; None: any columns will do.

    Raises:
      UserError: as `read_file`.
    """
    ending = ending_of(path)
    if ending == PARQUET:
        table = read_parquet(path)
    else:
        lines = _lines(path, options)
        if ending == JSON_LINES:
            table = read_json_lines(path, lines)
        else:
            table = read_table(path, lines, needed, options.delimiter, BY_ENDING[ending], options.marks)
        table.notes[:0] = _reading_notes(path, options.encoding)
    if needed is not None:
        find_column(path, table.names, *needed)
    return table


def _lines(path: Path, options: ReadOptions) -> Rereadable[str]:
    lines = Rereadable(lambda: iterate_lines(path, options.encoding, ENCODING_REMEDY))
    if first_of(lines) is None:
        raise UserError(f"{path}: has no rows")
    return lines


def _reading_notes(path: Path, encoding: str | None) -> list[str]:
    """What is odd about a file of text, or its encoding."""
    notes = _encoding_notes(path, encoding)
    if path.suffix.lower() == ".gz" and not is_compressed(path):
        notes.insert(0, "its name ends in .gz, but it is not compressed: it was read as plain text")
    return notes


def _encoding_notes(path: Path, encoding: str | None) -> list[str]:
    if encoding is None:
        found = encoding_of(path)
        return [] if found == "utf-8" else [f"it is {found.upper()}, as its byte order mark tells"]
    if not encoding.lower().startswith("utf") and is_accented_utf8(path):
        return [f"it was read as {encoding}, but it is valid UTF-8 too: without --encoding, it is read as that"]
    return []


# --- tables ---------------------------------------------------------------------------------------------------


def _texts_of_table(path: Path, table: Table, options: ReadOptions, needs_labels: bool) -> TextSource:
    names = table.names
    text_at, label_at = find_column(path, names, options.text_name, "--text-column"), None
    wanted = options.label_name
    given = sum(same_name(name) == same_name(wanted) for name in names)
    # a column that is not needed may be missing, or be there twice
    if (needs_labels and (given or options.label_column is not None)) or given == 1:
        label_at = find_column(path, names, wanted, "--label-column")
    if label_at == text_at:
        if needs_labels:
            raise UserError(
                f"{path}: the column {names[text_at]!r} is that of the texts and that of the labels, which would tell "
                "them all. Name another with --text-column or --label-column; prepare --task mlm needs no labels."
            )
        label_at = None

    def rows() -> Iterator[tuple[Row, list[str]]]:
        cells = None if options.label_separator is None else CellReader(path, options.label_separator)
        for line, fields in table.records:
            # one spelling of accents, the composed one: names that look the same are the same
            label = None if label_at is None else same_name(fields[label_at]) or None
            if label is not None and cells is not None:
                label = cells.read(label, line)
            yield Row(fields[text_at].strip(), label, path, line), fields
        if cells is not None:
            table.notes.extend(note for note in cells.notes() if note not in table.notes)

    found = None if label_at is None else names[label_at]
    return TextSource(path, Rereadable(rows), table.notes, names, text_at, found)


# --- folders of classes ---------------------------------------------------------------------------------------


def _open_class_folder(path: Path, encoding: str | None) -> TextSource:
    files, notes = class_files(path)

    def rows() -> Iterator[tuple[Row, list[str]]]:
        for file in files:
            text = file_text(file.path, encoding, ENCODING_REMEDY)
            yield Row(text, file.label, file.path, 1), [text, file.label]

    names = [DEFAULT_TEXT_COLUMN, DEFAULT_LABEL_COLUMN]
    return TextSource(path, Rereadable(rows), notes, names, label_column=DEFAULT_LABEL_COLUMN)
