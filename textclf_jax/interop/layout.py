"""What all formats of PyTorch weights have in common: how layers are named and laid out, and which arrays fit.

A linear layer's kernel is [in, out] here, its weight [out, in] there. Queries, keys and values are one array here,
three there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError

Head = MlmHead | ClassificationHead
TreePath = tuple[str, ...]  # keys of nested dicts


def linear_names(theirs: str, *ours: str, use_bias: bool = True) -> dict[str, TreePath]:
    """Maps the names in a state dict of a linear layer's arrays to their paths here."""
    names: dict[str, TreePath] = {f"{theirs}.weight": (*ours, "kernel")}
    return names | {f"{theirs}.bias": (*ours, "bias")} if use_bias else names


def norm_names(theirs: str, *ours: str) -> dict[str, TreePath]:
    """Maps the names in a state dict of a LayerNorm's arrays to their paths here."""
    return {f"{theirs}.weight": (*ours, "scale"), f"{theirs}.bias": (*ours, "bias")}


def transpose_kernel(path: TreePath, value: np.ndarray) -> np.ndarray:
    """Transposes the array at `path` if it is a kernel: from torch's layout to ours, or back."""
    return value.T if path[-1] == "kernel" else value


def named_arrays(
    params: Mapping[str, Any], names: Mapping[str, TreePath], thirds: Sequence[str]
) -> dict[str, np.ndarray]:
    """The arrays of a parameter tree as a state dict.

    Args:
      params: nested dicts.
      names: the path of each name; the three layers of queries, keys and values share one.
      thirds: the last part of the names of these layers, in this order.
    """
    state, flat = {}, flatten_dict(params)
    for name, path in names.items():
        value, layer = np.asarray(flat[path]), name.split(".")[-2]
        if layer in thirds:
            value = np.split(value, 3, axis=-1)[thirds.index(layer)]
        state[name] = np.ascontiguousarray(transpose_kernel(path, value))
    return state


def differing(needed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """A line for each key whose first value is not the second, the only one that a format has, or one of several."""
    return [
        f"{key}: {value}, not {' or '.join(map(str, only)) if isinstance(only, tuple) else only}"
        for key, (value, only) in needed.items()
        if (value not in only if isinstance(only, tuple) else value != only)
    ]


def needed_by_berts(config: Architecture, head: Head) -> dict[str, tuple[Any, Any]]:
    """What all of transformers' relatives of BERT ask of a model: values by key, and the only ones they have."""
    attention = config.attention
    needed: dict[str, tuple[Any, Any]] = {
        "architecture.attention.kind": (attention.kind, "mha"),
        "architecture.attention.attention_embedding_dim": (config.attention_dim, config.embedding_dim),
        "architecture.attention.projection_bias": (attention.projection_bias, True),
    }
    if isinstance(head, ClassificationHead):
        needed["classification_head.pooling"] = (head.pooling, "cls")
        # both compute the same; they differ in where dropout is
        needed["classification_head.pooler_type"] = (head.pooler_type, ("bert", "roberta"))
    return needed


def check_names(complaint: str, missing: list[str], left_over: list[str]) -> None:
    """Raises UserError with the names of arrays that are missing or have no place, if there are any."""
    if missing or left_over:
        listed = (", ".join(names) or "nothing" for names in (missing, left_over))
        raise UserError("{}\n  missing: {}\n  left over: {}".format(complaint, *listed))
