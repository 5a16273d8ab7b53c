"""Makes runs of `experiments/` from other projects' weights, as if they had been trained here."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from textclf_jax.config.file import AnyConfig, format_value, load_config
from textclf_jax.config.schema import (
    DEFAULT_WRAPPER,
    Architecture,
    ClassificationHead,
    FinetuningConfig,
    Linear,
    MlmHead,
)
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import flatten, generate_finetuning, generate_pretraining
from textclf_jax.files import json_text, sha256_of
from textclf_jax.interop import bert_config, huggingface
from textclf_jax.interop.layout import Head
from textclf_jax.interop.reference import variables_from_state_dict, with_reference_variants
from textclf_jax.interop.torch_checkpoint import read_state
from textclf_jax.interop.weights import check_numbers, read_weights
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier
from textclf_jax.runs.checkpoint import contents_of, save_model
from textclf_jax.runs.pretrained import ENCODER, check_shapes
from textclf_jax.runs.record import SUMMARY_FILE
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.json_files import read_json
from textclf_jax.tokenizer.loading import require_pad_first
from textclf_jax.tokenizer.transformers_files import CONFIG_FILE
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper


@dataclass(frozen=True)
class Imported:
    """Another project's model."""

    origin: str  # the project
    source: Path  # the file with the weights, or the index of several
    sha256: str  # of the weights' files
    sections: dict[str, Any]  # of the config, without those of the template
    variables: dict[str, Any]  # {"params": ..., "features": ...} of the model, or of its encoder alone
    architecture: Architecture
    head: Head | None  # None: there is an encoder alone
    tokenizer: WordPieceTokenizerWrapper
    labels: list[str] | None  # class names of a classifier
    notes: list[str]  # what was changed or not used, one line each
    thresholds: Thresholds | None = None  # of several labels a text


def import_huggingface(folder: Path, name: str, root: Path = Path()) -> tuple[Path, list[str]]:
    """Makes a run of a BERT folder: a finetuning run of a BertForSequenceClassification, else a pretraining run.

    Args:
      folder: config.json, model.safetensors or pytorch_model.bin (or their parts), vocab.txt or tokenizer.json.
      name: of the new run.
      root: the folder that holds `experiments/`.

    Returns:
      The run's folder, and what was not used or not as the files have it.

    Raises:
      UserError: the run exists, a file is missing, a key has a value that this project does not support, or arrays do
        not fit. Nothing is written then.
    """
    config_path = folder / CONFIG_FILE
    if not config_path.exists():
        raise UserError(f"{config_path}: there is no such file. {contents_of(folder)}")
    config = bert_config.read_config(read_json(config_path), config_path)
    weights = read_weights(folder)
    tokenizer = WordPieceTokenizerWrapper().load(folder)
    state = huggingface.with_full_names(weights.state)
    bert_config.check_sizes(config, state, config_path, weights.source)
    padding = _count_padding(config.vocab_size, tokenizer.vocab_size, weights.source)
    state = huggingface.without_padding(state, tokenizer.vocab_size)
    architecture, labels, thresholds = bert_config.architecture_from(config), None, None
    if config.is_classifier:
        head, labels = bert_config.classifier_from(config, config_path)
        thresholds = bert_config.thresholds_from(config, head, config_path)
    else:
        head = huggingface.mlm_head_from(state, config_path, tied=config.tie_word_embeddings)
    check_numbers(state, huggingface.parameter_names(architecture, head), weights.source)
    params, unused = huggingface.params_from(state, architecture, head, weights.source)
    imported = Imported(
        origin="Hugging Face",
        source=weights.source,
        sha256=sha256_of(weights.files),
        sections=_sections(architecture, head),
        variables={"params": params},
        architecture=architecture,
        head=head,
        tokenizer=tokenizer,
        labels=labels,
        notes=[*weights.notes, *padding, *tokenizer.notes, f"not used: {', '.join(unused) or 'nothing'}"],
        thresholds=thresholds,
    )
    return _make_run(imported, name, root), imported.notes


def _sections(architecture: Architecture, head: Head | None) -> dict[str, Any]:
    sections: dict[str, Any] = {"architecture": architecture.model_dump()}
    if head is not None:
        sections["classification_head" if isinstance(head, ClassificationHead) else "mlm_head"] = head.model_dump()
    return sections


def _count_padding(rows: int, vocab_size: int, source: Path) -> list[str]:
    """Notes how many rows of the embeddings are beyond the vocabulary; raises UserError for too many or too few."""
    if rows == vocab_size:
        return []
    if not vocab_size < rows <= 2 * vocab_size:
        raise UserError(
            f"{source}: has embeddings for {rows} words, but the vocabulary has {vocab_size}. Are vocab.txt and "
            "tokenizer.json those of this model?"
        )
    return [
        f"the embeddings have {rows} rows, the vocabulary has {vocab_size} words: the last {rows - vocab_size} rows, "
        "which no text uses, are dropped"
    ]


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
    tokenizer = WordPieceTokenizerWrapper().load(vocab)
    architecture, notes = with_reference_variants(config.architecture)
    if isinstance(config, FinetuningConfig):
        if config.classification_head.multi_label:
            raise UserError(
                f"{config_path}: classification_head.multi_label: true, but the reference has one label a text. "
                "Take the key out."
            )
        if config.classification_head.linear.enabled:
            notes.append(f"classification_head.linear.enabled is false: {file} holds no linear path")
        head = config.classification_head.model_copy(update={"linear": Linear()})
        config = config.model_copy(update={"classification_head": head})
    else:
        head = config.mlm_head
    sections = config.model_copy(update={"architecture": architecture}).model_dump()
    sections["training"]["resume"] = {"path": None, "weights_only": True}
    if "pretrained_experiment" in sections:
        sections["pretrained_experiment"]["path"] = None
    for key in ("name", "kind", "output_dir"):
        del sections["experiment"][key]
    imported = Imported(
        origin="PyTorch reference",
        source=file,
        sha256=sha256_of([file]),
        sections=sections,
        variables=variables_from_state_dict(read_state(file), architecture, head, file),
        architecture=architecture,
        head=head,
        tokenizer=tokenizer,
        labels=[str(i) for i in range(head.num_labels)] if isinstance(head, ClassificationHead) else None,
        notes=[*loaded.notes, *notes, *tokenizer.notes],
    )
    return _make_run(imported, name, root), imported.notes


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
        (folder / SUMMARY_FILE).write_text(json_text(summary), encoding="utf-8")
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
    # another order of the vocabulary would not be that of the embeddings
    remedy = "Is this the vocabulary that the model was trained with? A model with another one cannot be imported."
    require_pad_first(imported.tokenizer.pad_id, imported.source, remedy)
    if isinstance(imported.head, ClassificationHead):
        module = SequenceClassifier(imported.architecture, imported.head, size)
    else:
        module = MaskedLanguageModel(imported.architecture, imported.head or MlmHead(), size)
    ids, lengths = jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32)
    expected: Any = jax.eval_shape(module.init, jax.random.key(0), ids, lengths)
    if imported.head is None:
        expected = {"params": {ENCODER: expected["params"][ENCODER]}}
    check_shapes(imported.source, expected, imported.variables)


def _metadata(imported: Imported, config: AnyConfig) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json"),
        "vocab_size": imported.tokenizer.vocab_size,
        "vocabulary": imported.tokenizer.fingerprint,
        "labels": imported.labels,
        "which": "imported",
        "imported": {
            "origin": imported.origin,
            "source": str(imported.source.resolve()),
            "sha256": imported.sha256,
            "notes": imported.notes,
        },
        **(imported.thresholds.stored() if imported.thresholds else {}),
    }
