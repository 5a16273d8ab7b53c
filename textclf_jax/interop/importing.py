"""Makes runs of `experiments/` from other projects' weights, as if they had been trained here."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textclf_jax.config.file import AnyConfig, format_value, load_config
from textclf_jax.config.schema import DEFAULT_WRAPPER, Architecture, ClassificationHead, FinetuningConfig, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import flatten, generate_finetuning, generate_pretraining
from textclf_jax.interop import huggingface
from textclf_jax.interop.layout import Head
from textclf_jax.interop.reference import variables_from_state_dict, with_reference_variants
from textclf_jax.interop.torch_checkpoint import read_state
from textclf_jax.model.heads import MaskedLanguageModel, TextClassifier
from textclf_jax.runs.checkpoint import contents_of, save_model
from textclf_jax.runs.pretrained import ENCODER, check_shapes
from textclf_jax.runs.record import SUMMARY_FILE
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


@dataclass(frozen=True)
class Imported:
    """Another project's model."""

    origin: str  # the project
    source: Path  # the file with the weights
    sections: dict[str, Any]  # of the config, without those of the template
    variables: dict[str, Any]  # {"params": ..., "features": ...} of the model, or of its encoder alone
    architecture: Architecture
    head: Head | None  # None: there is an encoder alone
    tokenizer: WordPieceTokenizerWrapper
    labels: list[str] | None  # class names of a classifier
    notes: list[str]  # what was changed or not used, one line each


def import_huggingface(folder: Path, name: str, root: Path = Path()) -> tuple[Path, list[str]]:
    """Makes a run of a BERT folder: a finetuning run of a BertForSequenceClassification, else a pretraining run.

    Args:
      folder: config.json, model.safetensors or pytorch_model.bin, vocab.txt or tokenizer.json.
      name: of the new run.
      root: the folder that holds `experiments/`.

    Returns:
      The run's folder, and what was not used.

    Raises:
      UserError: the run exists, a file is missing, a key has a value that this project does not support, or arrays do
        not fit. Nothing is written then.
    """
    config_path = folder / "config.json"
    config, (weights, state) = _read_json(config_path), _read_weights(folder)
    state = huggingface.with_full_names(state)
    architecture = huggingface.architecture_from(config, config_path)
    head = huggingface.head_from(config, state, config_path)
    params, unused = huggingface.params_from(state, architecture, head, weights)
    sections: dict[str, Any] = {"architecture": architecture.model_dump()}
    if head is not None:
        sections["classification_head" if isinstance(head, ClassificationHead) else "mlm_head"] = head.model_dump()
    imported = Imported(
        origin="Hugging Face",
        source=weights,
        sections=sections,
        variables={"params": params},
        architecture=architecture,
        head=head,
        tokenizer=_read_tokenizer(folder),
        labels=huggingface.labels_from(config) if isinstance(head, ClassificationHead) else None,
        notes=[f"not used: {', '.join(unused) or 'nothing'}"],
    )
    return _make_run(imported, name, root), imported.notes


def import_reference(
    file: Path, config_path: Path, name: str, *, vocab: Path | None = None, root: Path = Path()
) -> tuple[Path, list[str]]:
    """Makes a run of a checkpoint of the PyTorch reference.

    Args:
      file: `model.ckpt` or `best-model.ckpt`, as torch saved it.
      config_path: the config.yaml it was trained with, of any generation; it tells the kind of run.
      name: of the new run.
      vocab: its vocabulary; None: the one in the config.
      root: the folder that holds `experiments/`, and that relative paths of the config start from.

    Returns:
      The run's folder, and what was changed in the config.

    Raises:
      UserError: the run exists, or a file is missing or does not fit. Nothing is written then.
    """
    loaded = load_config(config_path)
    config = loaded.config
    vocab = vocab or root / config.tokenizer.vocab_dir
    if not vocab.exists():
        raise UserError(f"{vocab}: there is no such vocabulary. Name its folder with --vocab.")
    architecture, notes = with_reference_variants(config.architecture)
    head = config.classification_head if isinstance(config, FinetuningConfig) else config.mlm_head
    sections = config.model_copy(update={"architecture": architecture}).model_dump()
    sections["training"]["resume"] = {"path": None, "weights_only": True}
    if "pretrained_experiment" in sections:
        sections["pretrained_experiment"]["path"] = None
    for key in ("name", "kind", "output_dir"):
        del sections["experiment"][key]
    imported = Imported(
        origin="PyTorch reference",
        source=file,
        sections=sections,
        variables=variables_from_state_dict(read_state(file), architecture, head, file),
        architecture=architecture,
        head=head,
        tokenizer=WordPieceTokenizerWrapper().load(vocab),
        labels=[str(i) for i in range(head.num_labels)] if isinstance(head, ClassificationHead) else None,
        notes=[*loaded.notes, *notes],
    )
    return _make_run(imported, name, root), imported.notes


# --- reading Hugging Face's folder ----------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file. {contents_of(path.parent)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds one {type(content).__name__}, not keys and values")
    return content


def _read_weights(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    path = folder / "model.safetensors"
    if not path.is_file():
        path = folder / "pytorch_model.bin"
        if not path.is_file():
            raise UserError(f"{folder}: there is no model.safetensors or pytorch_model.bin. {contents_of(folder)}")
        return path, read_state(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return path, {n: (t.float() if t.is_floating_point() else t).numpy() for n, t in tensors.items()}


def _read_tokenizer(folder: Path) -> WordPieceTokenizerWrapper:
    path = folder / "tokenizer_config.json"
    if (folder / "tokenizer.json").is_file() or not path.is_file():
        return WordPieceTokenizerWrapper().load(folder)
    settings = _read_json(path)
    for key, usual in {"strip_accents": None, "tokenize_chinese_chars": True}.items():
        if settings.get(key) not in (None, usual):
            raise UserError(f"{path}: {key}: {settings[key]} needs a tokenizer.json beside vocab.txt")
    return WordPieceTokenizerWrapper().load(folder, lowercase=settings.get("do_lower_case"))


# --- writing the run ------------------------------------------------------------------------------------------


def _make_run(imported: Imported, name: str, root: Path) -> Path:
    _check(imported)
    is_classifier = isinstance(imported.head, ClassificationHead)
    kind = "finetuning" if is_classifier else "pretraining"
    vocab_dir = f"experiments/{kind}/{name}/vocab"
    sections = {**imported.sections, "tokenizer": {"wrapper_path": DEFAULT_WRAPPER, "vocab_dir": vocab_dir}}
    overrides = [f"{'.'.join(path)}={format_value(value)}" for path, value in flatten(sections).items()]
    if is_classifier:
        config_path = generate_finetuning(name, None, overrides=overrides, root=root)
    else:
        config_path = generate_pretraining(name, overrides=overrides, root=root)
    folder = config_path.parent
    try:
        imported.tokenizer.save(folder / "vocab")
        config = load_config(config_path).config
        save_model(folder, imported.variables, _metadata(imported, config), imported.tokenizer.save)
        # the summary marks the run as finished: so training does not overwrite the imported model
        summary = {"model": "imported", "origin": imported.origin, "source": str(imported.source)}
        (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=1), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


def _check(imported: Imported) -> None:
    """Raises UserError unless weights, architecture and vocabulary fit."""
    size = imported.tokenizer.vocab_size
    rows = len(imported.variables["params"][ENCODER]["embeddings"]["word"]["embedding"])
    if rows != size:
        raise UserError(f"{imported.source}: has embeddings for {rows} words, but the vocabulary has {size}")
    if imported.tokenizer.pad_id != 0:
        raise UserError(f"{imported.source}: the id of [PAD] is {imported.tokenizer.pad_id}; it must be 0")
    if isinstance(imported.head, ClassificationHead):
        module = TextClassifier(imported.architecture, imported.head, size)
    else:
        module = MaskedLanguageModel(imported.architecture, imported.head or MlmHead(), size)
    ids, lengths = jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32)
    expected: Any = jax.eval_shape(module.init, jax.random.key(0), ids, lengths)
    if imported.head is None:
        expected = {"params": {ENCODER: expected["params"][ENCODER]}}
    check_shapes(imported.source, expected, imported.variables)


def _metadata(imported: Imported, config: AnyConfig) -> dict[str, Any]:
    with imported.source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "config": config.model_dump(mode="json"),
        "vocab_size": imported.tokenizer.vocab_size,
        "vocabulary": imported.tokenizer.fingerprint,
        "labels": imported.labels,
        "which": "imported",
        "imported": {
            "origin": imported.origin,
            "source": str(imported.source.resolve()),
            "sha256": digest,
            "notes": imported.notes,
        },
    }
