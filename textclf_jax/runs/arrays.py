"""The arrays of a `model.ckpt`, as Orbax stores them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from textclf_jax.runtime.processes import are_several

DICT_KEY = 2  # Orbax's number for the keys of dicts


def orbax_by_itself() -> Any:
    """Orbax's options for a process that reads or writes by itself, though others may carry the run with it."""
    import orbax.checkpoint as ocp

    if not are_several():
        return ocp.options.MultiprocessingOptions()
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(this, {this}, barrier_sync_key_prefix=f"process-{this}")


def write_arrays(folder: Path, tree: PyTree[np.ndarray]) -> None:
    """Writes nested dicts of arrays into a folder that is not there yet."""
    import orbax.checkpoint as ocp

    options = orbax_by_itself()
    # not StandardCheckpointer, which starts threads: this runs in the background already
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
        checkpointer.save(folder.resolve(), args=ocp.args.StandardSave(tree))


def read_arrays(folder: Path) -> PyTree[np.ndarray]:
    """Reads the arrays of a folder; whoever calls it compares their checksums.

    Raises whatever Orbax and its stores raise on damaged files.
    """
    try:
        return _read_directly(folder)
    except Exception:  # another version of the format, or damage, of which Orbax tells more
        return _read_by_orbax(folder)


def _read_directly(folder: Path) -> dict[str, Any]:
    """Reads what the folder's description names, without Orbax, whose import takes longer than a small model."""
    import tensorstore as ts

    base, opened = f"file://{folder.resolve()}/", {}
    for entry in json.loads((folder / "_METADATA").read_text(encoding="utf-8"))["tree_metadata"].values():
        path = tuple(key["key"] for key in entry["key_metadata"])
        if any(key["key_type"] != DICT_KEY for key in entry["key_metadata"]):
            raise ValueError(f"{path}: is no array in nested dicts")
        store = {"driver": "ocdbt", "base": base, "path": ".".join(path) + "/"}
        opened[path] = ts.open({"driver": "zarr", "kvstore": store}, open=True)
    reads = {path: array.result().read() for path, array in opened.items()}
    tree: dict[str, Any] = {}
    for path, read in reads.items():
        *outer, name = path
        inner = tree
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[name] = np.asarray(read.result())
    return tree


def _read_by_orbax(folder: Path) -> PyTree[np.ndarray]:
    import orbax.checkpoint as ocp

    options = orbax_by_itself()
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
        shapes = checkpointer.metadata(folder.resolve()).item_metadata.tree
        like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        return checkpointer.restore(folder.resolve(), args=ocp.args.StandardRestore(like))
