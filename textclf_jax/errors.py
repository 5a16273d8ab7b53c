"""The exception for errors that the user can correct, and the wording of long names and lists in messages."""

from collections.abc import Sequence
from unicodedata import category


class UserError(Exception):
    """An error in what the user gave; the message names the file, key or row, and the remedy.

    Commands print it without a traceback and exit with code 2.
    """


class ArgumentError(UserError, ValueError):
    """An argument of the Python API that is wrong; libraries such as scikit-learn look for a ValueError there."""


def listed(names: Sequence[str], limit: int = 10, *, whole: bool = False) -> str:
    """Joins names for a message: the first few, and how many more there are.

    Args:
      names: what to list.
      limit: how many are shown.
      whole: whether they are not to be cut, as paths are; otherwise each has 60 characters at most.
    """
    first = names[:limit]
    shown = ", ".join(first if whole else map(shortened, first))
    return shown if len(names) <= limit else f"{shown}, ... and {len(names) - limit:,} more"


def shortened(text: str, limit: int = 60) -> str:
    """Cuts a text for a message; what is left is as it was written."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def one_line(text: str, limit: int) -> str:
    """A text in one line of so many characters at most, for tables: without line breaks and control characters."""
    line = "".join("\N{REPLACEMENT CHARACTER}" if category(c) == "Cc" else c for c in " ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
