"""Loads `.pt` data and checks every row before training: JAX reports neither ids nor labels that are out of range."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8, UInt64

from textclf_jax.data.agreement import Numbering
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.content import ContentCheck, SpecialTokens, TailCheck
from textclf_jax.data.equal_rows import hash_rows
from textclf_jax.data.labels import LabelCheck
from textclf_jax.data.packing import token_places, tokens_taken
from textclf_jax.data.padding import PaddingCheck
from textclf_jax.data.torch_files import chunks_of, read_tensors
from textclf_jax.errors import UserError


class WholeRows(NamedTuple):
    """Rows that are not cut to what the encoder reads.

    Attributes:
      input_ids: [N, W] integers; each row is real tokens, then padding.
      lengths: [N] real tokens of each row.
    """

    input_ids: Int[np.ndarray, "N W"]
    lengths: Int[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked rows of token ids.

    Attributes:
      path: the file.
      input_ids: [N, L] integers, memory-mapped; each row is real tokens, then padding.
      lengths: [N] int32, real tokens of each row, at most the maximum length.
      labels: [N] int32 in [0, C), in the run's numbers; of several labels a text [N, C] uint8 of 0 and 1; or None.
      fingerprint: 16 hex digits that change with the data.
      notes: what the user should know about the data, one line each.
      class_names: the C names of the run's classes; None for MLM, and where nothing tells them.
      num_words: tokens that are not special, up to the maximum length; None where nothing tells which are.
      whole: the rows with what lies beyond the maximum length; None: nothing does.
    """

    path: Path
    input_ids: Int[np.ndarray, "N L"]
    lengths: Int[np.ndarray, " N"]
    labels: Int[np.ndarray, " N"] | UInt8[np.ndarray, "N C"] | None
    fingerprint: str
    notes: tuple[str, ...]
    class_names: tuple[str, ...] | None = None
    num_words: int | None = None
    whole: WholeRows | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def columns(self) -> int:
        """The most tokens that a row has room for."""
        return (self if self.whole is None else self.whole).input_ids.shape[1]

    def first_tokens(
        self, rows: Int[np.ndarray, " R"] | slice, limit: int
    ) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " R"]]:
        """The first `limit` tokens of rows, cut to the maximum length or not: one row after the other, and of each how
        many; without padding."""
        whole = self if self.whole is None else self.whole
        sizes = np.minimum(whole.lengths[rows], limit)
        width = int(sizes.max(initial=0))
        return whole.input_ids[rows, :width][np.arange(width) < sizes[:, None]], sizes

    def take(self, batch: BatchRows, pad_id: int) -> Int[np.ndarray, "B L"]:
        """Gathers the token ids of a batch: [B, L] int32, rows cut or padded; empty rows are all padding."""
        ids = np.full(batch.shape, pad_id, np.int32)
        if batch.starts is None:
            width = min(batch.shape[1], self.input_ids.shape[1])
            ids[: len(batch.rows), :width] = self.input_ids[batch.rows, :width]
        else:
            tokens = token_places(batch.starts, tokens_taken(self.lengths[batch.rows]))
            ids.reshape(-1)[tokens.place] = self.input_ids[batch.rows[tokens.text], tokens.column]
        return ids


def load_dataset(
    path: Path,
    *,
    vocab_size: int,
    pad_id: int,
    max_length: int,
    num_labels: int | None = None,
    multi_label: bool = False,
    numbering: Numbering | None = None,
    special: SpecialTokens | None = None,
    read_beside: int | None = None,
) -> Dataset:
    """Loads and checks a file of (input_ids, attention_mask[, labels]) tensors.

    Args:
      path: a `.pt` file; `attention_mask` [N, L] is True at padding.
      vocab_size: V; every id must be in [0, V).
      pad_id: the id of PAD.
      max_length: longer rows are cut to this many tokens.
      num_labels: C for classification, which needs labels; None for MLM, which ignores them.
      multi_label: whether a text has several labels: [N, C] of 0 and 1.
      numbering: what the file's labels are in the run's numbers; None: the same.
      special: the special tokens, without which nothing tells whether there is text in the rows.
      read_beside: so many tokens of a row are read beside the encoder; None: nothing reads beside it.

    Raises:
      UserError: names the file, the row and the value at fault, and the remedy.
    """
    tensors = read_tensors(path)
    check = num_labels and LabelCheck(path, num_labels, multi_label, numbering)
    ids, mask, labels = _check_shapes(path, tensors, check.form if check else None)
    notes: list[str] = []
    _check_mask_values(path, mask, notes)
    read = max(max_length, read_beside or 0)
    lengths, num_words, hashes = _check_rows(path, tensors, vocab_size, pad_id, read, special, notes)
    labels = check.checked(labels, hashes, notes) if check else None
    empty, long = int((lengths == 0).sum()), lengths > max_length
    if empty:
        notes.append(f"{path}: {empty} of {len(lengths)} rows are all padding")
    if long.any():
        notes.append(f"{path}: {_what_is_cut(lengths, max_length, read)}")
    found = fingerprint(path, numbering.to_run.tolist() if numbering and numbering.renumbers else None)
    whole, lengths = WholeRows(ids, lengths), np.minimum(lengths, max_length)
    return Dataset(path, ids, lengths, labels, found, tuple(notes), None, num_words, whole)


def _what_is_cut(lengths: Int[np.ndarray, " N"], max_length: int, read: int) -> str:
    """Says how many rows are longer than the maximum length, and which of their tokens are read all the same."""
    total = int(lengths.sum())
    rows = f"{int((lengths > max_length).sum())} of {len(lengths)} rows are longer than {max_length} tokens"

    def beyond(limit: int) -> str:
        count = int(np.maximum(lengths - limit, 0).sum())
        return f"{count} of {total} tokens ({count / total:.1%})"

    if read == max_length:
        return f"{rows} and are cut: {beyond(max_length)} are lost"
    told = f"{rows}: the encoder does not read the rest, {beyond(max_length)}, but the linear path does"
    return told + (f", up to token {read}; {beyond(read)} are lost" if (lengths > read).any() else "")


def fingerprint(path: Path, to_run: list[int] | None = None) -> str:
    """Digests the checksums in the file's zip directory, and how labels are renumbered; reads no data."""
    with zipfile.ZipFile(path) as archive:
        records = [(info.filename.split("/", 1)[-1], info.file_size, info.CRC) for info in archive.infolist()]
    content = repr(sorted(records)) + (repr(to_run) if to_run else "")
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _check_shapes(
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


def _check_mask_values(path: Path, mask: np.ndarray, notes: list[str]) -> None:
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


def _check_rows(
    path: Path,
    tensors: list[np.ndarray],
    vocab_size: int,
    pad_id: int,
    max_length: int,
    special: SpecialTokens | None,
    notes: list[str],
) -> CheckedRows:
    """Checks ids and masks. Only here masks that are True at padding are inverted."""
    ids, mask = tensors[:2]
    lengths = np.empty(len(ids), np.int32)
    hashes = np.empty(len(ids) if len(tensors) == 3 else 0, np.uint64)
    content, tails = special and ContentCheck(path, special), TailCheck(path, pad_id, special)
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
