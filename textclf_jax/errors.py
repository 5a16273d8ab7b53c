"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A problem the user can solve. The message names the file, key or row, and the remedy.

    The commands print it without a traceback and exit with code 2.
    """
