"""Checks the tensors of one file of rows: their shapes, the mask, the ids and what they tell of the text."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from textclf_jax.data.content import ContentCheck, SpecialTokens, TailCheck
from textclf_jax.data.equal_rows import hash_rows
from textclf_jax.data.padding import PaddingCheck
from textclf_jax.data.torch_files import DICT_KEYS, chunks_of
from textclf_jax.errors import UserError


class Limits(NamedTuple):
    """What the rows of a file are checked against.

    Attributes:
      vocab_size: V; every id must be in [0, V).
      pad_id: the id of PAD.
      max_length: what lies beyond so many tokens is read by nothing.
      special: the special tokens, without which nothing tells whether there is text in the rows.
      is_part: whether the file is one of several.
    """

    vocab_size: int
    pad_id: int
    max_length: int
    special: SpecialTokens | None
    is_part: bool


class CheckedRows(NamedTuple):
    """What the rows of a file are.

    Attributes:
      lengths: [N] int32, real tokens of each row.
      num_words: tokens that are not special, up to the maximum length; None where nothing tells which are.
      hashes: [N] of each row's ids up to the maximum length; empty in a file without labels.
    """

    lengths: Int[np.ndarray, " N"]
    num_words: int | None
    hashes: UInt64[np.ndarray, " N"]


def check_shapes(
    path: Path, tensors: list[np.ndarray], form: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns input_ids [N, L], attention_mask [N, L] and labels, whose values are still to be checked.

    `form` is the shape of labels, for messages; None where none are needed.
    """
    expected = "input_ids [N, L], attention_mask [N, L] (True = PAD)" + (f", labels {form}" if form else "")
    needed = 2 if form is None else 3
    if not needed <= len(tensors) <= 3:
        raise UserError(f"{path}: holds {len(tensors)} tensors, expected {needed}: {expected}")
    ids, mask, labels = *tensors[:2], tensors[2] if len(tensors) == 3 else None
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(f"{path}: input_ids are {ids.dtype} of shape {list(ids.shape)}, expected integers [N, L]")
    if mask.shape != ids.shape:
        raise UserError(
            f"{path}: attention_mask has shape {list(mask.shape)}, but input_ids {list(ids.shape)}: they must be equal"
        )
    if labels is not None and labels.shape[:1] != ids.shape[:1]:
        raise UserError(f"{path}: labels have shape {list(labels.shape)}, but there are {len(ids)} rows")
    if 0 in ids.shape:
        raise UserError(f"{path}: input_ids have shape {list(ids.shape)}: there is nothing to train on")
    return ids, mask, labels


def require_alike(paths: Sequence[Path], files: Sequence[list[np.ndarray]], pad_id: int) -> None:
    """Raises UserError where the tensors of several files, whose shapes are sound, cannot be those of one."""
    for path, tensors in zip(paths[1:], files[1:], strict=True):
        first = files[0]
        if len(tensors) != len(first):
            labelled, other = (path, paths[0]) if len(tensors) == 3 else (paths[0], path)
            raise UserError(
                f"{labelled}: has labels, but {other}, which is of the same split, has none. Name files of one kind: "
                "all for pretraining (mlm/), or all for classification (cls/)."
            )
        widths = tensors[0].shape[1], first[0].shape[1]
        if widths[0] != widths[1]:
            shorter = path if widths[0] < widths[1] else paths[0]
            raise UserError(
                f"{path}: its rows have {widths[0]} columns, those of {paths[0]} have {widths[1]}, and both are of one "
                f"split. Lengthen the rows of {shorter} to {max(widths)}, with {pad_id} ([PAD]) in input_ids and True "
                "in attention_mask."
            )
        for name, ours, theirs in zip(DICT_KEYS, tensors[:2], first[:2], strict=False):
            if ours.dtype != theirs.dtype:
                raise UserError(
                    f"{path}: {name} is {ours.dtype}, but {theirs.dtype} in {paths[0]}, and both are of one split. "
                    f"Save it as {theirs.dtype}."
                )


def check_mask_values(path: Path, mask: np.ndarray, notes: list[str]) -> None:
    if mask.dtype == np.bool_:
        return
    for start, (part,) in chunks_of(mask):
        wrong = ~((part == 0) | (part == 1))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise UserError(
                f"{path}: attention_mask is {mask.dtype} and holds {part[row, column]} in row {start + row}; "
                "expected bool, True = PAD"
            )
    notes.append(f"{path}: attention_mask is {mask.dtype}, read as bool with 1 = PAD")


def check_rows(path: Path, tensors: list[np.ndarray], limits: Limits, notes: list[str]) -> CheckedRows:
    """Checks ids and masks of a file. Only here masks that are True at padding are inverted.

    Raises:
      UserError: names the file, the row and the value at fault, and the remedy.
    """
    ids, mask = tensors[:2]
    vocab_size, pad_id, max_length, special, is_part = limits
    lengths = np.empty(len(ids), np.int32)
    hashes = np.empty(len(ids) if len(tensors) == 3 else 0, np.uint64)
    content, tails = special and ContentCheck(path, special, is_part), TailCheck(path, pad_id, special)
    check = PaddingCheck(path, pad_id, mask.dtype == np.bool_, _third_is_mask(tensors))
    for start, (id_part, mask_part) in chunks_of(ids, mask):
        if id_part.min() < 0 or id_part.max() >= vocab_size:
            row, column = np.argwhere((id_part < 0) | (id_part >= vocab_size))[0]
            raise UserError(
                f"{path}: row {start + row} holds the id {id_part[row, column]}, but the vocabulary has {vocab_size} "
                f"tokens (0 to {vocab_size - 1}). Was the file made with another vocabulary?"
            )
        padding = mask_part.astype(bool)
        check.add(start, id_part, padding)
        tails.add(id_part, padding)
        read = id_part[:, :max_length]  # what is cut off is no model's business
        if content:
            content.add(start, read, padding[:, :max_length])
        lengths[start : start + len(padding)] = (~padding).sum(axis=1)
        if len(hashes):
            hashes[start : start + len(padding)] = hash_rows(read)
    notes += [*check.notes(), *tails.notes(), *(content.notes() if content else ())]
    return CheckedRows(lengths, content.words if content else None, hashes)


def _third_is_mask(tensors: list[np.ndarray]) -> bool:
    """Whether a third tensor has the shape and the values of a mask, by its first rows."""
    if len(tensors) < 3 or tensors[2].shape != tensors[0].shape:
        return False
    sample = tensors[2][:1000]
    return bool(((sample == 0) | (sample == 1)).all())
