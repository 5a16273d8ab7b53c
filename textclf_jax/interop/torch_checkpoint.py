"""Reads state dicts from PyTorch's files, without running anything in them, and writes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from textclf_jax.data.torch_files import TENSORS, Content, TorchFile, kind_of, read_file, save
from textclf_jax.data.torch_pickle import StoredTensor
from textclf_jax.errors import UserError
from textclf_jax.extras import require
from textclf_jax.runs.checkpoint import contents_of

STATE = "model_state"
CHECKPOINT = Content(
    f'Expected: torch.save({{"{STATE}": state_dict}}, path) or torch.save(state_dict, path)',
    TENSORS | {"torch._utils _rebuild_parameter", "torch Size", "torch device"},
)


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Reads the state dict of a model: the file itself, or `model_state` of the dict in it.

    Returns:
      Arrays by name in the file's order; floats of any width as float32.

    Raises:
      UserError: no such file, one of another kind, a damaged one, or no state dict; what is there is listed.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such checkpoint. {contents_of(path.parent)}")
    file = read_file(path, CHECKPOINT)
    return {name: _copy(file.array(name, tensor)) for name, tensor in _state_in(file).items()}


def write_state(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes {"model_state": state}; two names of one array share a storage, as tied weights do.

    Raises:
      UserError: the file cannot be written.
    """
    require("torch", f"{path}: writing files of torch")
    import torch

    tensors = {id(array): torch.from_numpy(np.array(array, order="C")) for array in state.values()}
    save(path, {STATE: {name: tensors[id(array)] for name, array in state.items()}})


def _copy(array: np.ndarray) -> np.ndarray:
    """Copies an array out of its file; floats of any width become float32."""
    is_whole = np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_
    return np.array(array, None if is_whole else np.float32, order="C")


def _state_in(file: TorchFile) -> Mapping[str, StoredTensor]:
    described = file.described
    if not isinstance(described, dict):
        raise UserError(f"{file.path}: holds one {kind_of(described)}. {CHECKPOINT.expected}")
    state = described.get(STATE, described)
    if isinstance(state, dict) and state and all(isinstance(value, StoredTensor) for value in state.values()):
        return state
    kind = f"{STATE} is no state dict" if STATE in described else f"there is no {STATE}"
    there = ", ".join(map(str, described)) or "nothing"
    raise UserError(f"{file.path}: {kind}. The file holds: {there}. {CHECKPOINT.expected}")
