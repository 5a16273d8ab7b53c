"""The commands of docs/tutorial.md, as they stand there."""

import re
import shlex
from pathlib import Path

TUTORIAL = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = ("textclf ", "python ")


def commands() -> list[list[str]]:
    """The words of each command."""
    lines = (line for language, text in _blocks() if not language for line in text.splitlines())
    return [shlex.split(line) for line in lines if line.startswith(COMMANDS)]


def python_code() -> str:
    """The code of its Python blocks."""
    return "\n".join(text for language, text in _blocks() if language == "python")


def _blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))
