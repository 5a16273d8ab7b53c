"""Models with rotary positions as transformers has them: its JinaEmbeddingsV3, a BERT with rotary positions.

It pairs channel j with j + K/2, as the standard variant does here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead, Rope
from textclf_jax.interop import bert_config
from textclf_jax.interop.layout import (
    Head,
    TreePath,
    differing,
    linear_names,
    named_arrays,
    needed_by_berts,
    norm_names,
)
from textclf_jax.tasks.thresholds import Thresholds

TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
WORDS = "roberta.embeddings.word_embeddings.weight"
DECODER, DECODER_BIAS, SECOND_BIAS = "lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"
QKV = ("q_proj", "k_proj", "v_proj")
NOT_BERT = ("position_embedding_type", "is_decoder", "add_cross_attention")  # keys of BERT's config.json alone


def parameter_names(config: Architecture, head: Head) -> dict[str, TreePath]:
    """Maps each name of a state dict to its path below "params"; q, k and v, in this order, share one path."""
    root = ("encoder", "embeddings")
    names: dict[str, TreePath] = {WORDS: (*root, "word", "embedding")}
    if config.type_vocab_size:
        names[TOKEN_TYPES] = (*root, "token_type", "embedding")
    names |= norm_names("roberta.embeddings.LayerNorm", *root, "layer_norm")
    for i in range(config.num_layers):
        names |= _layer_names(f"roberta.layers.{i}", "encoder", f"layers_{i}")
    if isinstance(head, ClassificationHead):
        return names | linear_names("classifier.dense", "pooler") | linear_names("classifier.out_proj", "classifier")
    names |= linear_names("lm_head.dense", "transform", "dense") | norm_names("lm_head.layer_norm", "transform", "norm")
    if head.decoder_bias:
        names[DECODER_BIAS] = ("decoder_bias",)
    return names if head.tie_mlm_weights else names | {DECODER: ("decoder", "kernel")}


def _layer_names(theirs: str, *ours: str) -> dict[str, TreePath]:
    names = {}
    for name in QKV:
        names |= linear_names(f"{theirs}.self_attn.{name}", *ours, "attention", "qkv")
    names |= linear_names(f"{theirs}.self_attn.o_proj", *ours, "attention", "out")
    names |= norm_names(f"{theirs}.post_attention_layernorm", *ours, "attention_norm")
    names |= linear_names(f"{theirs}.mlp.fc1", *ours, "mlp", "up")
    names |= linear_names(f"{theirs}.mlp.fc2", *ours, "mlp", "down")
    return names | norm_names(f"{theirs}.post_mlp_layernorm", *ours, "mlp_norm")


def missing_in_rotary(config: Architecture, head: Head) -> list[str]:
    """Lists the keys, with their values, that transformers' model has no counterpart for."""
    positions: dict[str, tuple[Any, Any]] = {
        "architecture.pos_encoding": (config.pos_encoding, "rope"),
        "architecture.rope.variant": (config.rope.variant, "standard"),
    }
    return differing(positions | needed_by_berts(config, head))


def state_from(params: Mapping[str, Any], config: Architecture, head: Head) -> dict[str, np.ndarray]:
    """Converts a parameter tree to a state dict; token types and decoder bias are zero where the model has none."""
    state = named_arrays(params, parameter_names(config, head), QKV)
    if not config.type_vocab_size:
        state[TOKEN_TYPES] = np.zeros((1, config.embedding_dim), np.float32)
    if isinstance(head, MlmHead):
        state.setdefault(DECODER_BIAS, np.zeros(len(state[WORDS]), np.float32))
        state[SECOND_BIAS] = state[DECODER_BIAS]
    return state


def config_json(
    config: Architecture, head: Head, vocab_size: int, labels: list[str] | None, thresholds: Thresholds | None = None
) -> dict[str, Any]:
    """Describes a model as config.json does: as a BERT's, with rotary positions."""
    described = bert_config.config_json(config, head, vocab_size, labels, thresholds)
    task = "MaskedLM" if isinstance(head, MlmHead) else "SequenceClassification"
    return {key: value for key, value in described.items() if key not in NOT_BERT} | {
        "architectures": [f"JinaEmbeddingsV3For{task}"],
        "model_type": "jina_embeddings_v3",
        "rope_parameters": _rope_parameters(config.rope),
    }


def _rope_parameters(rope: Rope) -> dict[str, Any]:
    """Their linear scaling divides positions by its factor."""
    if rope.rope_scale == 1.0:
        return {"rope_type": "default", "rope_theta": rope.rope_base}
    return {"rope_type": "linear", "rope_theta": rope.rope_base, "factor": 1.0 / rope.rope_scale}
