"""Reads csv and tsv files as they are written: finds line ends, delimiter and what quotation marks mean in the file."""

import csv
import io
import re
import shlex
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from textclf_jax.class_names import same_name
from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.quoting import Malformed, Quoting, Survey, quotes_enclose, split_records
from textclf_jax.prepare.rereading import Rereadable, first_of

DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
BY_ENDING = {".csv": ",", ".tsv": "\t"}
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t|]*\r?\n?', re.IGNORECASE)  # Excel's first line
HEADER_LINES = 20  # that a header may have
RETURN_ENDS = "lines end with a carriage return (\\r)"
LONE_RETURN = re.compile(r"\r(?!\n)")
# stands for a carriage return within a line while csv reads: csv would end the row there. Text has no NUL.
RETURN = "\0"


@dataclass(frozen=True)
class Table:
    """A table's header and records.

    Attributes:
      names: of the columns.
      records: (line of its beginning, from 1; fields) of each record below the header, read from the file each time.
      notes: sentences on how the file was read, where that is not plain; complete once the records have been read.
      delimiter: between the fields of csv and tsv.
    """

    names: list[str]
    records: Iterable[tuple[int, list[str]]]
    notes: list[str]
    delimiter: str | None = None


class Layout(NamedTuple):
    """How a table is written.

    Attributes:
      lines: of the file, with their ends; can be gone through again.
      start: the number of lines before the header.
      delimiter: between fields.
      has_returns: whether RETURN stands for carriage returns.
      has_quotes: whether there are quotation marks.
    """

    lines: Iterable[str]
    start: int
    delimiter: str
    has_returns: bool
    has_quotes: bool


def read_table(
    path: Path,
    lines: Iterable[str],
    needed: tuple[str, str] | None,
    delimiter: str | None,
    default: str,
    quoting: Quoting,
) -> Table:
    """Finds out how a table is written, for which it goes through the lines several times, and reads it.

    Args:
      path: for messages.
      lines: of the file, with their ends, one or more; can be gone through again.
      needed: the name of a column that it must have, and the flag that gives it; None: any columns will do.
      delimiter: between fields; None: `default`, or another where that alone gives the needed column; where none is
        needed, the one that gives all rows as many fields as the header.
      default: of the file's ending.
      quoting: whether quotation marks enclose fields (RFC 4180), "off": are plain characters, "auto": as the file
        itself tells.

    Raises:
      UserError: the column is missing, rows are not well-formed, or the file can be read in two ways.
    """
    csv.field_size_limit(sys.maxsize)
    lines, notes, has_returns = _with_line_ends(lines)
    separator = SEPARATOR_LINE.fullmatch(_first(lines))
    start = int(separator is not None)
    if separator is not None and delimiter is None:
        delimiter = separator[1]
    if first_of(islice(lines, start, None)) is None:
        raise UserError(f"{path}: has no header")
    if delimiter is None:
        rest = Rereadable(lambda: islice(lines, start, None))
        if needed is None:
            delimiter = _guess_delimiter(path, rest, default, quoting)
        else:
            delimiter = _find_delimiter(path, rest, needed[0], default, quoting)
    if delimiter != default:
        notes.append(f"fields are separated by {_shown(delimiter)} (--delimiter decides)")
    layout = Layout(lines, start, delimiter, has_returns, any('"' in line for line in lines))
    enclose = quoting != "off"
    if layout.has_quotes and quoting != "off":
        survey = Survey.of(lines, start, delimiter)
        enclose, note = quotes_enclose(path, survey, quoting)
        notes += [note] if note else []
    records = Rereadable(lambda: _records(path, layout, enclose, notes))
    header = first_of(records)
    names = [] if header is None else [name.strip() for name in header[1]]
    if needed is not None:
        find_column(path, names, *needed)
    if has_returns:
        notes.append(_check_returns(path, layout, len(names)))
    return Table(names, Rereadable(lambda: islice(records, 1, None)), notes, delimiter)


def replace_returns(path: Path, new: str) -> str:
    """The shell command that prints a file with another character for carriage returns."""
    command, name = f"tr '\\r' '{new}'", shlex.quote(path.name)
    return f"gzip -dc {name} | {command}" if path.suffix.lower() == ".gz" else f"{command} < {name}"


def find_column(path: Path, names: list[str], name: str, flag: str) -> int:
    """The index of the only column of that name; `flag` is for messages."""
    found = [i for i, other in enumerate(names) if same_name(other) == same_name(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{path}: has several columns {name!r}")
    alike = [other for other in names if same_name(other).casefold() == same_name(name).casefold()]
    remedy = f"Did you mean {flag} {alike[0]!r}?" if len(alike) == 1 else f"Choose one with {flag}."
    has_header = not BY_ENDING.keys().isdisjoint(suffix.lower() for suffix in path.suffixes)
    if len(names) == 1 and has_header:
        remedy += " If the fields are not separated by what they seem, name it with --delimiter."
    shown = listed([repr(shortened(each)) for each in names], 20, whole=True)
    which = "Its first line names" if has_header else "It has"
    raise UserError(f"{path}: has no column {name!r}. {which}: {shown}. {remedy}")


# --- line ends ------------------------------------------------------------------------------------------------


def _with_line_ends(lines: Iterable[str]) -> tuple[Iterable[str], list[str], bool]:
    """Lines with carriage returns told apart: those that end lines, and RETURN for those within.

    Returns:
      The lines, notes, and whether there are any RETURN.
    """
    given, notes = lines, []
    if _first(lines).endswith("\r\r\n"):  # a program translated \n to \r\n twice
        notes.append("lines end with two carriage returns and a line feed")
        lines = Rereadable(lambda: map(_without_second_return, given))
    first = _first(lines)
    if first.endswith("\r"):
        return lines, [RETURN_ENDS], False
    before, lone, _ = first.removesuffix("\n").rstrip("\r").partition("\r")
    if lone and before.count('"') % 2 == 0:  # as Mac OS 9 and Excel for it wrote them
        return split_at_returns(lines), [*notes, RETURN_ENDS], False
    if any("\r" in line and "\r" in line.removesuffix("\n").removesuffix("\r") for line in lines):
        ended = lines
        return Rereadable(lambda: (LONE_RETURN.sub(RETURN, line) for line in ended)), notes, True
    return lines, notes, False


def _first(lines: Iterable[str]) -> str:
    return next(iter(lines))


def _without_second_return(line: str) -> str:
    return line.removesuffix("\r\r\n") + "\n" if line.endswith("\r\r\n") else line


def split_at_returns(lines: Iterable[str]) -> Rereadable[str]:
    """Lines that end at carriage returns, too."""
    return Rereadable(lambda: chain.from_iterable(io.StringIO(line, newline="") for line in lines))


def _check_returns(path: Path, layout: Layout, columns: int) -> str:
    """A note on carriage returns within lines; raises UserError where they may as well end rows."""
    first, count = 0, 0
    for number, line in enumerate(layout.lines, start=1):
        pieces = [piece for piece in line.rstrip("\r\n").split(RETURN) if piece]
        if len(pieces) < 2:
            continue
        first, count = first or number, count + 1
        enclosed = line.startswith('"') if columns == 1 else any(piece.count('"') % 2 for piece in pieces)
        if not enclosed and all(piece.count(layout.delimiter) + 1 == columns for piece in pieces):
            as_ends, as_text = replace_returns(path, "\\n"), replace_returns(path, " ")
            raise UserError(
                f"{path} line {number}: has a carriage return (\\r) in it, with {columns} fields before and after. "
                f"If it ends a row: {as_ends}. If it is within a text: {as_text}. Write the output to a new file."
            )
    return f"{count:,} lines have a carriage return (\\r) in them, which is kept within its text (first: line {first})"


# --- the delimiter --------------------------------------------------------------------------------------------


def _find_delimiter(path: Path, lines: Iterable[str], needed: str, default: str, quoting: Quoting) -> str:
    """The delimiter that gives the header the needed column; the default where it does, or none does."""
    names = {each: _header(lines, each, quoting) for each in DELIMITERS.values()}
    fitting = [each for each, found in names.items() if same_name(needed) in map(same_name, found)]
    if default in fitting or not fitting:
        likely = max(names, key=lambda each: (len(names[each]), each == default))
        return default if default in fitting or len(names[default]) > 1 else likely
    return _only_one(path, fitting)


def _guess_delimiter(path: Path, lines: Iterable[str], default: str, quoting: Quoting) -> str:
    """The delimiter that gives all rows as many fields as the header, and more than one."""
    names = {each: _header(lines, each, quoting) for each in DELIMITERS.values()}
    several = [each for each, found in names.items() if len(found) > 1]
    if len(several) < 2:
        return several[0] if several else default
    fitting = [each for each in several if _fits(lines, each, quoting)]
    if fitting:
        return _only_one(path, fitting)
    return default if default in several else max(several, key=lambda each: len(names[each]))


def _fits(lines: Iterable[str], delimiter: str, quoting: Quoting) -> bool:
    """Whether all records have as many fields as the header, in a way to read quotation marks that is allowed."""
    for enclose in {"on": (True,), "off": (False,), "auto": (True, False)}[quoting]:
        with suppress(Malformed):
            deque(split_records(lines, 0, delimiter, enclose), maxlen=0)
            return True
    return False


def _only_one(path: Path, fitting: list[str]) -> str:
    if len(fitting) > 1:
        shown = " or ".join(map(_shown, fitting))
        raise UserError(f"{path}: its fields may be separated by {shown}: say which with --delimiter")
    return fitting[0]


def _header(lines: Iterable[str], delimiter: str, quoting: Quoting) -> list[str]:
    style = csv.QUOTE_NONE if quoting == "off" else csv.QUOTE_MINIMAL
    return next(filter(None, csv.reader(islice(lines, HEADER_LINES), delimiter=delimiter, quoting=style)), [])


def _shown(delimiter: str) -> str:
    return next((name for name, each in DELIMITERS.items() if each == delimiter), repr(delimiter))


# --- records --------------------------------------------------------------------------------------------------


def _records(path: Path, layout: Layout, enclose: bool, notes: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields (first line, fields) of every record, the header's too; adds a note on blank lines at the end."""
    blank, first, after = 0, 0, layout.start
    try:
        for begin, end, fields, _ in split_records(layout.lines, layout.start, layout.delimiter, enclose):
            if begin > after:
                blank, first = blank + begin - after, first or after + 1
            after = end
            yield begin + 1, [field.replace(RETURN, "\r") for field in fields] if layout.has_returns else fields
    except Malformed as error:
        flag = "--quoting off" if enclose else "--quoting on"
        remedy = f" Is another reading of quotation marks meant ({flag})?" if layout.has_quotes else ""
        raise UserError(f"{path} {error}.{remedy}") from error
    if blank:
        lines = "1 blank line between rows was" if blank == 1 else f"{blank:,} blank lines between rows were"
        if (note := f"{lines} skipped (first: line {first})") not in notes:  # each time they are read
            notes.append(note)
