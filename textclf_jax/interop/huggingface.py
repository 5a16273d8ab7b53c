"""BERT of Hugging Face's transformers to this project's models, and back: state dicts and config.json.

One table, `parameter_names`, says where every array lives here. Queries, keys and values are one array here, three
there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from pydantic import ValidationError

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.interop.layout import Head, TreePath, check_names, linear_names, norm_names, transpose_kernel

TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"
DECODER, DECODER_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"
SECOND_BIAS = "cls.predictions.bias"
WORDS = "bert.embeddings.word_embeddings.weight"
BODY = ("bert.embeddings.", "bert.encoder.")
QKV = ("query", "key", "value")
# the only values that this project computes, which are also transformers' defaults
FIXED = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12,
    "is_decoder": False,
    "add_cross_attention": False,
    "pad_token_id": 0,
}
SINGLE_LABEL = "single_label_classification"
SIZES = {
    "embedding_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "mlp_size": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
}


# --- names ----------------------------------------------------------------------------------------------------


def parameter_names(config: Architecture, head: Head | None) -> dict[str, TreePath]:
    """Maps each name of a state dict to its path below "params"; q, k and v, in this order, share one path."""
    root = ("encoder", "embeddings")
    names: dict[str, TreePath] = {
        WORDS: (*root, "word", "embedding"),
        "bert.embeddings.position_embeddings.weight": (*root, "position", "embedding"),
    }
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


def architecture_from(config: Mapping[str, Any], source: object) -> Architecture:
    """Reads the architecture from a config.json.

    Raises:
      UserError: keys that are missing, or have values that this project does not support; they are listed.
    """
    wrong = [f"{key}: {config[key]}, not {only}" for key, only in FIXED.items() if config.get(key, only) != only]
    needed = (*SIZES.values(), "num_attention_heads", "vocab_size")
    wrong += [f"{key}: missing" for key in needed if not isinstance(config.get(key), int)]
    if wrong:
        raise UserError("\n  ".join([f"{source}: only BERT as it was published can be imported", *wrong]))
    dropout = float(config.get("hidden_dropout_prob", 0.1))
    attention = {
        "kind": "mha",
        "num_heads": config["num_attention_heads"],
        "attn_dropout": float(config.get("attention_probs_dropout_prob", 0.1)),
        "attn_out_dropout": dropout,
    }
    sizes = {ours: config[theirs] for ours, theirs in SIZES.items()}
    options = {"pos_encoding": "learned", "type_vocab_size": config.get("type_vocab_size", 2)}
    dropouts = {"mlp_dropout": dropout, "embedding_dropout": dropout}
    try:
        return Architecture.model_validate({**sizes, **options, **dropouts, "attention": attention})
    except ValidationError as error:
        raise UserError(f"{source}: {error.errors()[0]['msg']}") from None


def head_from(config: Mapping[str, Any], state: Mapping[str, np.ndarray], source: object) -> Head | None:
    """Reads the head: a classifier is known by its class, an MLM head by its arrays; None: there is neither.

    Raises:
      UserError: the classifier is not for one of several labels a text, or tied decoder weights differ.
    """
    if "BertForSequenceClassification" in (config.get("architectures") or ()):
        if config.get("problem_type") not in (None, SINGLE_LABEL):
            raise UserError(f"{source}: problem_type: {config['problem_type']}, not {SINGLE_LABEL}")
        if (num_labels := len(labels_from(config))) < 2:
            raise UserError(f"{source}: id2label: a classifier has at least 2 labels, not {num_labels}")
        rate = config.get("classifier_dropout")
        rate = config.get("hidden_dropout_prob", 0.1) if rate is None else rate
        return ClassificationHead(num_labels=num_labels, classifier_dropout=float(rate))
    if "cls.predictions.transform.dense.weight" not in state:
        return None
    tied = config.get("tie_word_embeddings", True)
    if tied and not np.array_equal(state.get(DECODER, state[WORDS]), state[WORDS]):
        raise UserError(f"{source}: tie_word_embeddings: true, but {DECODER} differs from {WORDS}. Set it to false.")
    return MlmHead(tie_mlm_weights=tied, decoder_bias=DECODER_BIAS in state)


def labels_from(config: Mapping[str, Any]) -> list[str]:
    """Reads the class names in the order of ids; transformers' default is two."""
    named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(named[key]) for key in sorted(named, key=int)]


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
    joined = {path: np.ascontiguousarray(np.concatenate(values, axis=-1)) for path, values in parts.items()}
    return unflatten_dict(joined), left_over


# --- export ---------------------------------------------------------------------------------------------------


def missing_in_bert(config: Architecture, head: Head) -> list[str]:
    """Lists the keys, with their values, that transformers' BERT has no counterpart for."""
    attention = config.attention
    needed: dict[str, tuple[Any, Any]] = {
        "architecture.pos_encoding": (config.pos_encoding, "learned"),
        "architecture.attention.kind": (attention.kind, "mha"),
        "architecture.attention.attention_embedding_dim": (config.attention_dim, config.embedding_dim),
        "architecture.attention.projection_bias": (attention.projection_bias, True),
    }
    if isinstance(head, ClassificationHead):
        needed["classification_head.pooling"] = (head.pooling, "cls")
        needed["classification_head.pooler_type"] = (head.pooler_type, "bert")
    return [f"{key}: {value}, not {only}" for key, (value, only) in needed.items() if value != only]


def config_json(config: Architecture, head: Head, vocab_size: int, labels: list[str] | None) -> dict[str, Any]:
    """Describes a model as config.json does, where `mlp_dropout` stands for three dropout rates here."""
    described: dict[str, Any] = {
        "architectures": ["BertForMaskedLM" if isinstance(head, MlmHead) else "BertForSequenceClassification"],
        **FIXED,
        "vocab_size": vocab_size,
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "num_attention_heads": config.attention.num_heads,
        "type_vocab_size": max(config.type_vocab_size, 1),
        "hidden_dropout_prob": config.mlp_dropout,
        "attention_probs_dropout_prob": config.attention.attn_dropout,
        "tie_word_embeddings": not isinstance(head, MlmHead) or head.tie_mlm_weights,
    }
    if isinstance(head, ClassificationHead):
        names = labels or [str(i) for i in range(head.num_labels)]
        described["classifier_dropout"] = head.classifier_dropout
        described["problem_type"] = SINGLE_LABEL
        described["id2label"] = {str(i): name for i, name in enumerate(names)}
        described["label2id"] = {name: i for i, name in enumerate(names)}
    return described


def state_from(params: Mapping[str, Any], config: Architecture, head: Head | None) -> dict[str, np.ndarray]:
    """Converts a parameter tree to a state dict; token types and decoder bias are zero where the model has none."""
    state, flat = {}, flatten_dict(params)
    for name, path in parameter_names(config, head).items():
        value, layer = np.asarray(flat[path]), name.split(".")[-2]
        if layer in QKV:
            value = np.split(value, 3, axis=-1)[QKV.index(layer)]
        state[name] = np.ascontiguousarray(transpose_kernel(path, value))
    if not config.type_vocab_size:
        state[TOKEN_TYPES] = np.zeros((1, config.embedding_dim), np.float32)
    if isinstance(head, MlmHead):
        state.setdefault(DECODER_BIAS, np.zeros(len(state[WORDS]), np.float32))
        state[SECOND_BIAS] = state[DECODER_BIAS]
    return state
