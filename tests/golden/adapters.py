"""Turns the constructor arguments recorded in the golden manifest into our configuration."""

from typing import Any

import numpy as np

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead


def architecture(kwargs: dict[str, Any]) -> Architecture:
    """Our Architecture for the reference's constructor arguments; rope and lsh as the reference computes them."""
    kind, parameters = kwargs["attention_kind"], dict(kwargs.get("attention_params", {}))
    parameters.pop("use_native_sdpa", None)
    if kind == "lsh":
        parameters["variant"] = "reference"
    positions = kwargs["pos_encoding"]
    data: dict[str, Any] = {
        key: kwargs[key] for key in ("max_sequence_length", "embedding_dim", "num_layers", "mlp_size")
    }
    data |= {key: kwargs.get(key, 0.0) for key in ("mlp_dropout", "embedding_dropout")}
    data |= {"pos_encoding": positions, "type_vocab_size": kwargs.get("type_vocab_size", 0)}
    if positions == "rope":
        data["rope"] = {"variant": "reference", **kwargs.get("pos_encoding_params", {})}
    data["attention"] = {
        "kind": kind,
        "num_heads": kwargs["num_heads"],
        "attention_embedding_dim": kwargs.get("attention_embedding_dim"),
        "projection_bias": kwargs.get("attn_projection_bias", True),
        "attn_dropout": kwargs.get("attn_dropout", 0.0),
        "attn_out_dropout": kwargs.get("attn_out_dropout", 0.0),
        kind: parameters,
    }
    return Architecture.model_validate(data)


def head(config: dict[str, Any]) -> MlmHead | ClassificationHead:
    """Our head for a manifest entry's `task`, `tie_mlm_weights` and `head`."""
    if config["task"] == "mlm":
        return MlmHead(tie_mlm_weights=config["tie_mlm_weights"])
    settings = dict(config["head"])
    pooling = settings.get("pooling", "cls")
    if pooling.startswith("sep_"):
        settings |= {"pooling": "strided_mean", "pooling_stride": int(pooling.removeprefix("sep_"))}
    return ClassificationHead.model_validate(settings)


def state_dict(arrays: dict[str, np.ndarray], prefix: str = "sd/") -> dict[str, np.ndarray]:
    """The arrays below a prefix, by the rest of their names."""
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def lengths(mask: np.ndarray) -> np.ndarray:
    """[B] real tokens of a suffix padding mask [B, L], True = PAD."""
    return (~mask).sum(axis=1).astype(np.int32)
