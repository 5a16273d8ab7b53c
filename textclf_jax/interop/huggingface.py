"""BERT as Hugging Face's transformers has it: names, layouts and config keys, in both directions.

One table, `_names`, says where every array lives. A kernel here is [in, out], theirs [out, in]; queries, keys and
values are one kernel here and three there.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from pydantic import ValidationError

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError

Head = MlmHead | ClassificationHead
TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"
DECODER, DECODER_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"
SECOND_BIAS = "cls.predictions.bias"
WORDS = "bert.embeddings.word_embeddings.weight"
BODY = ("bert.embeddings.", "bert.encoder.")
# what BERT computes here; a key that is absent has this value there
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


class Place(NamedTuple):
    """Where an array lives here: its path below "params", and which third of the last axis it is, if one."""

    path: tuple[str, ...]
    third: int | None = None


# --- names ----------------------------------------------------------------------------------------------------


def _linear(theirs: str, *ours: str, third: int | None = None) -> dict[str, Place]:
    return {f"{theirs}.weight": Place((*ours, "kernel"), third), f"{theirs}.bias": Place((*ours, "bias"), third)}


def _norm(theirs: str, *ours: str) -> dict[str, Place]:
    return {f"{theirs}.weight": Place((*ours, "scale")), f"{theirs}.bias": Place((*ours, "bias"))}


def _names(config: Architecture, head: Head | None) -> dict[str, Place]:
    """Every array of a model by its name there. A token-type table that is absent here is not in it."""
    root = ("encoder", "embeddings")
    names = {
        WORDS: Place((*root, "word", "embedding")),
        "bert.embeddings.position_embeddings.weight": Place((*root, "position", "embedding")),
    }
    if config.type_vocab_size:
        names[TOKEN_TYPES] = Place((*root, "token_type", "embedding"))
    names |= _norm("bert.embeddings.LayerNorm", *root, "layer_norm")
    for i in range(config.num_layers):
        names |= _layer_names(f"bert.encoder.layer.{i}", "encoder", f"layers_{i}")
    return names | _head_names(head)


def _layer_names(theirs: str, *ours: str) -> dict[str, Place]:
    names = {}
    for third, name in enumerate(("query", "key", "value")):
        names |= _linear(f"{theirs}.attention.self.{name}", *ours, "attention", "qkv", third=third)
    names |= _linear(f"{theirs}.attention.output.dense", *ours, "attention", "out")
    names |= _norm(f"{theirs}.attention.output.LayerNorm", *ours, "attention_norm")
    names |= _linear(f"{theirs}.intermediate.dense", *ours, "mlp", "up")
    names |= _linear(f"{theirs}.output.dense", *ours, "mlp", "down")
    return names | _norm(f"{theirs}.output.LayerNorm", *ours, "mlp_norm")


def _head_names(head: Head | None) -> dict[str, Place]:
    if head is None:
        return {}
    if isinstance(head, ClassificationHead):
        return _linear("bert.pooler.dense", "pooler") | _linear("classifier", "classifier")
    names = _linear("cls.predictions.transform.dense", "transform", "dense")
    names |= _norm("cls.predictions.transform.LayerNorm", "transform", "norm")
    if head.decoder_bias:
        names[DECODER_BIAS] = Place(("decoder_bias",))
    return names if head.tie_mlm_weights else names | {DECODER: Place(("decoder", "kernel"))}


# --- from there -----------------------------------------------------------------------------------------------


def with_full_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict with the names of today's BertFor... classes: those of BertModel and of early files differ."""
    is_bare = not any(name.startswith("bert.") for name in state)
    full = {}
    for name, value in state.items():
        if is_bare and name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = f"bert.{name}"
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        full[name] = value
    if SECOND_BIAS in full:  # of the two names this is in every tied file, but the other one counts
        full.setdefault(DECODER_BIAS, full.pop(SECOND_BIAS))
    for buffer in ("position_ids", "token_type_ids"):
        full.pop(f"bert.embeddings.{buffer}", None)
    return full


def architecture_from(config: Mapping[str, Any], source: object) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
      UserError: keys that are missing, or whose values this project does not have.
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
    """The head that a checkpoint has: of a classifier by its class, of MLM by its arrays; None without one.

    Raises:
      UserError: the classifier is none for one label a text, or tied decoder weights differ.
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
    """Class names in the order of their numbers; two where nothing is said, as there."""
    named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(named[key]) for key in sorted(named, key=int)]


def params_from(
    state: Mapping[str, np.ndarray], config: Architecture, head: Head | None, source: object
) -> tuple[dict[str, Any], list[str]]:
    """Turns a state dict with full names into a parameter tree.

    Returns:
      Nested dicts of float32 arrays, and the names of heads' arrays that were not used.

    Raises:
      UserError: an array is missing or has no place; the message lists the names.
    """
    names = _names(config, head)
    known = {*names, DECODER} if isinstance(head, MlmHead) else set(names)  # the tied decoder is the word embedding
    left_over = [name for name in state if name not in known]
    missing, unknown = sorted(set(names) - set(state)), [name for name in left_over if name.startswith(BODY)]
    if missing or unknown:
        raise UserError(
            f"{source} does not hold the model that its config.json describes\n"
            f"  missing: {', '.join(missing) or 'nothing'}\n"
            f"  left over: {', '.join(unknown) or 'nothing'}"
        )
    thirds: dict[tuple[str, ...], list[np.ndarray]] = {}
    for name, place in names.items():
        value = np.asarray(state[name], np.float32)
        thirds.setdefault(place.path, []).append(value.T if place.path[-1] == "kernel" else value)
    joined = {path: np.ascontiguousarray(np.concatenate(values, axis=-1)) for path, values in thirds.items()}
    return unflatten_dict(joined), left_over


# --- to there -------------------------------------------------------------------------------------------------


def missing_in_bert(config: Architecture, head: Head) -> list[str]:
    """The keys, with their values, that transformers' BERT has nothing for."""
    attention = config.attention
    kept: dict[str, tuple[Any, Any]] = {
        "architecture.pos_encoding": (config.pos_encoding, "learned"),
        "architecture.attention.kind": (attention.kind, "mha"),
        "architecture.attention.attention_embedding_dim": (config.attention_dim, config.embedding_dim),
        "architecture.attention.projection_bias": (attention.projection_bias, True),
    }
    if isinstance(head, ClassificationHead):
        kept["classification_head.pooling"] = (head.pooling, "cls")
        kept["classification_head.pooler_type"] = (head.pooler_type, "bert")
    return [f"{key}: {value}, not {only}" for key, (value, only) in kept.items() if value != only]


def config_json(config: Architecture, head: Head, vocab_size: int, labels: list[str] | None) -> dict[str, Any]:
    """The config.json of a model. One dropout rate stands there for three here: that of the feed-forward layers."""
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
    """The state dict of a parameter tree; where this project has no token types or decoder bias, theirs are zero."""
    state, flat = {}, flatten_dict(params)
    for name, place in _names(config, head).items():
        value = np.asarray(flat[place.path])
        value = value if place.third is None else np.split(value, 3, axis=-1)[place.third]
        state[name] = np.ascontiguousarray(value.T if place.path[-1] == "kernel" else value)
    if not config.type_vocab_size:
        state[TOKEN_TYPES] = np.zeros((1, config.embedding_dim), np.float32)
    if isinstance(head, MlmHead):
        state.setdefault(DECODER_BIAS, np.zeros(len(state[WORDS]), np.float32))
        state[SECOND_BIAS] = state[DECODER_BIAS]
    return state
