"""What a study has done so far, kept in its folder: the same command goes on from there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from textclf_jax.errors import UserError
from textclf_jax.files import json_text, sha256_of, write_whole
from textclf_jax.runs.lock import LOCK_FILE
from textclf_jax.study.design import Design

STUDY_FILE = "study.json"


@dataclass
class Measured:
    """The length of the runs of a part, the same for every seed.

    Attributes:
      max_updates, epochs, remark: for the config.
      seconds: that measuring took.
    """

    max_updates: int
    epochs: int
    remark: str
    seconds: float


@dataclass
class Run:
    """A run of a study.

    Attributes:
      config: sha256 of its config as the study has written it; empty until then.
      seconds: that training and testing it took, interruptions left out.
      is_done: it is finished.
    """

    config: str = ""
    seconds: float = 0.0
    is_done: bool = False


@dataclass
class Progress:
    """How far a study is.

    Attributes:
      folder: of the study.
      arguments: the flags that it was begun with.
      files: sha256 of the text files.
      prepare_seconds: that preparing the data took; None until it is done.
      lengths: of the runs, by part.
      runs: by the name of the experiment; those of baselines by that of the method.
    """

    folder: Path
    arguments: dict[str, Any]
    files: dict[str, str]
    prepare_seconds: float | None = None
    lengths: dict[str, Measured] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def save(self) -> None:
        """Writes it into the folder."""
        content = asdict(self)
        del content["folder"]
        write_whole(self.folder / STUDY_FILE, json_text(content) + "\n")


def open_progress(design: Design) -> Progress:
    """The progress of a study that was begun, or of a new one.

    Raises:
      UserError: the folder holds something else, or a study of other arguments or texts.
    """
    paths = sorted({path for part in design.data.sources.values() for path in part})
    if missing := [path for path in paths if not path.is_file()]:
        what = "is a folder, and a study reads files" if missing[0].is_dir() else "there is no such file"
        raise UserError(f"{missing[0]}: {what}")
    files = {str(path): sha256_of([path]) for path in paths}
    arguments = json.loads(json_text(design.arguments))
    path = design.out / STUDY_FILE
    if not path.exists():
        if not is_vacant(design.out):
            raise UserError(f"{design.out}: is there already and holds no study; choose another --out")
        return Progress(design.out, arguments, files)
    progress = read_progress(path)
    require_same("study", progress, arguments, files)
    return progress


def is_vacant(folder: Path) -> bool:
    """Whether there is nothing in a folder, or no such folder."""
    # a process that was killed leaves its lock
    return not folder.exists() or (folder.is_dir() and all(path.name == LOCK_FILE for path in folder.iterdir()))


def read_progress(path: Path) -> Progress:
    """Reads the progress that was saved; raises UserError where it is damaged."""
    try:
        content = json.loads(path.read_bytes())
        content["lengths"] = {name: Measured(**value) for name, value in content["lengths"].items()}
        content["runs"] = {name: Run(**value) for name, value in content["runs"].items()}
        return Progress(path.parent, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read as that of a study ({error}). Choose another --out.") from None


class Begun(Protocol):
    """What was begun: its folder, the flags that were given, and the sha256 of each file that is read."""

    folder: Path
    arguments: dict[str, Any]
    files: dict[str, str]


def require_same(what: str, begun: Begun, arguments: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Raises UserError where arguments or files are not those that something was begun with.

    Args:
      what: study or run.
      begun: it, as it was kept.
      arguments, files: as they are now.
    """
    changes = _changed_arguments(begun.arguments, arguments)
    changes += [f"{name}: its content has changed" for name in files if begun.files.get(name, "") != files[name]]
    if changes:
        raise UserError(
            "\n  ".join([f"{begun.folder}: this {what} was begun with other arguments or texts:", *changes])
            + "\nGive the same ones to go on, or choose another --out."
        )


def _changed_arguments(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The flags that differ, a line each."""

    def shown(value: Any) -> str:
        if value is None:
            return "not given"
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    return [
        f"{flag}: {shown(before.get(flag))} before, {shown(now.get(flag))} now"
        for flag in sorted(before.keys() | now.keys())
        if before.get(flag) != now.get(flag)
    ]
