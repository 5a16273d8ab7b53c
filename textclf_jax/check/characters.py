"""What texts are written in: scripts, and traces of text that was decoded wrongly. Languages are not recognised."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from textclf_jax.prepare.texts import Row

# what UTF-8 becomes when it is read as windows-1252: é as Ã©, ’ as â€™
MOJIBAKE = re.compile("[ÂÃ][\u0080-\u00bf\u0152-\u2122]|â€[\u0080-\u2122]")
JAPANESE_AND_CHINESE = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}
NOT_SCRIPTS = {"FULLWIDTH", "HALFWIDTH", "MODIFIER", "MATHEMATICAL", "MICRO", "FEMININE", "MASCULINE", "SCRIPT"}
MINORITY = 0.5  # of a text's letters in another script than most texts'


@dataclass(frozen=True)
class CharacterFacts:
    """What texts are written in.

    Attributes:
      scripts: the share of letters by script, as the names of Unicode's characters tell; the largest first.
      other_script: texts with most of their letters in another script than the first, and where the first few are.
      mojibake: texts with traces of UTF-8 that was read as windows-1252, or with U+FFFD, and where the first few are.
    """

    scripts: dict[str, float]
    other_script: int
    other_script_places: list[str]
    mojibake: int
    mojibake_places: list[str]


def describe_characters(rows: Sequence[Row], shown: int) -> CharacterFacts:
    """Counts scripts; `shown` is the number of places."""
    by_row = [_scripts(row.text) for row in rows]
    total: Counter[str] = Counter()
    for counts in by_row:
        total.update(counts)
    scripts = {name: count / total.total() for name, count in total.most_common()}
    main = next(iter(scripts), "")
    other = [r.place for r, c in zip(rows, by_row, strict=True) if c.total() and c[main] < MINORITY * c.total()]
    broken = [row.place for row in rows if "\ufffd" in row.text or MOJIBAKE.search(row.text)]
    return CharacterFacts(scripts, len(other), other[:shown], len(broken), broken[:shown])


def _scripts(text: str) -> Counter[str]:
    """Letters of a text by their script."""
    if text.isascii():
        return Counter({"Latin": sum(map(str.isalpha, text))})
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if name := _script(character):
            counts[name] += count
    return counts


@cache
def _script(character: str) -> str:
    """The script of a letter, by the first word of its name in Unicode; empty for what is none."""
    if not unicodedata.category(character).startswith("L"):
        return ""
    name = unicodedata.name(unicodedata.normalize("NFKC", character)[0], "")
    first = name.partition(" ")[0]
    return "" if first in NOT_SCRIPTS else JAPANESE_AND_CHINESE.get(first, first.capitalize())
