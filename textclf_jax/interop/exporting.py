"""Writes trained models for the PyTorch reference and for Hugging Face's transformers."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from textclf_jax.config.file import AnyConfig, config_of
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.errors import UserError
from textclf_jax.files import json_text
from textclf_jax.interop import huggingface, reference
from textclf_jax.interop.bert_config import config_json
from textclf_jax.interop.layout import Head
from textclf_jax.interop.torch_checkpoint import write_state
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.runs.pretrained import require_head
from textclf_jax.tasks.confidence import Abstention, temperature_of
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import kept_wrapper
from textclf_jax.tokenizer.transformers_files import CONFIG_FILE, SETTINGS_FILE
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

WEIGHTS = "model.safetensors"


def export_reference(saved: SavedModel, out: Path) -> list[str]:
    """Writes {"model_state": state_dict}, which the reference loads with strict=True.

    Returns:
      Notes: none.

    Raises:
      UserError: the reference has no such model (its keys are listed), or `out` exists or cannot be written.
    """
    config, head = model_of(saved)
    _refuse(saved, "the PyTorch reference", reference.missing_in_reference(config.architecture, head))
    _require_new(out)
    write_state(out, reference.state_dict_from_variables(saved.variables, config.architecture, head))
    return []


def export_huggingface(saved: SavedModel, out: Path) -> list[str]:
    """Writes a folder that transformers' Auto classes load: weights, config.json and the tokenizer.

    Returns:
      Notes on what transformers does not use.

    Raises:
      UserError: transformers' BERT is no such model (its keys are listed), or `out` exists or cannot be written.
    """
    from safetensors.numpy import save_file

    config, head = model_of(saved)
    missing = huggingface.missing_in_bert(config.architecture, head)
    if kept_wrapper(saved.vocab_dir, config.tokenizer):
        missing.append(f"tokenizer.wrapper_path: {config.tokenizer.wrapper_path}, a tokenizer of your own")
    _refuse(saved, "transformers' BERT", missing)
    _require_new(out)
    tokenizer = WordPieceTokenizerWrapper().load(saved.vocab_dir)
    state = huggingface.state_from(saved.variables["params"], config.architecture, head)
    labels, thresholds = saved.metadata["labels"], Thresholds.of_model(saved.metadata)
    model_config = config_json(config.architecture, head, tokenizer.vocab_size, labels, thresholds)
    unfinished = None
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        save_file(state, unfinished / WEIGHTS, metadata={"format": "pt"})
        tokenizer.save(unfinished)
        _write_json(unfinished / CONFIG_FILE, model_config)
        _write_json(unfinished / SETTINGS_FILE, _tokenizer_config(config.architecture.max_sequence_length))
        unfinished.chmod(0o755)
        os.replace(unfinished, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    if thresholds is None:
        return []
    return [
        f"{out / CONFIG_FILE} has the thresholds of the labels as textclf_thresholds; transformers does not apply "
        "them: compare the sigmoid of each logit with its own"
    ]


def lost_in_export(saved: SavedModel) -> list[str]:
    """Warnings of what an exported model lacks: its linear path, its temperature, and when it does not know."""
    config, _ = model_of(saved)
    has_linear_path = isinstance(config, FinetuningConfig) and config.classification_head.linear.enabled
    lost = [_linear_path_lost(saved, config)] if has_linear_path else []
    if temperature_of(saved.metadata) != 1.0 or Abstention.of_model(saved.metadata):
        lost.append(_confidence_lost(saved, has_linear_path))
    return [f"warning: exported without {what}" for what in lost]


def _linear_path_lost(saved: SavedModel, config: AnyConfig) -> str:
    told = "its linear path, which the format has no place for: the encoder predicts alone"
    if "parts" not in saved.metadata:
        return f"{told}. What that costs is not known: there was no validation split."
    assert isinstance(config, FinetuningConfig)
    parts, score = saved.metadata["parts"], "f1_micro" if config.classification_head.multi_label else "accuracy"
    alone, both = parts[f"encoder_{score}"], parts[score]
    return f"{told}. On the validation split its {score} is {alone:.4f}, that of both together {both:.4f}."


def _confidence_lost(saved: SavedModel, has_linear_path: bool) -> str:
    if has_linear_path:
        return "its temperature and its limit on errors, if it has one: they are those of both parts together"
    told = f"its temperature: divide logits by {temperature_of(saved.metadata):.4f} for the probabilities of predict"
    if limit := Abstention.of_model(saved.metadata):
        told += f"; and its limit on errors: no label is known where none of these is above {limit.threshold:.4f}"
    return told


def model_of(saved: SavedModel) -> tuple[AnyConfig, Head]:
    """Reads the config of a saved model, and its head; raises UserError for an encoder without one."""
    config = config_of(saved.metadata["config"])
    if isinstance(config, FinetuningConfig):
        return config, config.classification_head
    require_head(saved)
    return config, config.mlm_head


def _refuse(saved: SavedModel, whose: str, missing: list[str]) -> None:
    if missing:
        raise UserError("\n  ".join([f"{saved.folder} cannot be exported: {whose} has nothing for", *missing]))


def _require_new(out: Path) -> None:
    if os.path.lexists(out):
        raise UserError(f"{out} exists already. Take another name, or remove it first.")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: there is no such folder. Make it first.")


def _tokenizer_config(max_length: int) -> dict[str, Any]:
    """The tokenizer_config.json that has transformers use tokenizer.json unchanged; its BertTokenizer would not."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json_text(content) + "\n", encoding="utf-8")
