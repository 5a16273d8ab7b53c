"""A file that goes on where it was: what was saved counts, once; what was made of something else is not mixed in."""

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest

from textclf_jax.errors import UserError
from textclf_jax.evaluation import resumable_file
from textclf_jax.evaluation.resumable_file import ResumableFile
from textclf_jax.runs import lock

MADE_OF = {"the texts": "abc", "--format": "csv"}


@pytest.fixture(autouse=True)
def always_saved(monkeypatch):
    monkeypatch.setattr(resumable_file, "SAVE_SECONDS", 0.0)


def interrupted(path: Path, *parts: str) -> None:
    with ResumableFile(path, MADE_OF) as file:
        for number, part in enumerate(parts, start=1):
            file.write(part, {"parts": number})


def test_nothing_has_its_name_before_it_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    interrupted(path, "é1\n", "2\n")
    assert path.read_text() == "old"
    with ResumableFile(path, MADE_OF) as file:
        assert file.position == {"parts": 2}
        file.write("3\n", {"parts": 3})
        file.finish()
    assert path.read_text(encoding="utf-8") == "é1\n2\n3\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_what_came_after_the_last_save_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    interrupted(path, "1\n")
    monkeypatch.setattr(resumable_file, "SAVE_SECONDS", 1e9)
    killed = ResumableFile(path, MADE_OF).__enter__()
    assert killed.position == {"parts": 1}
    killed.write("2\n", {"parts": 2})
    killed._file.close()
    with ResumableFile(path, MADE_OF) as file:
        assert file.position == {"parts": 1}
        file.write("two\n", {"parts": 2})
        file.finish()
    assert path.read_text() == "1\ntwo\n"


def test_what_an_error_ends_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable_file, "SAVE_SECONDS", 1e9)
    path = tmp_path / "a.csv"

    def ended_by_an_error(*parts: str) -> None:
        with ResumableFile(path, MADE_OF) as file:
            for part in parts:
                file.write(part, {"parts": 1})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended_by_an_error()
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        ended_by_an_error("1\n")
    with ResumableFile(path, MADE_OF) as file:
        assert file.position == {"parts": 1}
        file.finish()
    assert path.read_text() == "1\n"


def test_what_was_made_of_something_else_is_named(tmp_path):
    path = tmp_path / "a.csv"
    interrupted(path, "1\n")
    with pytest.raises(UserError, match=r"something else: the texts, --format\. .* --fresh"):
        ResumableFile(path, {"the texts": "abcd", "--format": "json"}).__enter__()
    interrupted(path)  # it is still there
    with ResumableFile(path, {"the texts": "abcd", "--format": "json"}, fresh=True) as file:
        assert file.position is None
        file.write("new\n", {})
        file.finish()
    assert path.read_text() == "new\n"


def test_what_was_begun_afresh_is_not_taken_for_what_was_there_before(tmp_path, monkeypatch):
    path, other = tmp_path / "a.csv", {"the texts": "abcd", "--format": "csv"}
    interrupted(path, "1\n")
    monkeypatch.setattr(resumable_file, "SAVE_SECONDS", 1e9)
    killed = ResumableFile(path, other, fresh=True).__enter__()
    killed.write("one\n", {"parts": 1})
    killed._file.close()
    with ResumableFile(path, MADE_OF) as file:
        assert file.position is None


def test_half_a_part_does_not_count(tmp_path, monkeypatch):
    """The disk is full in the middle of one, and has room again when the command ends."""
    monkeypatch.setattr(resumable_file, "SAVE_SECONDS", 1e9)
    path = tmp_path / "a.csv"

    def fill_the_disk() -> None:
        with ResumableFile(path, MADE_OF) as file:
            file.write("1\n", {"parts": 1})
            opened, file._file = file._file, Mock(wraps=file._file)

            def write(content: bytes) -> int:
                opened.write(content[:1])
                raise OSError(errno.ENOSPC, "No space left on device")

            file._file.write = write
            file.write("2\n", {"parts": 2})

    with pytest.raises(UserError, match="No space left"):
        fill_the_disk()
    with ResumableFile(path, MADE_OF) as file:
        assert file.position == {"parts": 1}
        file.write("2\n", {"parts": 2})
        file.finish()
    assert path.read_text() == "1\n2\n"


@pytest.mark.parametrize("damage", ["progress", "partial", "gone"])
def test_where_a_part_is_missing_it_starts_at_the_beginning(tmp_path, damage):
    path = tmp_path / "a.csv"
    interrupted(path, "1\n", "2\n")
    if damage == "progress":
        (tmp_path / ".a.csv.progress.json").write_text('{"bytes": 2')
    elif damage == "partial":
        (tmp_path / ".a.csv.partial").write_text("1\n")
    else:
        (tmp_path / ".a.csv.partial").unlink()
    with ResumableFile(path, MADE_OF) as file:
        assert file.position is None
        file.write("1\n", {})
        file.finish()
    assert path.read_text() == "1\n"


@pytest.mark.skipif(lock.fcntl is None, reason="Windows has no locks")
def test_two_do_not_write_the_same_file(tmp_path):
    path = tmp_path / "a.csv"
    with ResumableFile(path, MADE_OF) as file:
        with pytest.raises(UserError, match="another process is writing it"):
            ResumableFile(path, MADE_OF).__enter__()
        file.write("1\n", {})
        file.finish()
    assert path.read_text() == "1\n"


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a.csv")
    with ResumableFile(tmp_path / "link", MADE_OF) as file:
        file.write("1\n", {})
        file.finish()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.csv").read_text() == "1\n"
