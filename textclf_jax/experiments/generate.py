"""Makes new runs: fills in the templates of `configs/` and checks the result before anything is written."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textclf_jax.config.file import Kind, format_value, load_config, parse_config, split_override
from textclf_jax.config.yaml_reader import Document, KeyPath, Unreadable, read_document, read_value
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import CHECKPOINTS, find_run, run_folder

SHIPPED_CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
TASK_OF_KIND: dict[Kind, str] = {"pretraining": "mlm", "finetuning": "cls"}

Values = Mapping[KeyPath, Any]


def generate_pretraining(
    name: str,
    *,
    data: str | None = None,
    preset: str | None = None,
    resume_from: str | None = None,
    weights_only: bool = True,
    overrides: Sequence[str] = (),
    root: Path = Path(),
) -> Path:
    """Makes a pretraining run.

    Args:
      name: of the new run.
      data: folder written by `textclf prepare`; fills in paths, vocabulary and maximum length.
      preset: name of a file in `configs/presets/`, which fills in architecture and training.
      resume_from: an earlier pretraining run, whose whole config is taken over and whose checkpoint is started from.
      weights_only: with `resume_from`: not its optimizer state and position.
      overrides: `section.key=value`, stronger than all of the above.
      root: the folder that holds `experiments/`.

    Returns:
      The path of the new config.

    Raises:
      UserError: the run exists, something named is missing, or the config is not valid; then nothing is written.
    """
    values: dict[KeyPath, Any] = {}
    if resume_from is not None:
        values |= _config_of_run(resume_from, root)
        if values["logging", "wandb", "run_name"] == resume_from:
            values["logging", "wandb", "run_name"] = None
        values["training", "resume", "path"] = f"experiments/pretraining/{resume_from}"
        values["training", "resume", "weights_only"] = weights_only
    if preset is not None:
        values |= flatten(_read(_config_path(f"presets/{preset}.yaml", root)).data)
    if data is not None:
        values |= _dataset_values("pretraining", data, root)
        values["tokenizer", "vocab_dir"] = f"{Path(data).as_posix()}/vocab"
        values["architecture", "max_sequence_length"] = _dataset_max_length(root / data)
    return _write_run("pretraining", name, values, overrides, root)


def generate_finetuning(
    name: str,
    pretrain_name: str | None,
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    root: Path = Path(),
) -> Path:
    """Makes a finetuning run with the architecture and tokenizer of a pretraining run.

    Args:
      name: of the new run.
      pretrain_name: the pretraining run to start from; None trains from fresh weights.
      data: folder written by `textclf prepare`; fills in paths and the number of labels, and, from fresh weights,
        vocabulary and maximum length.
      overrides: `section.key=value`, stronger than all of the above.
      root: the folder that holds `experiments/`.

    Returns:
      The path of the new config.

    Raises:
      UserError: as `generate_pretraining`; or the data was prepared with another vocabulary than the pretraining's.
    """
    values: dict[KeyPath, Any] = {}
    if pretrain_name is not None:
        folder = find_run("pretraining", pretrain_name, root)
        old = _config_of_run(pretrain_name, root)
        values |= {path: value for path, value in old.items() if path[0] in ("architecture", "tokenizer")}
        values["pretrained_experiment", "path"] = f"experiments/pretraining/{pretrain_name}"
        written = (checkpoint for checkpoint in CHECKPOINTS if (folder / checkpoint).exists())
        values["pretrained_experiment", "checkpoint"] = next(written, CHECKPOINTS[0])
    if data is not None:
        values |= _dataset_values("finetuning", data, root)
        values["classification_head", "num_labels"] = _dataset_num_labels(root / data)
        if pretrain_name is not None:
            _check_same_vocabulary(root / values["tokenizer", "vocab_dir"], root / data / "vocab")
        else:
            values["tokenizer", "vocab_dir"] = f"{Path(data).as_posix()}/vocab"
            values["architecture", "max_sequence_length"] = _dataset_max_length(root / data)
    return _write_run("finetuning", name, values, overrides, root)


def fill(text: str, values: Values, source: str) -> str:
    """Replaces scalars in the text of a config by key path; comments and their columns stay.

    Raises:
      UserError: the text is not readable, or has no line for a key.
    """
    spans = _parse(text, source).spans
    missing = [".".join(path) for path in values if path not in spans]
    if missing:
        raise UserError(f"{source} has no line for {', '.join(missing)}. Add {'it' if len(missing) == 1 else 'them'}.")
    for path in sorted(values, key=lambda path: spans[path], reverse=True):
        start, end = spans[path]
        new = format_value(values[path])
        before = text[:start] if text[:start].endswith((" ", "\n")) else text[:start] + " "
        text = before + new + _keep_column(text[end:], len(before) + len(new) - end)
    return text


def _keep_column(rest: str, shift: int) -> str:
    """Moves a comment back by as many columns as the value before it grew, as far as there is space."""
    gap = re.match(r" +(?=#)", rest)
    if gap is None:
        return rest
    return " " * max(2, len(gap[0]) - shift) + rest[gap.end() :]


def flatten(data: Mapping[str, Any], above: KeyPath = ()) -> dict[KeyPath, Any]:
    """Nested sections -> their values by key path."""
    flat: dict[KeyPath, Any] = {}
    for name, value in data.items():
        path = (*above, name)
        flat |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def _write_run(kind: Kind, name: str, values: Values, overrides: Sequence[str], root: Path) -> Path:
    folder = run_folder(kind, name, root)
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already. Take another name, or remove it first.")
    template = _config_path(f"{kind}.yaml", root)
    own = {("experiment", "name"): name, ("experiment", "output_dir"): f"experiments/{kind}/{name}"}
    text = fill(_text(template), {**values, **own}, str(template))
    parse_config(text.encode(), str(template), overrides, kind)
    for path, value in map(split_override, overrides):
        chosen = read_value(value)
        text = fill(text, flatten({path[-1]: chosen}, path[:-1]), str(template))
    parse_config(text.encode(), str(template), kind=kind)
    _create(folder, text)
    return folder / "config.yaml"


def _create(folder: Path, text: str) -> None:
    """Makes a run folder with its config, or nothing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from None
    try:
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder)
        raise UserError(f"cannot write {folder / 'config.yaml'}: {error.strerror}") from None


def _config_path(relative: str, root: Path) -> Path:
    """A file of `configs/`: that of the current project, else the one shipped with the package."""
    for folder in (root / "configs", SHIPPED_CONFIGS):
        if (folder / relative).is_file():
            return folder / relative
    there = sorted(path.stem for path in (SHIPPED_CONFIGS / relative).parent.glob("*.yaml"))
    raise UserError(f"there is no {root / 'configs' / relative}. There are: {', '.join(there) or 'none'}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _parse(text: str, source: str) -> Document:
    try:
        return read_document(text.encode())
    except Unreadable as error:
        where = f" line {error.problem.line}" if error.problem.line else ""
        raise UserError(f"{source}{where}: {error.problem.message}") from None


def _read(path: Path) -> Document:
    return _parse(_text(path), str(path))


def _config_of_run(name: str, root: Path) -> dict[KeyPath, Any]:
    """All values of a pretraining run's config, of whatever generation it is."""
    path = find_run("pretraining", name, root) / "config.yaml"
    return flatten(load_config(path, kind="pretraining").config.model_dump())


def _dataset_values(kind: Kind, data: str, root: Path) -> dict[KeyPath, Any]:
    task = TASK_OF_KIND[kind]
    if not (root / data / task / "train.pt").is_file():
        hint = " (INPUT needs a label column)" if task == "cls" else ""
        raise UserError(f"{root / data} has no {task}/train.pt. Make it with: textclf prepare INPUT --out {data}{hint}")
    values: dict[KeyPath, Any] = {}
    for split in ("train", "val", "test"):
        is_there = (root / data / task / f"{split}.pt").is_file()
        values["data", split, "dataset_path"] = f"{Path(data).as_posix()}/{task}/{split}.pt" if is_there else None
    return values


def _dataset_max_length(folder: Path) -> int:
    path = folder / "dataset.json"
    try:
        length = json.loads(_text(path))["max_length"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} has no max_length. Prepare the data again with textclf prepare.") from None
    return length


def _dataset_num_labels(folder: Path) -> int:
    return len(_text(folder / "labels.txt").splitlines())


def _check_same_vocabulary(pretraining: Path, data: Path) -> None:
    """Refuses data whose ids mean other words than those the model was pretrained on."""
    pair = [folder / "vocab.txt" for folder in (pretraining, data)]
    if all(path.is_file() for path in pair) and pair[0].read_bytes() != pair[1].read_bytes():
        raise UserError(
            f"{pair[1]} differs from the pretraining's vocabulary {pair[0]}. "
            f"Prepare the data again with: textclf prepare ... --vocab {pretraining}"
        )
