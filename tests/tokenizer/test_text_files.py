"""Reading text files strictly."""

import gzip

import pytest

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.text_files import iterate_lines


def test_plain_and_gzip_give_the_same_lines_without_byte_order_mark(tmp_path):
    raw = b"\xef\xbb\xbfone\r\ntwo \xf0\x9f\xa6\x84 and \xe2\x80\xa8 in a line\nlast"
    (tmp_path / "a.txt").write_bytes(raw)
    (tmp_path / "b.txt").write_bytes(gzip.compress(raw))  # told by its bytes, not by its name
    expected = ["one\r\n", "two 🦄 and \u2028 in a line\n", "last"]
    assert list(iterate_lines(tmp_path / "a.txt")) == expected
    assert list(iterate_lines(tmp_path / "b.txt")) == expected


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"fine\nbad \xff\n", "line 2: byte 5 is not UTF-8"),
        (b"fine\nfine\nbad \0 byte", "line 3: has a NUL byte"),
        ("text\n".encode("utf-16")[:-1], "line 1: is not UTF-16-LE .*"),
        ("text\n".encode("utf-16-be"), "line 1: has a NUL byte; if this is UTF-16BE.*iconv -f UTF-16BE"),
        (gzip.compress(b"words " * 1000, mtime=0)[:-20], "damaged or cut off"),  # ids of tests must not tell the time
        (gzip.compress(b"words\n" * 1000, mtime=0)[:20] + b"\xff" * 50, "damaged or cut off"),
    ],
)
def test_faults_name_file_and_line(tmp_path, raw, message):
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    with pytest.raises(UserError, match=message) as caught:
        list(iterate_lines(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "windows-1252", "shift_jis"])
def test_encodings(tmp_path, encoding):
    """Those with a byte order mark are known by it."""
    lines = ["één\r\n", "\n", "last ੊"] if encoding.startswith("utf") else ["plain\r\n", "\n", "last"]
    raw = "".join(lines).encode(encoding)
    (tmp_path / "a.txt").write_bytes(gzip.compress(raw))
    assert list(iterate_lines(tmp_path / "a.txt", encoding)) == lines
    if encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert list(iterate_lines(tmp_path / "a.txt")) == lines
        with pytest.raises(UserError, match="begins with the byte order mark"):
            list(iterate_lines(tmp_path / "a.txt", "latin-1"))


def test_carriage_returns_end_lines_where_no_line_feed_does(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\rtwo\r")
    assert list(iterate_lines(path)) == ["one\r", "\r", "two\r"]
    path.write_bytes(b"one\rmore\ntwo\r")
    assert list(iterate_lines(path)) == ["one\rmore\n", "two\r"]


@pytest.mark.parametrize("encoding", ["none", "rot13", "a\0b"])
def test_unknown_encodings_are_refused(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match="there is no text encoding"):
        list(iterate_lines(tmp_path / "a.txt", encoding))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such text file"):
        list(iterate_lines(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="is a folder"):
        list(iterate_lines(tmp_path))
