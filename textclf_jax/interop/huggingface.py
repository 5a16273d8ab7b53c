"""State dicts of Hugging Face's BERT to this project's models, and back.

One table, `parameter_names`, says where every array lives here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.interop.layout import (
    Head,
    TreePath,
    check_names,
    differing,
    linear_names,
    named_arrays,
    needed_by_berts,
    norm_names,
    transpose_kernel,
)
from textclf_jax.model.embeddings import sinusoidal_table

TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"
DECODER, DECODER_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"
SECOND_BIAS = "cls.predictions.bias"
WORDS, POSITIONS = "bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight"
BODY = ("bert.embeddings.", "bert.encoder.")
QKV = ("query", "key", "value")
BY_WORD = (WORDS, DECODER, DECODER_BIAS)


# --- names ----------------------------------------------------------------------------------------------------


def parameter_names(config: Architecture, head: Head | None) -> dict[str, TreePath]:
    """Maps each name of a state dict to its path below "params"; q, k and v, in this order, share one path."""
    root = ("encoder", "embeddings")
    names: dict[str, TreePath] = {WORDS: (*root, "word", "embedding")}
    if config.pos_encoding == "learned":
        names[POSITIONS] = (*root, "position", "embedding")
    if config.type_vocab_size:
        names[TOKEN_TYPES] = (*root, "token_type", "embedding")
    names |= norm_names("bert.embeddings.LayerNorm", *root, "layer_norm")
    for i in range(config.num_layers):
        names |= _layer_names(f"bert.encoder.layer.{i}", "encoder", f"layers_{i}")
    return names | _head_names(head)


def _layer_names(theirs: str, *ours: str) -> dict[str, TreePath]:
    names = {}
    for name in QKV:
        names |= linear_names(f"{theirs}.attention.self.{name}", *ours, "attention", "qkv")
    names |= linear_names(f"{theirs}.attention.output.dense", *ours, "attention", "out")
    names |= norm_names(f"{theirs}.attention.output.LayerNorm", *ours, "attention_norm")
    names |= linear_names(f"{theirs}.intermediate.dense", *ours, "mlp", "up")
    names |= linear_names(f"{theirs}.output.dense", *ours, "mlp", "down")
    return names | norm_names(f"{theirs}.output.LayerNorm", *ours, "mlp_norm")


def _head_names(head: Head | None) -> dict[str, TreePath]:
    if head is None:
        return {}
    if isinstance(head, ClassificationHead):
        return linear_names("bert.pooler.dense", "pooler") | linear_names("classifier", "classifier")
    names = linear_names("cls.predictions.transform.dense", "transform", "dense")
    names |= norm_names("cls.predictions.transform.LayerNorm", "transform", "norm")
    if head.decoder_bias:
        names[DECODER_BIAS] = ("decoder_bias",)
    return names if head.tie_mlm_weights else names | {DECODER: ("decoder", "kernel")}


# --- import ---------------------------------------------------------------------------------------------------


def with_full_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the arrays of BertModel and of early files as in transformers' BertFor... classes of today."""
    is_bare = not any(name.startswith("bert.") for name in state)
    full = {}
    for name, value in state.items():
        if is_bare and name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = f"bert.{name}"
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        full[name] = value
    if SECOND_BIAS in full:  # tied files may have this name only; where both are there, the other one is used
        full.setdefault(DECODER_BIAS, full.pop(SECOND_BIAS))
    for buffer in ("position_ids", "token_type_ids"):
        full.pop(f"bert.embeddings.{buffer}", None)
    return full


def without_padding(state: Mapping[str, np.ndarray], vocab_size: int) -> dict[str, np.ndarray]:
    """Drops the rows of embeddings and decoder beyond the vocabulary: no text has their ids."""
    rows = state[WORDS].shape[:1] if WORDS in state else ()
    return {
        name: value[:vocab_size] if name in BY_WORD and rows and value.shape[:1] == rows else value
        for name, value in state.items()
    }


def mlm_head_from(state: Mapping[str, np.ndarray], source: object, *, tied: bool) -> MlmHead | None:
    """Reads the head that the arrays are for; None: there is no MLM head.

    Raises:
      UserError: tied decoder weights differ.
    """
    if "cls.predictions.transform.dense.weight" not in state:
        return None
    if tied and DECODER in state and WORDS in state and not np.array_equal(state[DECODER], state[WORDS]):
        raise UserError(f"{source}: tie_word_embeddings: true, but {DECODER} differs from {WORDS}. Set it to false.")
    return MlmHead(tie_mlm_weights=tied, decoder_bias=DECODER_BIAS in state)


def params_from(
    state: Mapping[str, np.ndarray], config: Architecture, head: Head | None, source: object
) -> tuple[dict[str, Any], list[str]]:
    """Converts a state dict, from `with_full_names`, to a parameter tree.

    Returns:
      Nested dicts of float32 arrays, and the names of heads' arrays that were not used.

    Raises:
      UserError: an array is missing or has no place; the message lists the names.
    """
    names = parameter_names(config, head)
    known = {*names, DECODER} if isinstance(head, MlmHead) else set(names)  # the tied decoder is the word embedding
    left_over = [name for name in state if name not in known]
    missing, unknown = sorted(set(names) - set(state)), [name for name in left_over if name.startswith(BODY)]
    check_names(f"{source} does not hold the model that its config.json describes", missing, unknown)
    parts: dict[TreePath, list[np.ndarray]] = {}  # three of each qkv, one of each other array
    for name, path in names.items():
        parts.setdefault(path, []).append(transpose_kernel(path, np.asarray(state[name], np.float32)))
        first = parts[path][0]
        if parts[path][-1].shape != first.shape or first.ndim == 0:
            raise UserError(f"{source}: {name} has the shape {state[name].shape}, which does not fit the others")
    joined = {path: np.ascontiguousarray(np.concatenate(values, axis=-1)) for path, values in parts.items()}
    return unflatten_dict(joined), left_over


# --- export ---------------------------------------------------------------------------------------------------


def missing_in_bert(config: Architecture, head: Head) -> list[str]:
    """Lists the keys, with their values, that transformers' BERT has no counterpart for."""
    positions = {"architecture.pos_encoding": (config.pos_encoding, ("learned", "sinusoidal"))}
    return differing(positions | needed_by_berts(config, head))


def state_from(params: Mapping[str, Any], config: Architecture, head: Head | None) -> dict[str, np.ndarray]:
    """Converts a parameter tree to a state dict.

    Sinusoidal positions are written as learned ones; token types and decoder bias are zero where the model has none.
    """
    state = named_arrays(params, parameter_names(config, head), QKV)
    if config.pos_encoding == "sinusoidal":
        state[POSITIONS] = sinusoidal_table(config.max_sequence_length, config.embedding_dim)
    if not config.type_vocab_size:
        state[TOKEN_TYPES] = np.zeros((1, config.embedding_dim), np.float32)
    if isinstance(head, MlmHead):
        state.setdefault(DECODER_BIAS, np.zeros(len(state[WORDS]), np.float32))
        state[SECOND_BIAS] = state[DECODER_BIAS]
    return state
