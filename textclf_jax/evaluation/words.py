"""Texts to the words, characters and their sequences that TF-IDF counts, in every script."""

import re
import sys
import unicodedata
from functools import cache
from itertools import pairwise
from typing import NamedTuple

# scripts that put no spaces between words: Chinese and Japanese, Bopomofo, Yi, and those of South-East Asia
SPACELESS = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u303f\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua000-\ua48f\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
)
JOINERS = "\u200c\u200d"  # letters beside them are written joined, or apart
WORD, SPACELESS_RUN = re.compile(r"\w+"), re.compile(f"[{SPACELESS}]")


def count_units(text: str) -> list[str]:
    """Lists the words of `text` in lower case, and the pairs of neighbours.

    Letters keep the marks that belong to them. Where a script puts no spaces between words, each character is a word,
    and the sequences of three are listed, too.
    """
    text = text.lower()
    words: list[str] = []
    triples: list[str] = []
    if text.isascii():
        words = WORD.findall(text)
    else:
        word_pattern, part_pattern, character_pattern = _patterns()
        for word in word_pattern.findall(unicodedata.normalize("NFC", text)):
            if word.isascii() or not SPACELESS_RUN.search(word):
                words.append(word.rstrip(JOINERS))
                continue
            for characters, other in part_pattern.findall(word):
                parts = character_pattern.findall(characters) if characters else [other.strip(JOINERS)]
                words += parts
                triples += [" ".join(parts[i : i + 3]) for i in range(len(parts) - 2)]
    return words + [f"{a} {b}" for a, b in pairwise(words)] + triples


class _Patterns(NamedTuple):
    """Words with their marks; within them, runs of scripts without spaces and others; characters with their marks."""

    word: re.Pattern[str]
    part: re.Pattern[str]
    character: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    # regular expressions of Python know no marks; variation selectors choose between two pictures of a character
    marks = [chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) in ("Mn", "Mc")]
    inner = "".join(mark for mark in marks if not unicodedata.name(mark, "").startswith("VARIATION SELECTOR"))
    inner += JOINERS
    return _Patterns(
        word=re.compile(rf"\w[\w{inner}]*"),
        part=re.compile(rf"([{SPACELESS}][{SPACELESS}{inner}]*)|([^{SPACELESS}]+)"),
        character=re.compile(rf"\w[{inner}]*"),
    )
