"""Writes trained models for the PyTorch reference and for Hugging Face's transformers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textclf_jax.config.file import AnyConfig
from textclf_jax.config.schema import Architecture, ClassificationHead, FinetuningConfig
from textclf_jax.interop import bert_config, huggingface, reference, rotary
from textclf_jax.interop.layout import Head
from textclf_jax.interop.onnx_model import missing_in_onnx
from textclf_jax.interop.targets import model_of, new_folder, refuse, require_new, write_json
from textclf_jax.interop.torch_checkpoint import write_state
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.tasks.confidence import Abstention, temperature_of
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import kept_wrapper, means_own
from textclf_jax.tokenizer.transformers_files import CONFIG_FILE, SETTINGS_FILE
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

WEIGHTS = "model.safetensors"


class Family(NamedTuple):
    """A kind of model of transformers that models here are written as.

    Attributes:
      name: as transformers has it.
      missing: lists the keys, with their values, that it has no counterpart for.
      state_from: makes its state dict of a parameter tree.
      config_json: makes its config.json.
    """

    name: str
    missing: Callable[[Architecture, Head], list[str]]
    state_from: Callable[[Mapping[str, Any], Architecture, Head], dict[str, np.ndarray]]
    config_json: Callable[[Architecture, Head, int, list[str] | None, Thresholds | None], dict[str, Any]]


BERT = Family("BERT", huggingface.missing_in_bert, huggingface.state_from, bert_config.config_json)
ROTARY = Family("JinaEmbeddingsV3", rotary.missing_in_rotary, rotary.state_from, rotary.config_json)


def family_of(config: Architecture) -> Family:
    """The kind of model of transformers for an architecture."""
    return ROTARY if config.pos_encoding == "rope" else BERT


def export_reference(saved: SavedModel, out: Path) -> list[str]:
    """Writes {"model_state": state_dict}, which the reference loads with strict=True.

    Returns:
      Notes: none.

    Raises:
      UserError: the reference has no such model (its keys are listed), or `out` exists or cannot be written.
    """
    config, head = model_of(saved)
    refuse(saved, "the PyTorch reference", reference.missing_in_reference(config.architecture, head))
    require_new(out)
    write_state(out, reference.state_dict_from_variables(saved.variables, config.architecture, head))
    return []


def export_huggingface(saved: SavedModel, out: Path) -> list[str]:
    """Writes a folder that transformers' Auto classes load: weights, config.json and the tokenizer.

    Returns:
      Notes on what transformers does not use.

    Raises:
      UserError: transformers has no such model (its keys are listed), or `out` exists or cannot be written.
    """
    from safetensors.numpy import save_file

    config, head = model_of(saved)
    family = family_of(config.architecture)
    is_users = kept_wrapper(saved.vocab_dir, config.tokenizer) is not None
    refuse(saved, f"transformers' {family.name}", _missing_in_transformers(config, head, is_users=is_users))
    require_new(out)
    tokenizer = WordPieceTokenizerWrapper().load(saved.vocab_dir)
    state = family.state_from(saved.variables["params"], config.architecture, head)
    labels, thresholds = saved.metadata["labels"], Thresholds.of_model(saved.metadata)
    model_config = family.config_json(config.architecture, head, tokenizer.vocab_size, labels, thresholds)
    with new_folder(out) as folder:
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        tokenizer.save(folder)
        write_json(folder / CONFIG_FILE, model_config)
        write_json(folder / SETTINGS_FILE, _tokenizer_config(config.architecture.max_sequence_length))
    if thresholds is None:
        return []
    return [
        f"{out / CONFIG_FILE} has the thresholds of the labels as textclf_thresholds; transformers does not apply "
        "them: compare the sigmoid of each logit with its own"
    ]


def formats_told(config: AnyConfig) -> list[str]:
    """Tells which formats a model of this config can be exported to, and what keeps it from the others."""
    head = config.classification_head if isinstance(config, FinetuningConfig) else config.mlm_head
    architecture, is_users = config.architecture, not means_own(Path(config.tokenizer.wrapper_path))
    missing = {
        "hf": _missing_in_transformers(config, head, is_users=is_users),
        "onnx": missing_in_onnx(architecture),
        "stablehlo": [],
        "reference": reference.missing_in_reference(architecture, head),
    }
    fits = [name for name, keys in missing.items() if not keys]
    told = [f"can be exported as {', '.join(fits)}"]
    told += [f"not as {name}, for {'; '.join(keys)}" for name, keys in missing.items() if keys]
    if "onnx" in fits and isinstance(head, ClassificationHead) and head.linear.enabled and head.linear.max_n > 2:
        told.append(
            f"perhaps not as onnx, for classification_head.linear.max_n: {head.linear.max_n}: of its n-grams of more "
            "than 2 tokens some may not be told from their keys"
        )
    return told


def lost_in_export(saved: SavedModel) -> list[str]:
    """Warnings of what an exported model lacks: its linear path, its temperature, and when it does not know."""
    config, _ = model_of(saved)
    has_linear_path = isinstance(config, FinetuningConfig) and config.classification_head.linear.enabled
    lost = [_linear_path_lost(saved, config)] if has_linear_path else []
    if temperature_of(saved.metadata) != 1.0 or Abstention.of_model(saved.metadata):
        lost.append(_confidence_lost(saved, has_linear_path))
    return [f"warning: exported without {what}" for what in lost]


def _missing_in_transformers(config: AnyConfig, head: Head, *, is_users: bool) -> list[str]:
    """Lists the keys, with their values, that transformers has nothing for.

    Args:
      config: of the run.
      head: of the model.
      is_users: whether the tokenizer is a class of the user's.
    """
    missing = family_of(config.architecture).missing(config.architecture, head)
    own = f"tokenizer.wrapper_path: {config.tokenizer.wrapper_path}, a tokenizer of your own"
    return [*missing, own] if is_users else missing


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


def _tokenizer_config(max_length: int) -> dict[str, Any]:
    """The tokenizer_config.json that has transformers use tokenizer.json unchanged; its BertTokenizer would not."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    }
