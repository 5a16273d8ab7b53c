"""What a process needs before its work: names of files in UTF-8, and streams that take any text.

Libraries in C++ and Rust take the names of files for UTF-8. Under a locale of another encoding Python does not, and
they would read or make other files.
"""

import codecs
import io
import os
import sys
from collections.abc import Mapping


def utf8_environment() -> dict[str, str]:
    """The variables that make a process name files in UTF-8; none where it does, or `-X utf8=0` overrules them."""
    is_utf8 = codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"
    if is_utf8 or sys.flags.ignore_environment or os.environ.get("PYTHONUTF8") == "1":
        return {}
    added = {"PYTHONUTF8": "1"}
    if "PYTHONIOENCODING" not in os.environ and sys.stdout is not None:
        added["PYTHONIOENCODING"] = sys.stdout.encoding  # what the terminal shows stays as it is
    return added


def restart_with_environment(added: Mapping[str, str]) -> None:
    """Runs this command anew in the same process with these variables; returns where there are none."""
    if added:
        if sys.stdout is not None:
            sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **added})


def prepare_streams() -> None:
    """Makes standard output and standard error take any text.

    Into files and pipes goes UTF-8, whatever the locale. A terminal gets what its encoding has, and ? for the rest.
    What the caller has closed is thrown away.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif not isinstance(stream, io.TextIOWrapper) or stream.closed:
            continue  # of a notebook or another program, which knows better
        elif stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
