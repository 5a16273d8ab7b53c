"""Names and layouts of the PyTorch reference's checkpoints, in both directions.

One table, `parameter_names`, says where every tensor of the reference's state dict lives here. Kernels here are
[in, out], torch's linear weights [out, in].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError

Path = tuple[str, ...]
HEADS = ("mlm.", "classifier.")


def _linear(theirs: str, ours: Path, use_bias: bool = True) -> dict[str, Path]:
    names = {f"{theirs}.weight": (*ours, "kernel")}
    return names | {f"{theirs}.bias": (*ours, "bias")} if use_bias else names


def _norm(theirs: str, ours: Path) -> dict[str, Path]:
    return {f"{theirs}.weight": (*ours, "scale"), f"{theirs}.bias": (*ours, "bias")}


def _encoder_names(config: Architecture) -> dict[str, Path]:
    root = ("params", "encoder")
    names = {"embeddings.word_embeddings.weight": (*root, "embeddings", "word", "embedding")}
    if config.pos_encoding == "learned":
        names["embeddings.position.position_embeddings.weight"] = (*root, "embeddings", "position", "embedding")
    if config.type_vocab_size:
        names["embeddings.token_type_embeddings.weight"] = (*root, "embeddings", "token_type", "embedding")
    names |= _norm("embeddings.layer_norm", (*root, "embeddings", "layer_norm"))
    for i in range(config.num_layers):
        names |= _layer_names(config, f"layers.{i}", (*root, f"layers_{i}"))
    return names


def _layer_names(config: Architecture, theirs: str, ours: Path) -> dict[str, Path]:
    mechanism, attention = f"{theirs}.attention_block.attention_mechanism", config.attention
    names = _linear(
        f"{mechanism}.{'Uqv' if attention.kind == 'lsh' else 'Uqkv'}",
        (*ours, "attention", "qkv"),
        attention.projection_bias,
    )
    names |= _linear(f"{mechanism}.Uout", (*ours, "attention", "out"), attention.projection_bias)
    if attention.kind == "favor":
        names[f"{mechanism}._omega"] = ("features", *ours[1:], "attention", "omega")
    names |= _norm(f"{theirs}.attention_block.layer_norm", (*ours, "attention_norm"))
    names |= _linear(f"{theirs}.mlp_block.mlp.0", (*ours, "mlp", "up"))
    names |= _linear(f"{theirs}.mlp_block.mlp.2", (*ours, "mlp", "down"))
    return names | _norm(f"{theirs}.mlp_block.layer_norm", (*ours, "mlp_norm"))


def _head_names(head: MlmHead | ClassificationHead) -> dict[str, Path]:
    if isinstance(head, MlmHead):
        names = _linear("mlm.transform.0", ("params", "transform", "dense"))
        names |= _norm("mlm.transform.2", ("params", "transform", "norm"))
        # a tied decoder is the word embedding; both names are in the file
        return names if head.tie_mlm_weights else names | _linear("mlm.decoder", ("params", "decoder"), use_bias=False)
    names = _linear("classifier.classifier", ("params", "classifier"))
    if head.pooler_type:
        place = {"bert": 0, "roberta": 1}[head.pooler_type]
        names = _linear(f"classifier.pooler.{place}", ("params", "pooler")) | names
    return names


def with_reference_variants(config: Architecture) -> tuple[Architecture, list[str]]:
    """The architecture that computes what the reference does, and a line for each key that it changes."""
    notes, reference = [], {"variant": "reference"}
    if config.pos_encoding == "rope" and config.rope.variant != "reference":
        config = config.model_copy(update={"rope": config.rope.model_copy(update=reference)})
        notes.append("architecture.rope.variant is reference: the weights were trained with the reference's positions")
    if config.attention.kind == "lsh" and config.attention.lsh.variant != "reference":
        lsh = config.attention.lsh.model_copy(update=reference)
        config = config.model_copy(update={"attention": config.attention.model_copy(update={"lsh": lsh})})
        notes.append("architecture.attention.lsh.variant is reference: the weights were trained with its hashing")
    return config, notes


def missing_in_reference(config: Architecture, head: MlmHead | ClassificationHead) -> list[str]:
    """The keys, with their values, that the reference has nothing for."""
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
    if isinstance(head, MlmHead) and head.decoder_bias:
        missing.append("mlm_head.decoder_bias: true")
    return missing


def parameter_names(config: Architecture, head: MlmHead | ClassificationHead | None) -> dict[str, Path]:
    """Maps each name of the reference's state dict to its path in our variables ("params" or "features" first)."""
    return _encoder_names(config) | (_head_names(head) if head is not None else {})


def head_names(state: Mapping[str, Any]) -> list[str]:
    """Those names of a state dict that stand for heads."""
    return [name for name in state if name.startswith(HEADS)]


def variables_from_state_dict(
    state: Mapping[str, np.ndarray],
    config: Architecture,
    head: MlmHead | ClassificationHead | None,
    source: object = "the reference checkpoint",
) -> dict[str, Any]:
    """Turns a reference state dict into Linen variables.

    Args:
      state: arrays by the reference's names.
      config: the architecture they were made with.
      head: the head to read; None reads the encoder and leaves heads unread.
      source: where they come from, for messages.

    Returns:
      {"params": ..., "features": ... (favor only)}, nested dicts of float32 arrays.

    Raises:
      UserError: a tensor is missing, left over, or two tied ones differ; the message lists the names.
    """
    names = parameter_names(config, head)
    tied = "mlm.decoder.weight"
    expected = set(names) | ({tied} if isinstance(head, MlmHead) and head.tie_mlm_weights else set())
    left_over = {name for name in state if name not in expected}
    if head is None:
        left_over -= set(head_names(state))
    missing = expected - set(state)
    if missing or left_over:
        raise UserError(
            f"{source} does not fit this architecture\n"
            f"  missing: {', '.join(sorted(missing)) or 'nothing'}\n"
            f"  left over: {', '.join(sorted(left_over)) or 'nothing'}"
        )
    if (
        tied in expected
        and tied not in names
        and not np.array_equal(state[tied], state["embeddings.word_embeddings.weight"])
    ):
        raise UserError(f"{source}: {tied} differs from the word embeddings. Set mlm_head.tie_mlm_weights to false.")
    flat = {}
    for name, path in names.items():
        value = np.asarray(state[name], np.float32)
        if value.size == 0:
            continue  # favor's kernels elu and relu2 have no directions
        flat[path] = value.T if path[-1] == "kernel" else value
    return unflatten_dict(flat)


def state_dict_from_variables(
    variables: Mapping[str, Any], config: Architecture, head: MlmHead | ClassificationHead
) -> dict[str, np.ndarray]:
    """The inverse of `variables_from_state_dict`: arrays in torch's layout by the reference's names."""
    state, flat = {}, flatten_dict(variables)
    for name, path in parameter_names(config, head).items():
        if path[-1] == "omega" and config.attention.favor.phi != "exp":
            state[name] = np.zeros(0, np.float32)
            continue
        value = np.asarray(flat[path])
        state[name] = np.ascontiguousarray(value.T if path[-1] == "kernel" else value)
    if isinstance(head, MlmHead) and head.tie_mlm_weights:
        state["mlm.decoder.weight"] = state["embeddings.word_embeddings.weight"]
    return state
