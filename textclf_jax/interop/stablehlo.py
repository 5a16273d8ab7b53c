"""Writes trained models as StableHLO programs, which JAX runs without this project (jax.export)."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from textclf_jax.config.schema import ClassificationHead
from textclf_jax.errors import UserError
from textclf_jax.extras import require
from textclf_jax.interop.targets import model_of, new_folder, require_new, write_json
from textclf_jax.kernels.backend import platform
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.tokenizer.loading import load_kept

WEIGHTS, FACTS, PROGRAM = "weights.npz", "model.json", "program-{}.stablehlo"
SHORTEST = 32  # tokens
ROWS = 8


def lengths_up_to(max_length: int) -> tuple[int, ...]:
    """The lengths that there are programs for: 32, 64, 128 ... and `max_length`."""
    lengths, length = [], SHORTEST
    while length < max_length:
        lengths.append(length)
        length *= 2
    return (*lengths, max_length)


def export_stablehlo(saved: SavedModel, out: Path, *, rows: int = ROWS) -> list[str]:
    """Writes a folder with the weights, the tokenizer, a program for each length, and `model.json`.

    A program takes the arrays of `weights.npz` by name, ids [B, L] int32 and the number of real tokens of each row [B]
    int32, and gives float32 logits: [B, C] of a classifier, [B, L, V] of a masked language model.

    Args:
      saved: the model.
      out: the folder to make.
      rows: B, of a batch.

    Returns:
      Notes: what the programs run on.

    Raises:
      UserError: `out` exists or cannot be written, or `rows` is below 1.
    """
    if rows < 1:
        raise UserError(f"--rows {rows} must be at least 1")
    require("flatbuffers", "export --format stablehlo")
    config, head = model_of(saved)
    require_new(out)
    kind: Any = SequenceClassifier if isinstance(head, ClassificationHead) else MaskedLanguageModel
    module = kind(config.architecture, head, saved.metadata["vocab_size"])
    # those of the linear path are of no use without its n-grams, which the host counts
    collections = {name: saved.variables[name] for name in ("params", "features") if name in saved.variables}
    weights: dict[str, Any] = dict(flatten_dict(collections, sep="/"))
    lengths = lengths_up_to(config.architecture.max_sequence_length)
    with new_folder(out) as folder:
        np.savez(folder / WEIGHTS, allow_pickle=False, **weights)
        for length in lengths:
            (folder / PROGRAM.format(length)).write_bytes(_program(module, weights, rows, length))
        load_kept(saved.vocab_dir, config.tokenizer).save(folder)
        facts: dict[str, Any] = {"platform": platform(), "rows": rows, "lengths": lengths}
        if isinstance(head, ClassificationHead):
            facts |= {"labels": saved.metadata["labels"], "multi_label": head.multi_label}
        write_json(folder / FACTS, facts)
    return [f"the programs run on {facts['platform']}, for batches of {rows} rows"]


def _program(module: Any, weights: dict[str, np.ndarray], rows: int, length: int) -> bytes:
    """The program for a shape, as jax.export.deserialize reads it."""
    from jax import export

    def logits(arrays, ids, lengths):
        return module.apply(unflatten_dict(arrays, sep="/"), ids, lengths)

    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in weights.items()}
    ids, lengths = (jax.ShapeDtypeStruct(shape, np.int32) for shape in ((rows, length), (rows,)))
    return bytes(export.export(jax.jit(logits))(shapes, ids, lengths).serialize())
