"""Guesses the encoding of text files that have no byte order mark and are not UTF-8."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from textclf_jax.errors import UserError, listed
from textclf_jax.tokenizer.text_files import encoding_of, opened, require_file

WESTERN = "windows-1252"
NUL_SHARE = 0.3  # of the bytes of UTF-16 at even or odd places, where texts are Latin
MOST_ACCENTED = 0.3  # of the letters in a Western language; hardly any is ASCII in Cyrillic, Greek or Chinese
FEW_ACCENTED = 5  # letters, of which less cannot tell
MOST_ODD = 0.05  # of the characters beyond ASCII between two letters
BETWEEN_LETTERS = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])")
# apostrophes, dashes, the soft hyphen and the dot of Catalan, which stand between two letters in good text
JOINING = "’‘–—…·\xad"
ACCENTED_WORD = re.compile(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*")
OTHERS = "windows-1250 (Central Europe), windows-1251 (Cyrillic), gb18030 (Chinese), shift_jis (Japanese), mac_roman"


class EncodingGuess(NamedTuple):
    """An encoding that was not named.

    Attributes:
      name: as Python names it; None: that of the byte order mark, or UTF-8.
      note: why it was chosen; empty for None.
    """

    name: str | None = None
    note: str = ""


def guess_encoding(path: Path) -> EncodingGuess:
    """Guesses the encoding of a text file, plain or gzip: by a byte order mark, UTF-8, UTF-16 or windows-1252.

    Raises:
      UserError: it seems to be another one, or the file is missing or empty.
    """
    require_file(path)
    try:
        if encoding_of(path) != "utf-8":
            return EncodingGuess()
        with opened(path) as file:
            raw = file.read()
    except (OSError, EOFError):  # a damaged file: reading it says where
        return EncodingGuess()
    if b"\0" in raw:
        return _without_mark(raw)
    if _decodes(raw, "utf-8"):
        return EncodingGuess()
    text = raw.decode(WESTERN) if _decodes(raw, WESTERN) else ""
    if not text or _is_odd(text):
        number = _first_line_beyond_utf8(raw.split(b"\n"))
        raise UserError(
            f"{path} line {number}: is neither UTF-8 nor, as it seems, {WESTERN}. Name the encoding, for example "
            f"--encoding windows-1251. Others are {OTHERS}."
        )
    words = listed([repr(word) for word in dict.fromkeys(ACCENTED_WORD.findall(text))], 3)
    return EncodingGuess(
        WESTERN, f"it is not UTF-8 and was read as {WESTERN}, with words such as {words} (--encoding decides)"
    )


def guess_common_encoding(paths: Sequence[Path]) -> EncodingGuess:
    """Guesses one encoding for several files; UTF-8 files without characters beyond ASCII agree with any.

    Raises:
      UserError: as `guess_encoding`; or two files have different ones.
    """
    guesses = {path: guess_encoding(path) for path in paths if not path.is_file() or path.stat().st_size}
    named = {path: guess for path, guess in guesses.items() if guess.name is not None}
    if not named:
        return EncodingGuess()
    first, guess = next(iter(named.items()))
    for path, other in guesses.items():
        if other.name != guess.name and not (other.name is None and guess.name == WESTERN and _is_ascii(path)):
            raise UserError(
                f"{first} seems to be {guess.name}, but {path} {other.name or encoding_of(path)}. Write both in one "
                f"encoding, for example: iconv -f {guess.name} -t UTF-8 FILE > NEW"
            )
    return guess


def _without_mark(raw: bytes) -> EncodingGuess:
    """UTF-16 without a byte order mark, where about every second byte is NUL; otherwise nothing."""
    half = len(raw) / 2
    for name, nul_bytes in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[::2])):
        if nul_bytes.count(0) > NUL_SHARE * half and _decodes(raw, name):
            return EncodingGuess(name, f"it was read as {name.upper()}, which has no byte order mark here")
    return EncodingGuess()


def _is_odd(text: str) -> bool:
    """Whether bytes of another encoding were read as windows-1252: its signs stand within words, or all is accented."""
    letters = sum(map(str.isalpha, text))
    accented = sum(map(str.isalpha, re.sub(r"[\x00-\x7f]", "", text)))
    if accented >= FEW_ACCENTED and accented > MOST_ACCENTED * letters:
        return True
    within = list(BETWEEN_LETTERS.finditer(text))
    odd = sum(not _fits_between(text[m.start() - 1], m[0], text[m.end()]) for m in within)
    return odd > MOST_ODD * len(within)


def _fits_between(before: str, character: str, after: str) -> bool:
    if character in JOINING:
        return True
    if character in "ªº" or not character.isalpha():
        return False
    return character.islower() or before.isupper() or after.isupper()


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_ascii(path: Path) -> bool:
    with opened(path) as file:
        return file.read().isascii()


def _first_line_beyond_utf8(lines: Iterable[bytes]) -> int:
    return next((number for number, line in enumerate(lines, start=1) if not _decodes(line, "utf-8")), 1)
