"""Reads JSON files of other projects strictly: what could be read in two ways is refused, by file and key."""

import json
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError, shortened
from textclf_jax.tokenizer.text_files import require_file


def read_json(path: Path) -> dict[str, Any]:
    """Reads the keys and values of a JSON file.

    Raises:
      UserError: it is missing, empty, not JSON, not keys and values, has a key twice, or has half a surrogate pair in a
        text, which could be neither stored nor printed.
    """
    require_file(path, "file")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_once)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: has half of a surrogate pair (\\ud800 to \\udfff) in a text. Write the text anew."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds one {type(content).__name__}, not keys and values")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict; JSON's readers keep the last of two equal keys without a word."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands there twice. Remove the wrong one.")
        found[key] = value
    return found


def shown(value: object) -> str:
    """Gives a value as JSON has it, cut to one short line, for messages."""
    return shortened(json.dumps(value, ensure_ascii=False, default=str), 80)
