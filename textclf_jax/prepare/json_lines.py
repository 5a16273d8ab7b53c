"""Reads JSON lines: one object a line, whose keys are the columns."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.rereading import Rereadable
from textclf_jax.prepare.tables import Table
from textclf_jax.tokenizer.text_files import well_formed

ARRAY_REMEDY = "If the file is one array, write its objects a line each: jq -c '.[]' FILE > FILE.jsonl"


def read_json_lines(path: Path, lines: Iterable[str]) -> Table:
    """Reads a table: the columns are all keys, in the order of their first use, for which all lines are read once.

    Args:
      path: for messages.
      lines: of the file; blank ones are skipped. They can be gone through again.

    Raises:
      UserError: a line is no JSON object, or an object has a key twice.
    """
    counts, total = Counter[str](), 0
    for _, each in _objects(path, lines):
        counts.update(each.keys())
        total += 1
    names = list(counts)
    rare = [f"{key!r} ({count:,})" for key, count in counts.items() if count < total]
    notes = [f"keys that not all of the {total:,} lines have: {listed(rare, 5)}"] if rare else []

    def records() -> Iterator[tuple[int, list[str]]]:
        return ((number, [cell_text(each.get(key)) for key in names]) for number, each in _objects(path, lines))

    return Table([name.strip() for name in names], Rereadable(records), notes)


def cell_text(value: Any) -> str:
    """A value as the cell of a table: nothing for null, JSON for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def _objects(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line, from 1; object) of each line that is not blank."""
    return ((number, _object(path, number, line)) for number, line in enumerate(lines, start=1) if line.strip())


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise UserError(f"{path} line {number}: has the key {shortened(key)!r} twice: leave one of them out")
        return found

    try:  # numbers stay as they are written
        content = json.loads(line, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} line {number}: is no JSON ({error}). Each line is one object. {ARRAY_REMEDY}"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f'{path} line {number}: is no object such as {{"text": "...", "label": "..."}}. {ARRAY_REMEDY}')
    return content
