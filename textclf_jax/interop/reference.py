"""State dicts of the PyTorch reference to variables of this project's models, and back.

One table, `parameter_names`, says where every tensor of the reference's state dict lives here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.interop.layout import Head, TreePath, check_names, linear_names, norm_names, transpose_kernel

HEADS = ("mlm.", "classifier.")
WORDS, DECODER = "embeddings.word_embeddings.weight", "mlm.decoder.weight"


def _encoder_names(config: Architecture) -> dict[str, TreePath]:
    root = ("params", "encoder")
    names: dict[str, TreePath] = {WORDS: (*root, "embeddings", "word", "embedding")}
    if config.pos_encoding == "learned":
        names["embeddings.position.position_embeddings.weight"] = (*root, "embeddings", "position", "embedding")
    if config.type_vocab_size:
        names["embeddings.token_type_embeddings.weight"] = (*root, "embeddings", "token_type", "embedding")
    names |= norm_names("embeddings.layer_norm", *root, "embeddings", "layer_norm")
    for i in range(config.num_layers):
        names |= _layer_names(config, f"layers.{i}", *root, f"layers_{i}")
    return names


def _layer_names(config: Architecture, theirs: str, *ours: str) -> dict[str, TreePath]:
    attention, use_bias = config.attention, config.attention.projection_bias
    mechanism = f"{theirs}.attention_block.attention_mechanism"
    projection = f"{mechanism}.{'Uqv' if attention.kind == 'lsh' else 'Uqkv'}"
    names = linear_names(projection, *ours, "attention", "qkv", use_bias=use_bias)
    names |= linear_names(f"{mechanism}.Uout", *ours, "attention", "out", use_bias=use_bias)
    if attention.kind == "favor":
        names[f"{mechanism}._omega"] = ("features", *ours[1:], "attention", "omega")
    names |= norm_names(f"{theirs}.attention_block.layer_norm", *ours, "attention_norm")
    names |= linear_names(f"{theirs}.mlp_block.mlp.0", *ours, "mlp", "up")
    names |= linear_names(f"{theirs}.mlp_block.mlp.2", *ours, "mlp", "down")
    return names | norm_names(f"{theirs}.mlp_block.layer_norm", *ours, "mlp_norm")


def _head_names(head: Head) -> dict[str, TreePath]:
    if isinstance(head, MlmHead):
        names = linear_names("mlm.transform.0", "params", "transform", "dense")
        names |= norm_names("mlm.transform.2", "params", "transform", "norm")
        # a tied decoder is the word embedding; both names are in the file
        return names if head.tie_mlm_weights else names | {DECODER: ("params", "decoder", "kernel")}
    names = linear_names("classifier.classifier", "params", "classifier")
    if head.pooler_type:
        index = {"bert": 0, "roberta": 1}[head.pooler_type]
        names = linear_names(f"classifier.pooler.{index}", "params", "pooler") | names
    return names


def with_reference_variants(config: Architecture) -> tuple[Architecture, list[str]]:
    """Changes an architecture to compute what the reference does; returns it and a line for each changed key."""
    notes, reference = [], {"variant": "reference"}
    if config.pos_encoding == "rope" and config.rope.variant != "reference":
        config = config.model_copy(update={"rope": config.rope.model_copy(update=reference)})
        notes.append("architecture.rope.variant is reference: the weights were trained with the reference's positions")
    if config.attention.kind == "lsh" and config.attention.lsh.variant != "reference":
        lsh = config.attention.lsh.model_copy(update=reference)
        config = config.model_copy(update={"attention": config.attention.model_copy(update={"lsh": lsh})})
        notes.append("architecture.attention.lsh.variant is reference: the weights were trained with its hashing")
    return config, notes


def missing_in_reference(config: Architecture, head: Head) -> list[str]:
    """Lists the keys, with their values, that the reference has no counterpart for."""
    attention, missing = config.attention, []
    if attention.kind == "local":
        missing.append("architecture.attention.kind: local")
    if attention.kind == "lsh":
        missing += [
            f"architecture.attention.lsh.{key}: {value}"
            for key, value in attention.lsh.model_dump(include={"variant", "combine"}).items()
            if value not in ("reference", "mean")
        ]
    if config.pos_encoding == "rope" and config.rope.variant != "reference":
        missing.append(f"architecture.rope.variant: {config.rope.variant}")
    if isinstance(head, ClassificationHead) and head.multi_label:
        missing.append("classification_head.multi_label: true")
    if isinstance(head, MlmHead) and head.decoder_bias:
        missing.append("mlm_head.decoder_bias: true")
    return missing


def parameter_names(config: Architecture, head: Head | None) -> dict[str, TreePath]:
    """Maps each name of the reference's state dict to its path in the variables ("params" or "features" first)."""
    return _encoder_names(config) | (_head_names(head) if head is not None else {})


def head_names(state: Mapping[str, Any]) -> list[str]:
    """Lists the names of a state dict that belong to heads."""
    return [name for name in state if name.startswith(HEADS)]


def variables_from_state_dict(
    state: Mapping[str, np.ndarray],
    config: Architecture,
    head: Head | None,
    source: object = "the reference checkpoint",
) -> dict[str, Any]:
    """Converts a state dict of the reference to Linen variables.

    Args:
      state: arrays by the reference's names.
      config: the architecture they were made with.
      head: the head to read; None reads the encoder only.
      source: where they come from, for messages.

    Returns:
      {"params": ..., "features": ... (favor only)}, nested dicts of float32 arrays.

    Raises:
      UserError: a tensor is missing, left over, or two tied ones differ; the message lists the names.
    """
    names, is_tied = parameter_names(config, head), isinstance(head, MlmHead) and head.tie_mlm_weights
    expected = set(names) | ({DECODER} if is_tied else set())
    left_over = set(state) - expected - (set(head_names(state)) if head is None else set())
    check_names(f"{source} does not fit this architecture", sorted(expected - set(state)), sorted(left_over))
    if is_tied and not np.array_equal(state[DECODER], state[WORDS]):
        raise UserError(f"{source}: {DECODER} differs from the word embeddings. Set mlm_head.tie_mlm_weights to false.")
    flat = {}
    for name, path in names.items():
        value = np.asarray(state[name], np.float32)
        if value.size:  # favor's kernels elu and relu2 have no directions
            flat[path] = transpose_kernel(path, value)
    return unflatten_dict(flat)


def state_dict_from_variables(variables: Mapping[str, Any], config: Architecture, head: Head) -> dict[str, np.ndarray]:
    """Converts Linen variables to a state dict of the reference: the inverse of `variables_from_state_dict`."""
    state, flat = {}, flatten_dict(variables)
    for name, path in parameter_names(config, head).items():
        if path[-1] == "omega" and config.attention.favor.phi != "exp":
            state[name] = np.zeros(0, np.float32)
            continue
        state[name] = np.ascontiguousarray(transpose_kernel(path, np.asarray(flat[path])))
    if isinstance(head, MlmHead) and head.tie_mlm_weights:
        state[DECODER] = state[WORDS]
    return state
