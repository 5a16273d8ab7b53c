"""Reads the arrays of a Hugging Face folder: one file, or several that an index joins."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textclf_jax.errors import UserError
from textclf_jax.extras import require
from textclf_jax.interop.torch_checkpoint import read_state
from textclf_jax.runs.checkpoint import contents_of
from textclf_jax.tokenizer.json_files import read_json, shown

INDEX = ".index.json"


class Weights(NamedTuple):
    """The arrays of a folder.

    Attributes:
      source: the file, or the index of several.
      files: the files with the arrays.
      state: arrays by name; floats of any width as float32.
      notes: files that were not read, a line each.
    """

    source: Path
    files: list[Path]
    state: dict[str, np.ndarray]
    notes: list[str]


def read_weights(folder: Path) -> Weights:
    """Reads model.safetensors, or else its parts, pytorch_model.bin, or its parts: in transformers' order.

    Raises:
      UserError: there is none, one is damaged, or the parts are not those of the index.
    """
    there = [name for name in READERS if (folder / name).exists()]
    if not there:
        raise UserError(
            f"{folder}: there is no {' or '.join(name for name in READERS if INDEX not in name)}, whole or with an "
            f"index of its parts. {contents_of(folder)}"
        )
    path, read = folder / there[0], READERS[there[0]]
    notes = [f"{there[0]} is read, not {' or '.join(there[1:])}"] if there[1:] else []
    if path.name.endswith(INDEX):
        files, state = _read_parts(path, read)
    else:
        files, state = [path], read(path)
    return Weights(path, files, state, notes)


def check_numbers(state: Mapping[str, np.ndarray], names: Mapping[str, Any], source: Path) -> None:
    """Raises UserError where arrays that a model is made from hold other things than finite floats."""
    for name in names:
        if name in state and state[name].dtype != np.float32:
            raise UserError(f"{source}: {name} is {state[name].dtype}, not floats: quantised weights are not supported")
        if name in state and not np.isfinite(state[name]).all():
            raise UserError(f"{source}: {name} holds NaN or infinity: the training that made it has diverged")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    require("torch", f"{path}: reading safetensors")
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    wide = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    # narrower floats are quantised: they mean something only with their scales
    converted = {
        name: t.float() if t.dtype in wide else t.view(torch.uint8) if t.dtype.itemsize == 1 else t
        for name, t in tensors.items()
    }
    return {name: tensor.numpy() for name, tensor in converted.items()}


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "model.safetensors": _read_safetensors,
    f"model.safetensors{INDEX}": _read_safetensors,
    "pytorch_model.bin": read_state,
    f"pytorch_model.bin{INDEX}": read_state,
}


def _read_parts(index: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Reads the files that an index names; raises UserError unless they hold what it says, and are all there is."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(_is_part(name) for name in places.values()):
        raise UserError(f"{index}: weight_map: {shown(places)}, not a file of this folder by the name of each array")
    parts = sorted(set(places.values()))
    whole = Path(index.name.removesuffix(INDEX))
    found = {path.name for path in index.parent.glob(f"{whole.stem}-*-of-*{whole.suffix}")}
    absent, extra = [n for n in parts if not (index.parent / n).is_file()], sorted(found - set(parts))
    if absent:
        raise UserError(f"{index}: parts are missing: {', '.join(absent)}. {contents_of(index.parent)}")
    if extra:
        raise UserError(f"{index}: does not name {', '.join(extra)}. Remove the parts that are of another model.")
    state: dict[str, np.ndarray] = {}
    for part in parts:
        arrays, expected = read(index.parent / part), {name for name, place in places.items() if place == part}
        if wrong := sorted(expected ^ set(arrays)):
            which = f"lacks {wrong[0]}" if wrong[0] in expected else f"holds {wrong[0]}"
            raise UserError(
                f"{index.parent / part}: {which}, which is not what {index.name} says. Fetch the parts again."
            )
        state |= arrays
    return [index.parent / part for part in parts], state


def _is_part(name: object) -> bool:
    """Whether this is the name of a file, and of no other folder's."""
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name
