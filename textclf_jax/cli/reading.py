"""The flags that say how text files are read, the same in every command that reads some."""

import argparse
import sys
from typing import TYPE_CHECKING

from textclf_jax.errors import UserError

if TYPE_CHECKING:
    from textclf_jax.prepare.texts import ReadOptions, TextFile, TextSource


def add_reading_flags(parser: argparse.ArgumentParser, *, labels: bool = True, guessed: bool = False) -> None:
    """Adds the flags that `reading_options` reads.

    Args:
      parser: gets them.
      labels: whether the command has a use for labels.
      guessed: whether columns and encoding are guessed where they are not given.
    """
    add = parser.add_argument_group("reading").add_argument
    add("--text-column", metavar="NAME", help=f"of tables (default: {'guessed' if guessed else 'text'})")
    if labels:
        default = "guessed" if guessed else "label, where there is one"
        add("--label-column", metavar="NAME", help=f"of tables (default: {default})")
        add(
            "--label-separator",
            metavar="SEP",
            help='between several labels of a text, such as \'|\'; json: lists such as ["a", "b"] (default: a text '
            "has one label)",
        )
    else:
        parser.set_defaults(label_column=None, label_separator=None)
    add(
        "--quoting",
        choices=("auto", "on", "off"),
        help="whether quotation marks enclose fields of csv and tsv; off: they are plain characters (default: as the "
        "file tells)",
    )
    add("--no-quotes", dest="quoting", action="store_const", const="off", help="the same as --quoting off")
    add("--delimiter", metavar="D", help="between fields: comma, tab, semicolon, pipe or a character (default: found)")
    default = "guessed" if guessed else "UTF-8, or what a byte order mark tells"
    add("--encoding", metavar="NAME", help=f"such as windows-1252 (default: {default})")
    add("--text-unit", choices=("line", "paragraph", "document"), help="a text of txt (default line)")


def reading_options(args: argparse.Namespace) -> "ReadOptions":
    """How files are to be read; raises UserError for a delimiter or separator that can be none."""
    from textclf_jax.prepare.tables import DELIMITERS
    from textclf_jax.prepare.texts import ReadOptions

    delimiter = args.delimiter
    if delimiter is not None:
        delimiter = DELIMITERS.get(delimiter.lower(), "\t" if delimiter == "\\t" else delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n\0':
            known = ", ".join(DELIMITERS)
            raise UserError(f"--delimiter {args.delimiter!r}: must be {known} or another single character")
    separator = None if args.label_separator is None else _separator(args.label_separator)
    return ReadOptions(
        args.text_column, args.label_column, args.quoting, delimiter, args.encoding, args.text_unit, separator
    )


def _separator(given: str) -> str:
    """What stands between labels; blanks around labels do not count, so that ", " is the same as ","."""
    from textclf_jax.prepare.label_sets import JSON
    from textclf_jax.prepare.tables import DELIMITERS

    named = {**DELIMITERS, "\\t": "\t", JSON: JSON}
    separator = named.get(given.lower(), given)
    if not separator or (separator == given and separator.isalnum() and separator != JSON):
        raise UserError(
            f"--label-separator {given!r}: must be what stands between labels, such as '|', or {', '.join(named)}"
        )
    bare = separator.strip()
    return separator if not bare or bare.isalnum() else bare


def print_notes(file: "TextFile | TextSource") -> None:
    """Says on stderr how a file was read, where that is not plain."""
    for note in file.notes:
        print(f"note: {file.path}: {note}", file=sys.stderr)
