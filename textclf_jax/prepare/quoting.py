"""Splits the lines of a table into records, and finds out whether quotation marks in it enclose fields (RFC 4180)."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from textclf_jax.errors import UserError, listed

Quoting = Literal["auto", "on", "off"]

SWALLOWED = 3  # lines of a record that are rows by themselves, as hardly any text's lines are
CERTAIN = 5  # signs of plain quotation marks that chance does not give
SAMPLE = 1000  # lines to see how fields are written
INDENTED = re.compile(r' +".*" *', re.DOTALL)  # marks that would enclose a field but for the space
PLURALS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
ESCAPED = (
    'A mark within a field is doubled in csv ("a ""b"" c"), a backslash before it means nothing: write "" for each \\" '
    "in the file."
)
WORDS = {
    "unexpected end of data": "opens a quotation mark that never closes",
    "expected after": "has more text after a closing quotation mark",
}


class Malformed(Exception):
    """What is wrong with a table, at which line, from 1, and what stands in that line."""

    def __init__(self, number: int, what: str, line: str = ""):
        super().__init__(f"line {number}: {what}")
        self.line = line


class Record(NamedTuple):
    """A record of a table.

    Attributes:
      begin, end: the numbers, from 0, of its first line and of the line after it.
      fields: its fields.
      lines: its lines, with their ends.
    """

    begin: int
    end: int
    fields: list[str]
    lines: list[str]


def split_records(lines: Iterable[str], start: int, delimiter: str, enclose: bool) -> Iterator[Record]:
    """Splits lines into records of as many fields as the first has; holds the lines of one record at a time.

    Args:
      lines: of the file, with their ends.
      start: where the header begins.
      delimiter: between fields.
      enclose: whether quotation marks enclose fields, which may then hold delimiters and line breaks.

    Raises:
      Malformed: another number of fields, or faulty quotation marks; a blank line before the end of a table of one
        column, where it may be an empty text. Elsewhere, blank lines between records are skipped.
    """
    quoting = csv.QUOTE_MINIMAL if enclose else csv.QUOTE_NONE
    taken: list[str] = []  # by csv, for the record at work

    def take() -> Iterator[str]:
        for line in islice(lines, start, None):
            taken.append(line)
            yield line

    reader = csv.reader(take(), delimiter=delimiter, quoting=quoting, strict=True)
    names: list[str] = []
    begin, blank = start, None
    try:
        for fields in reader:
            end, of_record = start + reader.line_num, taken[:]
            taken.clear()
            if not fields or (len(names) != 1 and _is_blank(of_record, delimiter)):
                blank = begin if blank is None and len(names) == 1 else blank
            elif blank is not None:
                remedy = 'of one column: leave it out, or write "" there if it stands for an empty text'
                raise Malformed(blank + 1, f"is blank, in the middle of a table {remedy}")
            else:
                names = names or fields
                if len(fields) != len(names):
                    what = _wrong_number(names, fields, of_record, delimiter, enclose)
                    raise Malformed(begin + 1, what, of_record[0])
                yield Record(begin, end, fields, of_record)
            begin = end
    except csv.Error as error:
        what = next((words for known, words in WORDS.items() if known in str(error)), str(error))
        raise Malformed(begin + 1, f"this row is not well-formed: it {what}", taken[0]) from error


def _is_blank(lines: list[str], delimiter: str) -> bool:
    """Whether a record is a line of nothing but spaces."""
    return not "".join(lines).strip() and delimiter not in lines[0]


def _wrong_number(names: list[str], fields: list[str], lines: list[str], delimiter: str, enclose: bool) -> str:
    """What is wrong with a record of another number of fields than the header has, and what helps."""
    shown = listed([name.strip() for name in names], 20)
    delimiters = PLURALS.get(delimiter, "delimiters")
    what = f"has {len(fields)} field{'s' * (len(fields) != 1)}, but the header has {len(names)} ({shown})"
    if len(names) == 1:
        return f"{what}; for a column alone, name a --delimiter that it does not contain, such as tab"
    if enclose and any(re.search(rf'{re.escape(delimiter)} +"', line) for line in lines):
        return f"{what}; a quotation mark after a space encloses nothing: remove the spaces before the marks"
    if enclose and len(fields) > len(names):
        other = "separate fields by tabs (tsv)" if delimiter != "\t" else "write them as spaces"
        return f"{what}; if a text has {delimiters} in it, enclose it in quotation marks, or {other}"
    return what


@dataclass
class Reading:
    """What one way of reading a table gives.

    Attributes:
      rows: records below the header.
      fault: why the table cannot be read so, "" where it can.
    """

    rows: int = -1  # the header is none
    fault: str = ""


@dataclass
class Survey:
    """What speaks for quotation marks that enclose fields, and for such that are plain characters.

    Attributes:
      enclosing, plain: the two readings.
      columns: of the header.
      needed: records whose fields come out right only by enclosing marks, as of `"one, two",a`: plainly, it has three.
      doubled: further records with doubled marks in an enclosed field, as of `"a ""b"" c",1`.
      header_enclosed: whether the names of all columns are enclosed, which no one means plainly: `"text","label"`.
      joined: records of several lines that each have the right number of fields by themselves: the lines `"one,a` and
        `two",b` are one record with enclosing marks, and two rows without.
      swallowed: those of them with SWALLOWED lines or more, so many that they are hardly one record: a mark opened by
        mistake, and all rows up to the next mark are in its field.
      gaps: joined records with a blank line in them, which may part paragraphs.
      spaced: whether spaces follow delimiters; where they do not, a delimiter before a space belongs to a text.
      indented: fields with a space before marks that would enclose them otherwise; `indented_first`: the line of one.
      loose: records with a mark in a field that is not enclosed, as no program writes them: `a 5" pipe,b`.
      first: the line of the first record of several lines, 0: none; of a swallowed one, if there is one.
      broken: records of several lines.
      longest: lines of the longest.
      escaped: whether a backslash before a mark is where enclosing marks fail.
    """

    enclosing: Reading
    plain: Reading
    columns: int = 0
    needed: int = 0
    doubled: int = 0
    header_enclosed: bool = False
    joined: int = 0
    swallowed: int = 0
    gaps: int = 0
    spaced: bool = False
    indented: int = 0
    indented_first: int = 0
    loose: int = 0
    first: int = 0
    broken: int = 0
    longest: int = 1
    escaped: bool = False

    @classmethod
    def of(cls, lines: Iterable[str], start: int, delimiter: str) -> "Survey":
        """Reads a table in both ways; goes through its lines three times."""
        sample = islice(lines, start, start + SAMPLE)
        spaced = any(delimiter + " " in line and '"' not in line for line in sample)
        survey = cls(Reading(), Reading(), spaced=spaced)
        for reading in (survey.enclosing, survey.plain):
            enclose = reading is survey.enclosing
            try:
                for record in split_records(lines, start, delimiter, enclose):
                    reading.rows += 1
                    if enclose:
                        survey._look_at(record.lines, record.begin, delimiter, record.fields)
            except Malformed as error:
                reading.fault = str(error)
                survey.escaped |= enclose and '\\"' in error.line
        return survey

    def _look_at(self, lines: list[str], begin: int, delimiter: str, fields: list[str]) -> None:
        is_header, self.columns = not self.columns, self.columns or len(fields)
        if len(lines) > 1:
            self.first, self.broken = self.first or begin + 1, self.broken + 1
            self.longest = max(self.longest, len(lines))
        elif '"' not in lines[0]:
            return
        indented = sum(
            # an enclosed field does not stand in the file as it is read
            INDENTED.fullmatch(field) is not None and delimiter + field in delimiter + "".join(lines)
            for field in fields
            if field[:1] == " "
        )
        self.indented_first = self.indented_first or (begin + 1) * bool(indented)
        self.indented += indented
        bare = [line.rstrip("\r\n") for line in lines]
        full = [line for line in bare if line]
        in_text = len(lines) > 1 and not self.spaced and any(delimiter + " " in line for line in full)
        blank = self.columns == 1 and len(full) < len(lines)  # as no row of one column is
        if {line.count(delimiter) + 1 for line in full} != {self.columns} or in_text or blank:
            self.needed += 1
        elif len(lines) > 1 and any('""' in line for line in full):
            self.doubled += 1
        elif len(lines) > 1:
            self.joined += 1
            self.gaps += len(full) < len(lines)
            if self.columns > 1 and len(full) >= SWALLOWED:
                self.first = self.first if self.swallowed else begin + 1
                self.swallowed += 1
        else:
            marked = [field for field in bare[0].split(delimiter) if '"' in field]
            enclosed = [field for field in marked if field.startswith('"')]
            self.header_enclosed |= is_header and len(enclosed) == self.columns
            if any('""' in field[1:-1] for field in enclosed):
                self.doubled += 1
            elif len(enclosed) < len(marked):
                self.loose += 1


def quotes_enclose(path: Path, survey: Survey, quoting: Literal["auto", "on"]) -> tuple[bool, str]:
    """Decides whether quotation marks enclose fields.

    Returns:
      The decision, and a note for the user where it matters to the rows.

    Raises:
      UserError: neither reading is well-formed, or both are and nothing tells which is meant.
    """
    enclosing, plain = survey.enclosing, survey.plain
    signs = survey.needed + survey.doubled
    if quoting == "on" or (not enclosing.fault and not _is_doubtful(survey)):
        return True, "" if enclosing.fault else _note(survey)
    escaped = f" {ESCAPED}" * survey.escaped
    if plain.fault:
        if not enclosing.fault:
            raise UserError(_doubt(path, survey))
        raise UserError(
            f"{path} {enclosing.fault}.{escaped} With quotation marks as plain characters (--quoting off), "
            f"{plain.fault}."
        )
    if enclosing.fault and (survey.escaped or survey.header_enclosed or signs > survey.joined + survey.loose):
        raise UserError(
            f"{path} {enclosing.fault}.{escaped} If quotation marks are plain characters in this file: --quoting off."
        )
    if enclosing.fault:
        return False, f"quotation marks are plain characters: as enclosing ones, {enclosing.fault} (--quoting decides)"
    is_certain = survey.columns > 1 and not survey.doubled and not survey.gaps
    if is_certain and survey.joined + survey.loose >= CERTAIN:
        return False, (
            f"quotation marks are plain characters: as enclosing ones, they would join whole rows from line "
            f"{survey.first} on, and {plain.rows:,} rows would be {enclosing.rows:,} (--quoting decides)"
        )
    raise UserError(_doubt(path, survey))


def _note(survey: Survey) -> str:
    """What is worth knowing where marks enclose fields."""
    notes = []
    if survey.broken:
        notes.append(
            f"{survey.broken:,} rows have line breaks within quotation marks (first: line {survey.first}; "
            f"{survey.longest:,} lines at most): --quoting off makes every line a row"
        )
    if survey.indented:
        notes.append(
            f"{survey.indented:,} fields keep their quotation marks, since a space stands before the first (line "
            f"{survey.indented_first})"
        )
    return "; ".join(notes)


def _is_doubtful(survey: Survey) -> bool:
    """Whether records of several lines, which enclosing marks give, look like rows that must not be joined."""
    if not survey.joined or survey.header_enclosed:
        return False
    if survey.columns == 1:  # lines of one column always look like rows
        return not survey.needed + survey.doubled
    return (
        bool(survey.swallowed)
        or survey.joined > survey.needed + survey.doubled
        or (bool(survey.loose) and not survey.plain.fault)
    )


def _doubt(path: Path, survey: Survey) -> str:
    as_plain = f"{survey.plain.rows:,} rows" if not survey.plain.fault else f"not well-formed ({survey.plain.fault})"
    return (
        f"{path} line {survey.first}: a quotation mark opens here and closes on a later line. If marks enclose fields "
        f"(--quoting on), the file has {survey.enclosing.rows:,} rows; if they are plain characters (--quoting off), "
        f"it is {as_plain}. Say which, or mend that line."
    )
