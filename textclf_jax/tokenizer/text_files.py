"""Reads text files, plain or gzip, strictly: an error names the file and the line."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader, StringIO
from itertools import chain, islice
from pathlib import Path

from textclf_jax.errors import UserError

BinaryFile = gzip.GzipFile | BufferedReader

GZIP_MAGIC = b"\x1f\x8b"
BOMS = {  # byte order marks; those of UTF-32 first, for they begin like those of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONVERT = "convert it, for example: iconv -f {} -t UTF-8"


def require_file(path: Path, what: str = "text file") -> None:
    """Raises UserError unless `path` is a regular, non-empty file."""
    if not path.exists():
        raise UserError(f"{path}: there is no such {what}")
    if not path.is_file():
        raise UserError(f"{path}: is a {'folder' if path.is_dir() else 'special file'}, not a {what}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the {what} is empty")


def iterate_lines(path: Path, encoding: str | None = None, remedy: str = CONVERT) -> Iterator[str]:
    """Yields the lines of a text file with their line ends, without a byte order mark. Gzip is known by its content.

    Lines end at line feeds; in a file without one, at carriage returns.

    Args:
      path: the file.
      encoding: as Python names it; None: what the byte order mark tells, UTF-8 without one.
      remedy: what the user can do where the encoding is another one; {} stands for the encoding.

    Raises:
      UserError: the file is missing, empty, damaged, in another encoding or holds NUL characters.
    """
    require_file(path)
    number = 0
    try:
        with opened(path) as file:
            codec = _codec_of(path, file, encoding)
            for number, line in enumerate(_decoded(file, codec), start=1):
                if "\0" in line:
                    raise UserError(f"{path} line {number}: has a NUL byte; {_what_nul_means(line, remedy)}")
                yield line.removeprefix("\ufeff") if number == 1 else line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip data is damaged or cut off after line {number}. Fetch it again.") from error
    except UnicodeDecodeError as error:
        name = error.encoding.upper() if encoding is None else encoding
        what = f"byte {error.start + 1} is not {name}" if name == "UTF-8" else f"is not {name} ({error.reason})"
        raise UserError(
            f"{path} line {number + 1}: {what}. If this is text in another encoding, {remedy.format('WINDOWS-1252')}"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def encoding_of(path: Path) -> str:
    """What the byte order mark of a file tells: "utf-8" (also without one), "utf-16" or "utf-32"."""
    with opened(path) as file:
        return _marked(file) or "utf-8"


def is_accented_utf8(path: Path) -> bool:
    """Whether a file is UTF-8 with characters beyond ASCII, which text in another encoding hardly ever is by chance."""
    accented = False
    with opened(path) as file:
        for raw in file:
            if not raw.isascii():
                try:
                    raw.decode("utf-8")
                except UnicodeDecodeError:
                    return False
                accented = True
    return accented


def is_compressed(path: Path) -> bool:
    """Whether a file is gzip, as its first bytes tell."""
    with path.open("rb") as probe:
        return probe.read(2) == GZIP_MAGIC


def opened(path: Path) -> BinaryFile:
    """The bytes of a file, unpacked where it is gzip."""
    return gzip.open(path) if is_compressed(path) else path.open("rb")


def _marked(file: BinaryFile) -> str | None:
    """The encoding that the byte order mark tells, or None without one."""
    start = file.read(4)
    file.seek(0)
    return next((name for mark, name in BOMS.items() if start.startswith(mark)), None)


def _codec_of(path: Path, file: BinaryFile, encoding: str | None) -> str:
    marked = _marked(file)
    if encoding is None:
        return marked or "utf-8"
    try:
        codec = codecs.lookup(encoding).name
        "a".encode(codec)  # codecs of other things than text refuse
    except (LookupError, ValueError) as error:
        known = "utf-8, utf-16, windows-1252, gb18030 and others"
        raise UserError(f"there is no text encoding {encoding!r}; Python knows {known}") from error
    if marked is not None and not codec.startswith(marked):
        raise UserError(f"{path}: begins with the byte order mark of {marked.upper()}, so it is not {encoding}")
    return codec


def _decoded(file: BinaryFile, codec: str) -> Iterator[str]:
    """Yields the lines of a file."""
    lines = _ended_by_feeds(file, codec)
    for first in islice(lines, 1):
        # StringIO knows all line ends
        yield from [first] if first.endswith("\n") else StringIO(first, newline="")
    yield from lines


def _ended_by_feeds(file: BinaryFile, codec: str) -> Iterator[str]:
    if codec == "utf-8":  # no character reaches beyond a line feed
        yield from (raw.decode("utf-8") for raw in file)
        return
    decoder, pending = codecs.getincrementaldecoder(codec)(), ""
    for raw in chain(file, [b""]):
        *lines, pending = (pending + decoder.decode(raw, final=not raw)).split("\n")
        yield from (line + "\n" for line in lines)
    if pending:
        yield pending


def _what_nul_means(line: str, remedy: str) -> str:
    """Tells UTF-16 without a byte order mark, where about every second byte is NUL, from damage."""
    if line.count("\0") < len(line) // 3:
        return "this is not a text file, or it is damaged"
    encoding = "UTF-16BE" if line.startswith("\0") else "UTF-16LE"
    return f"if this is {encoding} without a byte order mark, {remedy.format(encoding)}"


def well_formed(text: str) -> str:
    """Replaces lone halves of surrogate pairs by U+FFFD: they can be neither encoded nor printed.

    They come from arguments that are not UTF-8, and from escapes in JSON.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
