"""Generated parts of pages in docs/: Markdown tables, and where they stand between two marks."""

from collections.abc import Sequence
from pathlib import Path

from textclf_jax.errors import UserError

END = "<!-- end of the generated part -->"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> list[str]:
    """The lines of a Markdown table; the first `texts` columns are texts, the others figures."""
    rule = "|---" * texts + "|--:" * (len(columns) - texts) + "|"
    head, *others = (f"| {' | '.join(row)} |" for row in (columns, *rows))
    return [head, rule, *others]


def split_page(path: Path, start: str) -> tuple[str, str, str]:
    """The texts of a page before, in and after its generated part, from `start` to END; all are empty without a file.

    Raises:
      UserError: the file has no generated part; the message says how to make one.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else f"{start}\n{END}\n"
    before, found, rest = text.partition(start)
    part, end, after = rest.partition(END)
    if not found or not end:
        raise UserError(f"{path}: there is no generated part. Add these two lines where it is to be:\n{start}\n{END}")
    return before, part, after


def write_page(path: Path, start: str, lines: Sequence[str]) -> None:
    """Writes the generated part of a page; the rest of it stays.

    Raises:
      UserError: see `split_page`.
    """
    before, _, after = split_page(path, start)
    path.write_text(before + "\n".join([start, "", *lines, "", END]) + after, encoding="utf-8")
    print(f"wrote {path}")
