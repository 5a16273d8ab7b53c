"""What lies beside a `.pt` file and says what its numbers mean: class names, and the vocabulary of its ids.

`textclf prepare` writes labels.txt, dataset.json and vocab/ one folder above its files; beside a file they count, too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textclf_jax.class_names import check_class_names, read_class_names, same_name
from textclf_jax.constants import DATASET_FILE, LABELS_FILE, VOCAB_FOLDER
from textclf_jax.errors import UserError, listed
from textclf_jax.tokenizer.vocabulary import TOKENIZER_FILE, VOCAB_FILE

TASK_FOLDERS = ("mlm", "cls")  # in which `textclf prepare` puts its files
LARGEST_DESCRIPTION = 64 << 20  # bytes; what is larger is no dataset.json of ours
AGAIN = "Make the dataset again with textclf prepare"


@dataclass(frozen=True)
class Beside:
    """What is known of a data file by what lies beside it.

    Attributes:
      path: the data file.
      names: class names in the order of the labels' numbers; None: nothing tells them.
      names_file: the file they are from.
      is_prepared: whether `textclf prepare` made the folder: what it says then holds, and must fit.
      fingerprint: of the vocabulary, by dataset.json; None: not told.
      vocab_dir: the folder of the vocabulary, or None.
      notes: what the user should know, one line each.
    """

    path: Path
    names: tuple[str, ...] | None = None
    names_file: Path | None = None
    is_prepared: bool = False
    fingerprint: str | None = None
    vocab_dir: Path | None = None
    notes: tuple[str, ...] = ()


def read_beside(path: Path, *, with_names: bool = True) -> Beside:
    """Reads what lies beside a data file or one folder up; where the file is a link, beside its target first.

    Args:
      path: the data file.
      with_names: whether class names are of use.

    Raises:
      UserError: a file of a prepared dataset is damaged, or two of them contradict each other.
    """
    files = [path.resolve(), path] if path.is_symlink() else [path]
    places = [folder for file in files for folder in file.parents[:2]]
    for folder in places:
        if (described := _description(folder)) is not None:
            return _prepared(path, folder, described, with_names)
    notes: list[str] = []
    names_file = next((folder / LABELS_FILE for folder in places if (folder / LABELS_FILE).is_file()), None)
    names = None
    if names_file is not None and with_names:
        try:
            names = read_class_names(names_file)
        except UserError as error:  # it may be anything that has this name
            notes.append(f"{error}: its lines are not taken for class names")
    vocab_dir = next((folder for file in files for folder in _vocabularies(file) if _is_vocabulary(folder)), None)
    return Beside(path, names, names_file if names else None, False, None, vocab_dir, tuple(notes))


def read_all_beside(paths: Sequence[Path], *, with_names: bool = True) -> list[Beside]:
    """What lies beside each of several files: the same for all of a folder; arguments and errors as `read_beside`."""
    known: dict[Path, Beside] = {}
    found = []
    for path in paths:
        if path.is_symlink():
            found.append(read_beside(path, with_names=with_names))
            continue
        if path.parent not in known:
            known[path.parent] = read_beside(path, with_names=with_names)
        found.append(replace(known[path.parent], path=path))
    return found


# --- a dataset folder of `textclf prepare` ----------------------------------------------------------------------


def _description(folder: Path) -> dict[str, Any] | None:
    """The content of the dataset.json that `textclf prepare` wrote into a folder; None where there is none."""
    path = folder / DATASET_FILE
    if not path.is_file() or path.stat().st_size > LARGEST_DESCRIPTION:
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        if (folder / LABELS_FILE).exists() or _is_vocabulary(folder / VOCAB_FOLDER):
            raise UserError(
                f"{path}: cannot be read ({error}). {AGAIN}; or remove this file, and what it says is not compared."
            ) from None
        return None  # another program's file of this name
    if not isinstance(content, dict) or not {"vocabulary", "label_names"} <= content.keys():
        return None
    return content


def _prepared(path: Path, folder: Path, described: dict[str, Any], with_names: bool) -> Beside:
    source = folder / DATASET_FILE
    vocabulary = described["vocabulary"]
    fingerprint = vocabulary.get("fingerprint") if isinstance(vocabulary, dict) else None
    if not isinstance(fingerprint, str | None):
        raise UserError(f"{source}: vocabulary.fingerprint is {fingerprint!r:.80}, not text. {AGAIN}.")
    vocab_dir = folder / VOCAB_FOLDER
    shown = vocab_dir if _is_vocabulary(vocab_dir) else None
    if not with_names:
        return Beside(path, None, None, True, fingerprint, shown)
    names, names_file, notes = _names_of(folder, _described_names(source, described["label_names"]))
    return Beside(path, names, names_file, True, fingerprint, shown, notes)


def _described_names(source: Path, names: Any) -> tuple[str, ...] | None:
    """The label_names of a dataset.json, checked; None: it has none."""
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{source}: label_names are {names!r:.80}, not a list of names. {AGAIN}.")
    try:
        check_class_names(source, names, "label_names")
    except UserError as error:
        raise UserError(f"{error}. {AGAIN}.") from None
    return tuple(names)


def _names_of(
    folder: Path, described: tuple[str, ...] | None
) -> tuple[tuple[str, ...] | None, Path | None, tuple[str, ...]]:
    """Names, their file and notes: labels.txt counts, for it may be edited; but each class keeps its number."""
    file, source = folder / LABELS_FILE, folder / DATASET_FILE
    if not file.is_file():
        return described, source if described else None, ()
    remedy = f"Remove this file, and the names in {source.name} count; or make the dataset again with textclf prepare."
    try:
        names = read_class_names(file)
    except UserError as error:
        raise UserError(f"{error}. {remedy}") from None
    now, before = ([same_name(name) for name in each] for each in (names, described or ()))
    if described is None or now == before:
        return names, file, ()
    if len(now) != len(before) or any(name in before and before.index(name) != i for i, name in enumerate(now)):
        raise UserError(
            f"{file}: its classes are {listed(names, 20)}, but by {source} the labels were numbered as "
            f"{listed(described, 20)}. {remedy}"
        )
    note = f"{file}: its classes are {listed(names, 20)}, renamed since {source.name} ({listed(described, 20)})"
    return names, file, (note,)


# --- vocabularies -----------------------------------------------------------------------------------------------


def _is_vocabulary(folder: Path) -> bool:
    return (folder / VOCAB_FILE).is_file() or (folder / TOKENIZER_FILE).is_file()


def _vocabularies(path: Path) -> list[Path]:
    """Folders that may hold the vocabulary of a file without a dataset.json.

    One folder up counts only in the layout of `textclf prepare`: elsewhere a vocab/ may be anybody's.
    """
    folders = path.parents[:2] if path.parent.name in TASK_FOLDERS else path.parents[:1]
    return [folder / VOCAB_FOLDER for folder in folders]
