"""Reads UTF-8 text files, plain or gzip, strictly: an error names the file and the line."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from textclf_jax.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def require_file(path: Path, what: str = "text file") -> None:
    """Raises UserError unless `path` is a regular, non-empty file."""
    if not path.exists():
        raise UserError(f"{path}: there is no such {what}")
    if not path.is_file():
        raise UserError(f"{path}: is a {'folder' if path.is_dir() else 'special file'}, not a {what}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the {what} is empty")


def iterate_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a UTF-8 file with their line ends, without a byte order mark. Gzip is known by its content.

    Raises:
      UserError: the file is missing, empty, damaged, not UTF-8 or holds NUL bytes.
    """
    require_file(path)
    number = 0
    try:
        with path.open("rb") as probe:
            compressed = probe.read(2) == GZIP_MAGIC
        with gzip.open(path) if compressed else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield _decode(raw, path, number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip data is damaged or cut off after line {number}. Fetch it again.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _decode(raw: bytes, path: Path, number: int) -> str:
    if number == 1:
        if raw.startswith(UTF16_BOMS):
            raise UserError(f"{path}: is UTF-16. Convert it to UTF-8: iconv -f UTF-16 -t UTF-8")
        raw = raw.removeprefix(UTF8_BOM)
    if b"\0" in raw:
        raise UserError(f"{path} line {number}: has a NUL byte; this is not a text file, or it is damaged")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} line {number}: byte {error.start + 1} is not UTF-8. "
            "If this is text in another encoding, convert it, for example: iconv -f WINDOWS-1252 -t UTF-8"
        ) from error


def well_formed(text: str) -> str:
    """Replaces lone halves of surrogate pairs by U+FFFD: they can be neither encoded nor printed.

    They come from arguments that are not UTF-8, and from escapes in JSON.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
