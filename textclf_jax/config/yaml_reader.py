"""Reads a YAML file strictly into plain Python data, with the line of every key.

Unquoted values follow the YAML 1.2 core schema: `1e-4` is a number, `010` is ten, `on` and `yes` are strings. Whatever
YAML readers may understand differently (duplicate keys, anchors, aliases, merge keys, tags, several documents) is
refused. Built on the parser's events: composed nodes no longer tell anchors, aliases and written tags.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_INTEGER = 2**63

KeyPath = tuple[str, ...]
Scalar = str | int | float | bool | None

_CORE_SCHEMA: tuple[tuple[str, Callable[[str], Scalar]], ...] = (
    ("~|null|Null|NULL|", lambda _: None),
    ("true|True|TRUE", lambda _: True),
    ("false|False|FALSE", lambda _: False),
    ("[-+]?[0-9]+", int),
    ("0o[0-7]+|0x[0-9a-fA-F]+", lambda text: int(text, base=0)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))),
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file: where (line from 1 where known, key path where there is one) and what."""

    message: str
    path: KeyPath = ()
    line: int | None = None


@dataclass
class Document:
    """The content of a file.

    Attributes:
      data: the top-level mapping; keys are always strings.
      lines: the line (from 1) of every key.
      spans: start and end (in characters of the decoded text) of every scalar value.
      problems: what was wrong but did not stop the reading.
    """

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    spans: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class Unreadable(Exception):
    """The text cannot be read any further. `problem` says where and why."""

    def __init__(self, problem: Problem):
        super().__init__(problem.message)
        self.problem = problem


def read_document(content: bytes) -> Document:
    """Reads a file whose top level is a mapping.

    Args:
      content: the bytes of the file, UTF-8, MAX_BYTES at most.

    Returns:
      The data with lines, spans and the problems that did not stop the reading.

    Raises:
      Unreadable: not text, not YAML, empty, not a mapping, too large, too deep, or more than one document.
    """
    data, document = _read(decode(content))
    if data is None and not document.problems:
        raise Unreadable(Problem("the file is empty"))
    if not isinstance(data, dict):
        raise Unreadable(Problem(f"expected sections such as training:, got {describe(data)}", line=1))
    document.data = data
    return document


def read_value(text: str) -> Any:
    """Reads one value as a file would, such as `1e-4`, `true` or `{kind: lsh}`.

    Raises:
      Unreadable: the text is not one plain YAML value.
    """
    data, document = _read(text)
    if document.problems:
        raise Unreadable(document.problems[0])
    return data


def resolve_plain(text: str) -> Scalar:
    """Gives an unquoted scalar its type.

    Source: YAML 1.2.2, section 10.3.2, the core schema.
    """
    return next((convert(text) for pattern, convert in _CORE_SCHEMA if re.fullmatch(pattern, text)), text)


def describe(value: object) -> str:
    """Names a value and its type for a message."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, str):
        return f"the string {value[:60]!r}" + ("..." if len(value) > 60 else "")
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, dict):
        return f"a section with the keys {', '.join(list(value)[:5])}" if value else "an empty section"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    shown = str(value)
    return f"the {'integer' if isinstance(value, int) else 'number'} {shown[:40]}" + ("..." if len(shown) > 40 else "")


def decode(content: bytes) -> str:
    """Turns the bytes of a file into text; a byte order mark is dropped.

    Raises:
      Unreadable: too large, or not UTF-8.
    """
    if len(content) > MAX_BYTES:
        raise Unreadable(Problem(f"{len(content)} bytes are too many for a config file ({MAX_BYTES} at most)"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unreadable(Problem(f"not UTF-8 text (byte 0x{content[error.start]:02x})", line=line)) from None


def _read(text: str) -> tuple[Any, Document]:
    """Reads the one document of a text: its value, and a Document without data that says what was found."""
    document = Document()
    try:
        return _Builder(yaml.parse(text, Loader=yaml.SafeLoader), document).build(), document
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise Unreadable(Problem(f"character U+{int(error.character):04X} is not allowed", line=line)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = "not valid YAML: " + ", ".join(part for part in (error.context, error.problem) if part)
        if mark and text[mark.index : mark.index + 1] == "\t":
            message = "a tab: indent with spaces"
        raise Unreadable(Problem(message, line=mark.line + 1 if mark else None)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # e.g. the escape "\UFFFFFFFF"
        raise Unreadable(Problem(f"not valid YAML ({error})")) from None


@dataclass
class _Builder:
    """Turns the parser's events into plain data, at most MAX_DEPTH deep; what is wrong goes into `document`."""

    events: Iterator[yaml.Event]
    document: Document

    def build(self) -> Any:
        next(self.events)  # stream start
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        data = self.node(next(self.events), ())
        next(self.events)  # document end
        if not isinstance(following := next(self.events), yaml.StreamEndEvent):
            raise Unreadable(Problem("a second document begins here: keep one", line=_line(following)))
        return data

    def report(self, message: str, path: KeyPath, event: yaml.Event) -> None:
        self.document.problems.append(Problem(message, path, _line(event)))

    def node(self, event: yaml.Event, path: KeyPath) -> Any:
        """The value that begins with `event`; None where it is refused."""
        if len(path) > MAX_DEPTH:
            raise Unreadable(Problem(f"nested more than {MAX_DEPTH} deep", line=_line(event)))
        if isinstance(event, yaml.AliasEvent):
            return self.report(f"alias *{event.anchor} is not allowed: write the value out", path, event)
        self.refuse_anchor_and_tag(event, path)
        if isinstance(event, yaml.ScalarEvent):
            self.document.spans[path] = (event.start_mark.index, event.end_mark.index)
            return self.scalar(event, path)
        return self.sequence(path) if isinstance(event, yaml.SequenceStartEvent) else self.mapping(path)

    def refuse_anchor_and_tag(self, event: yaml.Event, path: KeyPath) -> None:
        if anchor := getattr(event, "anchor", None):
            self.report(f"anchor &{anchor} is not allowed: write the value out where it is needed", path, event)
        if tag := getattr(event, "tag", None):
            self.report(f"tag {tag} is not allowed: write a plain value", path, event)

    def scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Scalar:
        if _UNPRINTABLE.search(event.value):
            return self.report("line breaks and control characters are not allowed in a value", path, event)
        try:
            value = resolve_plain(event.value) if event.style is None else event.value
        except ValueError:  # Python reads 4300 digits at most
            value = MAX_INTEGER
        if isinstance(value, int) and abs(value) >= MAX_INTEGER:
            return self.report("this integer is too large", path, event)
        return value

    def sequence(self, path: KeyPath) -> list[Any]:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, str(len(items)))
            self.document.lines[here] = _line(event)
            items.append(self.node(event, here))
        return items

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, path)
            here = (*path, key)
            if key in result:
                self.report(f"given twice (first on line {self.document.lines[here]}): keep one", here, event)
                _Builder(self.events, Document()).node(next(self.events), here)
            else:
                self.document.lines[here] = _line(event)
                result[key] = self.node(next(self.events), here)
        return result

    def key(self, event: yaml.Event, path: KeyPath) -> str:
        """The text of a key, whatever type YAML would give it."""
        if not isinstance(event, yaml.ScalarEvent) or _UNPRINTABLE.search(event.value):
            raise Unreadable(Problem("a key must be a plain word", path, _line(event)))
        if event.value == "<<" and event.style is None:
            self.report("merge key << is not allowed: write the keys out", (*path, "<<"), event)
        self.refuse_anchor_and_tag(event, (*path, event.value))
        return event.value


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1
