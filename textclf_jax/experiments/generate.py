"""Makes new runs: fills in the templates of `configs/` and checks the result before anything is written."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from textclf_jax.class_names import read_class_names
from textclf_jax.config.file import AnyConfig, Kind, format_value, load_config, parse_config, split_override
from textclf_jax.config.yaml_reader import Document, KeyPath, Unreadable, read_document, read_value
from textclf_jax.constants import DATASET_FILE, LABELS_FILE, SHARDS_OF, SPLITS, VOCAB_FOLDER
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import CHECKPOINTS, find_run, run_folder

SHIPPED_CONFIGS = Path(__file__).resolve().parent.parent / "configs"  # in the repository, a link to its configs/


class Length(NamedTuple):
    """How long a run is to be, and a remark on it for its config."""

    max_updates: int
    epochs: int
    remark: str


ChooseLength = Callable[[AnyConfig], Length]


def generate_pretraining(
    name: str,
    *,
    data: str | None = None,
    preset: str | None = None,
    resume_from: str | None = None,
    weights_only: bool = True,
    overrides: Sequence[str] = (),
    choose_length: ChooseLength | None = None,
    root: Path = Path(),
) -> Path:
    """Makes a pretraining run and returns the path of its config.

    Args:
      name: name of the new run.
      data: folder written by `textclf prepare`; sets paths, vocabulary and maximum length.
      preset: name of a file in `configs/presets/`; sets architecture and training.
      resume_from: name of an earlier pretraining run; its config is copied, and training starts from its checkpoint.
      weights_only: with `resume_from`: start from its weights alone, not from its optimizer state and position.
      overrides: `section.key=value`; these win over all of the above.
      choose_length: gives the length of the run from its config, which is complete but for that.
      root: the folder that holds `experiments/`.

    Raises:
      UserError: the run exists, something named is missing, or the config is not valid; then nothing is written.
    """
    values: dict[KeyPath, object] = {}
    if resume_from is not None:
        values |= _config_of_run(find_run("pretraining", resume_from, root))
        if values["logging", "wandb", "run_name"] == resume_from:
            values["logging", "wandb", "run_name"] = None
        values["training", "resume", "path"] = f"experiments/pretraining/{resume_from}"
        values["training", "resume", "weights_only"] = weights_only
    if preset is not None:
        values |= _preset(preset, root)
    if data is not None:
        values |= _dataset_paths("pretraining", data, root) | _vocabulary_of(data, root)
    return _write_run("pretraining", name, values, overrides, choose_length, root)


def generate_finetuning(
    name: str,
    pretrain_name: str | None,
    *,
    data: str | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    choose_length: ChooseLength | None = None,
    root: Path = Path(),
) -> Path:
    """Makes a finetuning run with the architecture and tokenizer of a pretraining run; returns the path of its config.

    The learning rate is one that a pretrained model of this width takes. Rates of dropout are those of the template:
    finetuning, whose texts are few, needs some where pretraining needed none.

    Args:
      name: name of the new run.
      pretrain_name: name of the pretraining run to start from; None: fresh weights.
      data: folder written by `textclf prepare`; sets paths, the number of classes and whether a text can have
        several, and with fresh weights also vocabulary and maximum length.
      preset: with fresh weights: name of a file in `configs/presets/`; sets architecture and training.
      overrides, choose_length, root: as in `generate_pretraining`.

    Raises:
      UserError: as `generate_pretraining`; or the data was prepared with another vocabulary than the pretraining's.
    """
    values: dict[KeyPath, object] = {}
    if preset is not None:
        if pretrain_name is not None:
            raise UserError(f"--preset goes with --from-scratch: the architecture is that of {pretrain_name}")
        values |= _preset(preset, root)
    if pretrain_name is not None:
        folder = find_run("pretraining", pretrain_name, root)
        old = _config_of_run(folder)
        shared = (path for path in old if path[0] in ("architecture", "tokenizer"))
        values |= {path: old[path] for path in shared if not path[-1].endswith("dropout")}
        values["training", "learning_rate"] = finetuning_rate(int(str(old["architecture", "embedding_dim"])))
        values["pretrained_experiment", "path"] = f"experiments/pretraining/{pretrain_name}"
        written = (checkpoint for checkpoint in CHECKPOINTS if (folder / checkpoint).exists())
        values["pretrained_experiment", "checkpoint"] = next(written, CHECKPOINTS[0])
    if data is not None:
        values |= _dataset_paths("finetuning", data, root)
        values |= _head_of(data, root)
        if pretrain_name is not None:
            _check_same_vocabulary(root / str(values["tokenizer", "vocab_dir"]), root / data / VOCAB_FOLDER)
        else:
            values |= _vocabulary_of(data, root)
    return _write_run("finetuning", name, values, overrides, choose_length, root)


def draft(
    kind: Kind, *, data: str, preset: str | None = None, overrides: Sequence[str] = (), root: Path = Path()
) -> AnyConfig:
    """The config of a run with fresh weights, as a generator would write it; arguments and errors are the same."""
    values = {} if preset is None else _preset(preset, root)
    values |= _dataset_paths(kind, data, root) | _vocabulary_of(data, root)
    values |= _head_of(data, root) if kind == "finetuning" else {}
    text, source = _filled_in(kind, values, overrides, root)
    return parse_config(text.encode(), source, kind=kind).config


def check_settings(kind: Kind, preset: str | None, overrides: Sequence[str], root: Path = Path()) -> None:
    """Raises UserError where no run could be made with this preset and these overrides; data is not looked at."""
    _filled_in(kind, {} if preset is None else _preset(preset, root), overrides, root)


def finetuning_rate(width: int) -> float:
    """A peak learning rate for finetuning a pretrained encoder, to one digit: narrow ones need a higher one.

    5e-4 up to a width of 128, then falling with its power of 1.5: 2e-4 at 256, 6e-5 at 512, 3e-5 at 768.
    """
    return float(f"{5e-4 * min(1.0, (128 / width) ** 1.5):.0e}")


def fill(text: str, values: Mapping[KeyPath, object], source: str) -> str:
    """Replaces the values of the given keys in the text of a config; comments stay, in their columns.

    Args:
      text: a config in YAML.
      values: key path -> new value.
      source: the name of the text in error messages.

    Raises:
      UserError: the text is not valid YAML, or lacks a key.
    """
    spans = _parse(text, source).spans
    missing = [".".join(path) for path in values if path not in spans]
    if missing:
        raise UserError(f"{source} has no line for {', '.join(missing)}. Add {'it' if len(missing) == 1 else 'them'}.")
    for path in sorted(values, key=lambda path: spans[path], reverse=True):
        start, end = spans[path]
        before = text[:start] if text[:start].endswith((" ", "\n")) else text[:start] + " "
        before += format_value(values[path])
        text = before + _keep_column(text[end:], len(before) - end)
    return text


def _keep_column(rest: str, shift: int) -> str:
    """Takes `shift` spaces (the growth of the value) from before a comment; two stay."""
    return re.sub(r"\A +(?=#)", lambda gap: " " * max(2, len(gap[0]) - shift), rest)


def flatten(data: Mapping[str, object], above: KeyPath = ()) -> dict[KeyPath, object]:
    """Gives the values of nested sections by key path, below the path `above`."""
    flat: dict[KeyPath, object] = {}
    for name, value in data.items():
        flat |= flatten(value, (*above, name)) if isinstance(value, Mapping) else {(*above, name): value}
    return flat


def _write_run(
    kind: Kind,
    name: str,
    values: Mapping[KeyPath, object],
    overrides: Sequence[str],
    choose_length: ChooseLength | None,
    root: Path,
) -> Path:
    """Writes the filled-in template into a new run folder; returns the path of the config."""
    folder = run_folder(kind, name, root)
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already. Take another name, or remove it first.")
    own = {("experiment", "name"): name, ("experiment", "output_dir"): f"experiments/{kind}/{name}"}
    text, source = _filled_in(kind, {**values, **own}, overrides, root)
    if choose_length is not None:
        text = _with_length(text, choose_length(parse_config(text.encode(), source, kind=kind).config), source)
        parse_config(text.encode(), source, kind=kind)
    _create(folder, text)
    return folder / "config.yaml"


def _filled_in(kind: Kind, values: Mapping[KeyPath, object], overrides: Sequence[str], root: Path) -> tuple[str, str]:
    """The template with these values and overrides, checked, and its path."""
    template, source = _read_config(f"{kind}.yaml", root)
    text = fill(template, values, source)
    parse_config(text.encode(), source, overrides, kind)
    for path, value in map(split_override, overrides):
        text = fill(text, flatten({path[-1]: read_value(value)}, path[:-1]), source)
    parse_config(text.encode(), source, kind=kind)
    return text, source


def _with_length(text: str, length: Length, source: str) -> str:
    """Sets how long a run is, with its remark instead of the comment of the template."""
    key = ("training", "max_updates")
    text = fill(text, {key: length.max_updates, ("training", "epochs"): length.epochs}, source)
    _, end = _parse(text, source).spans[key]
    return text[:end] + re.sub(r"\A[^\n]*", f"  # {length.remark}", text[end:])


def _create(folder: Path, text: str) -> None:
    """Makes a run folder with its config; leaves no folder where the config cannot be written."""
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


def _read_config(relative: str, root: Path) -> tuple[str, str]:
    """The text and the path of a file of `configs/`: that of the project, else the one shipped with the package."""
    for folder in (root / "configs", SHIPPED_CONFIGS):
        if (folder / relative).is_file():
            return _text(folder / relative), str(folder / relative)
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


def _preset(name: str, root: Path) -> dict[KeyPath, object]:
    return flatten(_parse(*_read_config(f"presets/{name}.yaml", root)).data)


def _config_of_run(folder: Path) -> dict[KeyPath, object]:
    """All values of a pretraining run's config, under today's keys."""
    return flatten(load_config(folder / "config.yaml", kind="pretraining").config.model_dump())


def _dataset_paths(kind: Kind, data: str, root: Path) -> dict[KeyPath, object]:
    """The paths of the three splits, of several files a pattern; None for a split that the dataset lacks."""
    folder = root / data / (task := {"pretraining": "mlm", "finetuning": "cls"}[kind])
    names: dict[str, str | None] = {}
    for split in SPLITS:
        one, several = f"{split}.pt", SHARDS_OF.format(split)
        names[split] = one if (folder / one).is_file() else several if any(folder.glob(several)) else None
    if names["train"] is None:
        hint = " (INPUT needs a label column)" if task == "cls" else ""
        raise UserError(f"{root / data} has no {task}/train.pt. Make it with: textclf prepare INPUT --out {data}{hint}")
    return {
        ("data", split, "dataset_path"): name and f"{Path(data).as_posix()}/{task}/{name}"
        for split, name in names.items()
    }


def _vocabulary_of(data: str, root: Path) -> dict[KeyPath, object]:
    """The vocabulary and the maximum length that the dataset was prepared with."""
    path = root / data / DATASET_FILE
    try:
        length = json.loads(_text(path))["max_length"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} has no max_length. Prepare the data again with textclf prepare.") from None
    vocabulary = f"{Path(data).as_posix()}/{VOCAB_FOLDER}"
    return {("tokenizer", "vocab_dir"): vocabulary, ("architecture", "max_sequence_length"): length}


def _head_of(data: str, root: Path) -> dict[KeyPath, object]:
    """The number of classes of a dataset, and whether a text can have several."""
    values: dict[KeyPath, object] = {}
    values["classification_head", "num_labels"] = len(read_class_names(root / data / LABELS_FILE))
    if _is_multi_label(root / data / DATASET_FILE):
        values["classification_head", "multi_label"] = True
    return values


def _is_multi_label(path: Path) -> bool:
    """Whether a dataset.json says that a text can have several labels; those of earlier versions do not tell."""
    try:
        return path.is_file() and json.loads(_text(path)).get("multi_label", False) is True
    except (ValueError, AttributeError):
        raise UserError(f"{path} cannot be read. Prepare the data again with textclf prepare.") from None


def _check_same_vocabulary(pretraining: Path, data: Path) -> None:
    """Refuses data that was encoded with another vocabulary than the model was pretrained with."""
    pair = [path if path.suffix == ".txt" else path / "vocab.txt" for path in (pretraining, data)]
    if all(path.is_file() for path in pair) and pair[0].read_bytes() != pair[1].read_bytes():
        raise UserError(
            f"{pair[1]} differs from the pretraining's vocabulary {pair[0]}. "
            f"Prepare the data again with: textclf prepare ... --vocab {pretraining}"
        )
