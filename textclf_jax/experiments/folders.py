"""Run folders: `experiments/<kind>/<name>/` below the project's root, found by the name of the run."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from textclf_jax.config.file import Kind
from textclf_jax.errors import UserError

MAX_NAME_LENGTH = 100
# ours, then those of the PyTorch reference, which wrote the last weights to model.ckpt and the best ones beside it
CHECKPOINTS = ("model.ckpt", "checkpoints/best-model.ckpt", "checkpoints/model.ckpt")


def validate_name(name: str) -> str:
    """Returns the name of an experiment, which is also that of its folder.

    Raises:
      UserError: it is empty, too long, begins with a dot or dash, or holds a slash or a control character.
    """
    if not name.strip():
        why = "is empty"
    elif "/" in name or "\\" in name:
        why = "is a path: give only the name of the folder"
    elif not name.isprintable():
        why = "holds a line break or control character"
    elif name[0] in ".-":
        why = f'begins with "{name[0]}"'
    elif name != name.strip():
        why = "begins or ends with a space"
    elif len(name.encode()) > MAX_NAME_LENGTH:
        why = f"is longer than {MAX_NAME_LENGTH} bytes"
    else:
        return name
    raise UserError(f"the experiment name {name[:120]!r} {why}. Use letters, digits, dots, dashes and underscores.")


def run_folder(kind: Kind, name: str, root: Path = Path()) -> Path:
    """`root/experiments/<kind>/<name>`, whether or not it exists.

    Raises:
      UserError: the name is not valid, or a link on the way leads out of `experiments/`.
    """
    experiments = root / "experiments"
    folder = experiments / kind / validate_name(name)
    inside = os.path.realpath(experiments)
    if os.path.commonpath([inside, os.path.realpath(folder)]) != inside:
        raise UserError(f"{folder} is a link that leads out of {experiments}. Remove the link or take another name.")
    return folder


def find_run(kind: Kind, name: str, root: Path = Path()) -> Path:
    """The folder of a run that has a config.

    Raises:
      UserError: there is none of that name; the message lists those there are.
    """
    folder = run_folder(kind, name, root)
    if (folder / "config.yaml").is_file():
        return folder
    existing = sorted(path.parent.name for path in folder.parent.glob("*/config.yaml"))
    close = difflib.get_close_matches(name, existing, n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    there = f"There are: {', '.join(existing[:20])}" + (", ..." if len(existing) > 20 else ".") if existing else ""
    make = there or f"Make one with: python experiments/generate_{kind}_experiment.py {name}"
    raise UserError(f"there is no {kind} run {name}: {folder / 'config.yaml'} is missing.{hint}\n{make}")


def find_model(name: str, kinds: Sequence[Kind]) -> Path:
    """Finds the `model.ckpt` folder of a run of one of the kinds, below the current folder.

    Args:
      name: the run, or the path of a `model.ckpt` folder, which is returned as it is.
      kinds: where to look.

    Returns:
      The folder; it does not exist yet where the run has not finished.

    Raises:
      UserError: there is no such run, or one of each kind.
    """
    if (Path(name) / "metadata.json").is_file():
        return Path(name)
    runs = [run_folder(kind, name) for kind in kinds]
    found = [folder / "model.ckpt" for folder in runs if (folder / "config.yaml").is_file()]
    if len(found) > 1:
        raise UserError(f"there are two runs {name}. Give the path of one: {found[0]} or {found[1]}")
    return found[0] if found else find_run(kinds[0], name) / "model.ckpt"
