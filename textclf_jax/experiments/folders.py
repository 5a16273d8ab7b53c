"""Run folders: `experiments/<kind>/<name>/` below the project's root, found by the name of the run."""

import difflib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from textclf_jax.config.file import Kind
from textclf_jax.errors import UserError, listed

MAX_NAME_LENGTH = 100
CONFIG_FILE = "config.yaml"  # marks the folder of a run
# a trained model, and the file that marks its folder
MODEL_FOLDER, METADATA_FILE = "model.ckpt", "metadata.json"
# ours, then those of the PyTorch reference, which wrote the last weights to model.ckpt and the best ones beside it
CHECKPOINTS = (MODEL_FOLDER, "checkpoints/best-model.ckpt", "checkpoints/model.ckpt")


def validate_name(name: str) -> str:
    """Returns the name of a run if it can be the name of its folder.

    Raises:
      UserError: it is empty, too long, begins with a dot or dash, or holds a slash or a control character.
    """
    faults = {
        "is empty": not name.strip(),
        "is a path: give only the name of the folder": "/" in name or "\\" in name,
        "holds a line break or control character": not name.isprintable(),
        f'begins with "{name[:1]}"': name.startswith((".", "-")),
        "begins or ends with a space": name != name.strip(),
        f"is longer than {MAX_NAME_LENGTH} bytes": len(name.encode(errors="replace")) > MAX_NAME_LENGTH,
    }
    if why := next((why for why, holds in faults.items() if holds), None):
        raise UserError(f"the experiment name {name[:120]!r} {why}. Use letters, digits, dots, dashes and underscores.")
    return name


def project_root() -> Path:
    """The folder that holds `experiments/`: the current one, or where that lies within `experiments/`, the one above.

    Only a folder of that name that holds runs or generators counts.
    """
    here, marks = Path.cwd(), ("pretraining", "finetuning", "generate_pretraining_experiment.py")
    if (here / "experiments").exists():
        return Path()
    for folder in (here, *here.parents):
        if folder.name == "experiments" and any((folder / mark).exists() for mark in marks):
            return folder.parent
    return Path()


def run_folder(kind: Kind, name: str, root: Path = Path()) -> Path:
    """Gives the folder `root/experiments/<kind>/<name>`, whether or not it exists.

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
    """Finds the folder of a run that has a config.

    Raises:
      UserError: there is none of that name; the message lists those there are.
    """
    folder = run_folder(kind, name, root)
    if (folder / CONFIG_FILE).is_file():
        return folder
    existing = sorted(path.parent.name for path in folder.parent.glob(f"*/{CONFIG_FILE}"))
    close = difflib.get_close_matches(name, existing, n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    there = f"There are: {listed(existing, 20, whole=True)}." if existing else ""
    more = {"pretraining": "", "finetuning": " PRETRAINING"}[kind]
    make = there or f"Make one with: textclf new {kind} {shlex.quote(name)}{more} --data data/DATASET"
    raise UserError(f"there is no {kind} run {name}: {folder / CONFIG_FILE} is missing.{hint}\n{make}")


def find_model(name: str, kinds: Sequence[Kind]) -> Path:
    """Finds the `model.ckpt` folder (which need not exist yet) of a run of this project (`project_root`).

    Args:
      name: the run, the path of its folder, or that of a `model.ckpt` folder, which is returned as it is.
      kinds: the kinds of run to look among.

    Raises:
      UserError: there is no such run, or one of each kind.
    """
    if (Path(name) / METADATA_FILE).is_file():
        return Path(name)
    if "/" in name and (Path(name) / CONFIG_FILE).is_file():
        return Path(name) / MODEL_FOLDER
    root = project_root()
    runs = [run_folder(kind, name, root) for kind in kinds]
    found = [folder / MODEL_FOLDER for folder in runs if (folder / CONFIG_FILE).is_file()]
    if len(found) > 1:
        raise UserError(f"there are two runs {name}. Give the path of one: {found[0]} or {found[1]}")
    if not found and "pretraining" not in kinds and (run_folder("pretraining", name, root) / CONFIG_FILE).is_file():
        make = f"textclf new finetuning NAME {shlex.quote(name)} --data data/DATASET"
        raise UserError(f"{name} is a pretraining run, which knows no labels. Finetune it first: {make}")
    return found[0] if found else find_run(kinds[0], name, root) / MODEL_FOLDER
