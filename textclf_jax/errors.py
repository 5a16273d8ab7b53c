"""The exception for errors that the user can correct."""


class UserError(Exception):
    """An error in what the user gave; the message names the file, key or row, and the remedy.

    Commands print it without a traceback and exit with code 2.
    """
