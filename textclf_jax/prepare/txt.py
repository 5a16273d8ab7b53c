"""Reads txt files: a text a line, a paragraph or a document."""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal

from textclf_jax.prepare.tables import RETURN_ENDS, replace_returns, split_at_returns

TextUnit = Literal["line", "paragraph", "document"]


def lines_of_txt(path: Path, lines: Iterable[str]) -> tuple[Iterable[str], list[str]]:
    """The lines, and notes; carriage returns end them where no line feed does, or where there are more of them."""
    feeds = returns = within = 0
    starts_with_return = False
    for number, line in enumerate(lines, start=1):
        starts_with_return |= number == 1 and line.endswith("\r")
        feeds += line.endswith("\n")
        if "\r" in line and (inner := line.removesuffix("\n").removesuffix("\r").count("\r")):
            returns, within = returns + inner, within or number
    if returns > feeds or starts_with_return:
        return split_at_returns(lines), [RETURN_ENDS]
    if within:
        what = f"{returns:,} carriage returns (\\r) within lines are spaces (first: line {within})"
        return lines, [f"{what}. If they end lines, write a new file: " + replace_returns(path, "\\n")]
    return lines, []


def texts_of_txt(lines: Iterable[str], unit: TextUnit) -> Iterator[tuple[int, str]]:
    """Yields (first line, from 1; stripped text) of each text."""
    if unit == "line":
        for number, line in enumerate(lines, start=1):
            yield number, line.strip()
        return
    document: list[str] = []
    first = 1
    for number, apart, text in _paragraphs(lines):
        if document and (apart or unit == "paragraph"):
            yield first, "\n\n".join(document)
            document = []
        first = first if document else number
        document.append(text)
    if document:
        yield first, "\n\n".join(document)


def _paragraphs(lines: Iterable[str]) -> Iterator[tuple[int, bool, str]]:
    """Yields (first line, whether two empty lines come before it, text) of each paragraph."""
    numbered = ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))
    apart = False
    for blank, run in groupby(numbered, key=lambda each: not each[1].strip()):
        block = list(run)
        if blank:
            # a line of spaces ends a paragraph but not a document: scanned books are full of them
            apart = any(a == b == "" for (_, a), (_, b) in pairwise(block))
        else:
            yield block[0][0], apart, " ".join(line.strip() for _, line in block)
