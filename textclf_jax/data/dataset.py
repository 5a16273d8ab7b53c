"""Loads `.pt` data and checks every row before training: JAX reports neither ids nor labels that are out of range."""

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from textclf_jax.data.agreement import Numbering
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.content import SpecialTokens
from textclf_jax.data.labels import LabelCheck, label_notes
from textclf_jax.data.packing import token_places, tokens_taken
from textclf_jax.data.row_checks import CheckedRows, Limits, check_mask_values, check_rows, check_shapes, require_alike
from textclf_jax.data.shards import DataFiles, JoinedRows, few, joined_fingerprint
from textclf_jax.data.torch_files import read_tensors


class WholeRows(NamedTuple):
    """Rows that are not cut to what the encoder reads.

    Attributes:
      input_ids: [N, W] integers; each row is real tokens, then padding.
      lengths: [N] real tokens of each row.
    """

    input_ids: Int[np.ndarray, "N W"] | JoinedRows
    lengths: Int[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked rows of token ids.

    Attributes:
      path: the file; of several their name in messages, see `DataFiles`.
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
    input_ids: Int[np.ndarray, "N L"] | JoinedRows
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
    path: Path | DataFiles,
    *,
    vocab_size: int,
    pad_id: int,
    max_length: int,
    num_labels: int | None = None,
    multi_label: bool = False,
    numbering: Numbering | list[Numbering | None] | None = None,
    special: SpecialTokens | None = None,
    read_beside: int | None = None,
) -> Dataset:
    """Loads and checks files of (input_ids, attention_mask[, labels]) tensors; several are as one with all of the rows.

    Args:
      path: a `.pt` file, or several; `attention_mask` [N, L] is True at padding.
      vocab_size: V; every id must be in [0, V).
      pad_id: the id of PAD.
      max_length: longer rows are cut to this many tokens.
      num_labels: C for classification, which needs labels; None for MLM, which ignores them.
      multi_label: whether a text has several labels: [N, C] of 0 and 1.
      numbering: what the labels are in the run's numbers; a list has one for each file. None: the same.
      special: the special tokens, without which nothing tells whether there is text in the rows.
      read_beside: so many tokens of a row are read beside the encoder; None: nothing reads beside it.

    Raises:
      UserError: names the file, the row and the value at fault, and the remedy; or files are not of one kind.
    """
    files = path if isinstance(path, DataFiles) else DataFiles(path, (path,))
    stored = [read_tensors(each) for each in files.paths]
    form = ("[N, C]" if multi_label else "[N]") if num_labels else None
    for each, tensors in zip(files.paths, stored, strict=True):
        check_shapes(each, tensors, form)
    require_alike(files.paths, stored, pad_id)
    read = max(max_length, read_beside or 0)
    limits = Limits(vocab_size, pad_id, read, special, is_part=len(stored) > 1)
    parts = []
    for i, each in enumerate(files.paths):
        numbers = numbering[i] if isinstance(numbering, list) else numbering
        check = LabelCheck(each, num_labels, multi_label, numbers) if num_labels else None
        parts.append(_check_file(each, stored[i], limits, check))
    rows = _join([part.rows for part in parts])
    ids = stored[0][0] if len(stored) == 1 else JoinedRows([tensors[0] for tensors in stored])
    notes, labels = few([note for part in parts for note in part.notes], files), None
    if num_labels:
        labels = _concatenated([part.labels for part in parts if part.labels is not None])
        row_name = files.row_names([len(part.rows.lengths) for part in parts])
        notes += label_notes(files.name, labels, rows.hashes, num_labels, row_name)
    notes += _length_notes(files.name, rows.lengths, max_length, read)
    found = joined_fingerprint([part.fingerprint for part in parts])
    whole, lengths = WholeRows(ids, rows.lengths), np.minimum(rows.lengths, max_length)
    return Dataset(files.name, ids, lengths, labels, found, tuple(notes), None, rows.num_words, whole)


class _CheckedFile(NamedTuple):
    """What is known of one file: its rows, its labels in the run's numbers, its fingerprint, and notes."""

    rows: CheckedRows
    labels: np.ndarray | None
    fingerprint: str
    notes: list[str]


def _check_file(path: Path, tensors: list[np.ndarray], limits: Limits, check: LabelCheck | None) -> _CheckedFile:
    notes: list[str] = []
    check_mask_values(path, tensors[1], notes)
    rows = check_rows(path, tensors, limits, notes)
    labels = check.checked(tensors[2], notes) if check else None
    numbering = check and check.numbering
    to_run = numbering.to_run.tolist() if numbering and numbering.renumbers else None
    return _CheckedFile(rows, labels, fingerprint(path, to_run), notes)


def _join(parts: Sequence[CheckedRows]) -> CheckedRows:
    words = [part.num_words for part in parts if part.num_words is not None]
    return CheckedRows(
        _concatenated([part.lengths for part in parts]),
        sum(words) if words else None,
        _concatenated([part.hashes for part in parts]),
    )


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _length_notes(name: Path, lengths: Int[np.ndarray, " N"], max_length: int, read: int) -> Iterator[str]:
    """Yields what the user should know of rows that are empty or too long."""
    if empty := int((lengths == 0).sum()):
        yield f"{name}: {empty} of {len(lengths)} rows are all padding"
    if (lengths > max_length).any():
        yield f"{name}: {_what_is_cut(lengths, max_length, read)}"


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
