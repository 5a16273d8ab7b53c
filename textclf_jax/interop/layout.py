"""What all formats of PyTorch weights have in common: how layers are named and laid out, and which arrays fit.

A linear layer's kernel is [in, out] here, its weight [out, in] there.
"""

import numpy as np

from textclf_jax.config.schema import ClassificationHead, MlmHead
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


def check_names(complaint: str, missing: list[str], left_over: list[str]) -> None:
    """Raises UserError with the names of arrays that are missing or have no place, if there are any."""
    if missing or left_over:
        listed = (", ".join(names) or "nothing" for names in (missing, left_over))
        raise UserError("{}\n  missing: {}\n  left over: {}".format(complaint, *listed))
