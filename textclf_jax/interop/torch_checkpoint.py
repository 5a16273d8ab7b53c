"""State dicts in PyTorch's files, read with suspicion and without its classes, and written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textclf_jax.data.torch_files import TENSORS, Content, check_extent, load, save
from textclf_jax.errors import UserError
from textclf_jax.training.checkpoint import contents_of

STATE = "model_state"
CHECKPOINT = Content(
    f'Expected: torch.save({{"{STATE}": state_dict}}, path) or torch.save(state_dict, path)',
    TENSORS | {"torch._utils _rebuild_parameter", "torch Size", "torch device"},
)


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Reads the state dict of a model: a payload's `model_state`, or the file is one itself.

    Returns:
      Arrays by name in the file's order; floats of any width as float32.

    Raises:
      UserError: no such file, of another kind, damaged, or without a state dict; what is there is listed.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such checkpoint. {contents_of(path.parent)}")
    loaded, record_sizes = load(path, CHECKPOINT)
    state = _state_in(path, loaded)
    for name, tensor in state.items():
        check_extent(path, name, tensor, record_sizes, CHECKPOINT)
    return {name: as_array(tensor) for name, tensor in state.items()}


def write_state(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes {"model_state": state}; two names of one array share a storage, as tied weights do.

    Raises:
      UserError: the folder or disk does not take it.
    """
    import torch

    tensors = {id(array): torch.from_numpy(np.array(array, order="C")) for array in state.values()}
    save(path, {STATE: {name: tensors[id(array)] for name, array in state.items()}})


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as an array of its own memory; floats of any width as float32."""
    return np.array((tensor.float() if tensor.is_floating_point() else tensor).detach().numpy(), order="C")


def _state_in(path: Path, loaded: Any) -> Mapping[str, Any]:
    import torch

    if not isinstance(loaded, Mapping):
        raise UserError(f"{path}: holds one {type(loaded).__name__}. {CHECKPOINT.expected}")
    state = loaded.get(STATE, loaded)
    if isinstance(state, Mapping) and state and all(isinstance(value, torch.Tensor) for value in state.values()):
        return state
    kind = f"{STATE} is no state dict" if STATE in loaded else f"there is no {STATE}"
    there = ", ".join(map(str, loaded)) or "nothing"
    raise UserError(f"{path}: {kind}. The file holds: {there}. {CHECKPOINT.expected}")
