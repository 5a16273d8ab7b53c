"""Reads a folder with a folder for each class, which holds a text a file."""

import shlex
from pathlib import Path
from typing import NamedTuple

from textclf_jax.class_names import same_name
from textclf_jax.errors import UserError, listed
from textclf_jax.tokenizer.text_files import iterate_lines

FORM = "A folder of texts has a folder for each class, and in it a file for each text"
ROLES = {"train": "--train", "val": "--val", "valid": "--val", "dev": "--val", "validation": "--val", "test": "--test"}


class ClassFile(NamedTuple):
    """A text file, whose folder names its class."""

    path: Path
    label: str


def class_files(folder: Path) -> tuple[list[ClassFile], list[str]]:
    """Lists the text files of a folder of classes, sorted by class and name; hidden ones do not count.

    Returns:
      The files, and sentences on what is not read.

    Raises:
      UserError: no folder in it has files, or one has folders in it.
    """
    inner = [path for path in _visible(folder) if path.is_dir()]
    below = {path: _visible(path) for path in inner}
    files = [
        ClassFile(path, same_name(owner.name)) for owner, paths in below.items() for path in paths if path.is_file()
    ]
    deeper = [path for paths in below.values() for path in paths if path.is_dir()]
    if not files or deeper:
        raise UserError(f"{folder}: {_what_else(folder, deeper)}")
    beside = [path.name for path in _visible(folder) if path.is_file()]
    return files, [f"files beside the folders of the classes, not read: {listed(beside, 3)}"] if beside else []


def files_of(path: Path) -> list[Path]:
    """The files that hold the texts: those of a folder of classes, or the file itself."""
    return [file.path for file in class_files(path)[0]] if path.is_dir() else [path]


def file_text(path: Path, encoding: str | None, remedy: str) -> str:
    """The text of a whole file, with line feeds for all line ends; raises UserError as `iterate_lines`."""
    if path.stat().st_size == 0:
        return ""
    return "".join(iterate_lines(path, encoding, remedy)).replace("\r\n", "\n").replace("\r", "\n").strip()


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _what_else(folder: Path, deeper: list[Path]) -> str:
    """Why a folder does not hold classes, and what to type instead."""
    inner = _visible(folder)
    roles = {ROLES[name]: path for path in reversed(inner) if (name := path.name.partition(".")[0].lower()) in ROLES}
    if "--train" in roles:
        flags = " ".join(f"{flag} {shlex.quote(str(roles[flag]))}" for flag in sorted(roles, key=_order))
        return f"holds data that are split already. Name the parts: {flags}"
    if deeper:
        return f"{deeper[0].relative_to(folder)} is a folder where texts should be. {FORM}; name a folder of that kind."
    if not inner:
        return f"is empty. {FORM}."
    names = listed([path.name for path in inner], 5)
    return f"has no folder with files in it, but {names}. {FORM}; to read a table, name its file."


def _order(flag: str) -> int:
    return list(ROLES.values()).index(flag)
