"""The exception for errors that the user can correct, and the wording of long lists in messages."""

from collections.abc import Sequence


class UserError(Exception):
    """An error in what the user gave; the message names the file, key or row, and the remedy.

    Commands print it without a traceback and exit with code 2.
    """


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Joins names for a message: the first few, each cut to 60 characters, and how many more there are."""
    shown = ", ".join(map(shortened, names[:limit]))
    return shown if len(names) <= limit else f"{shown}, ... and {len(names) - limit:,} more"


def shortened(text: str, limit: int = 60) -> str:
    """Cuts a text for a message."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
