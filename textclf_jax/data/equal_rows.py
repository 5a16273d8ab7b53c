"""Rows that are equal, though their labels are not: no model can tell them apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int, Integer, UInt64

from textclf_jax.errors import listed

ROWS_AT_ONCE = 4096  # bounds the memory beside the rows
WARNED_SHARE = 0.05  # of the rows


def hash_rows(ids: Int[np.ndarray, "N L"]) -> UInt64[np.ndarray, " N"]:
    """Hashes rows of ids so that two different rows are equal with a chance of 2**-60 at most."""
    weights = np.random.default_rng(0).integers(0, 2**63, ids.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    parts = [ids[start : start + ROWS_AT_ONCE] for start in range(0, len(ids), ROWS_AT_ONCE)]
    return np.concatenate([part.astype(np.uint64) @ weights for part in parts] or [np.zeros(0, np.uint64)])


def groups_with_different_labels(
    hashes: UInt64[np.ndarray, " N"], labels: Integer[np.ndarray, " N"]
) -> list[Int[np.ndarray, " G"]]:
    """The numbers of rows that are equal and do not all have one label, in increasing order."""
    if not len(hashes):
        return []
    order = np.argsort(hashes, kind="stable")
    starts = np.append(0, np.flatnonzero(np.diff(hashes[order])) + 1)
    lowest, highest = (reduce.reduceat(labels[order], starts) for reduce in (np.minimum, np.maximum))
    stops = np.append(starts[1:], len(order))
    groups = [order[starts[i] : stops[i]] for i in np.flatnonzero(lowest != highest)]
    return sorted(groups, key=lambda group: group[0])


def contradictions(
    path: Path,
    hashes: UInt64[np.ndarray, " N"],
    labels: Integer[np.ndarray, "N *C"],
    row_name: Callable[[int], str] = "row {}".format,
) -> str:
    """Tells of rows of a file that are equal but for their labels, [N] or sets of them [N, C]; empty without any.

    Args:
      path: for the message.
      hashes: of the rows.
      labels: of the rows.
      row_name: what to call a row by its number.
    """
    keys = label_keys(labels)
    groups = groups_with_different_labels(hashes, keys)
    if not groups:
        return ""
    one = int(groups[0][0])
    other = next(int(row) for row in groups[0] if keys[row] != keys[one])
    count = sum(map(len, groups))
    warning = "warning: " * (count > WARNED_SHARE * len(labels))
    what = "another label" if labels.ndim == 1 else "other labels"
    return (
        f"{warning}{path}: {count} of {len(labels)} rows equal another row that has {what} ({row_name(one)} has "
        f"{_shown(labels[one])}, {row_name(other)} has {_shown(labels[other])}): no model can tell them apart"
    )


def label_keys(labels: Integer[np.ndarray, "N *C"]) -> Integer[np.ndarray, " N"]:
    """[N] numbers that are equal where the labels of rows are: labels [N] themselves, or hashes of sets [N, C]."""
    return hash_rows(labels) if labels.ndim == 2 else labels


def _shown(label: np.ndarray) -> str:
    """A row's label, or the numbers of its labels."""
    return str(label) if label.ndim == 0 else f"[{listed(list(map(str, np.flatnonzero(label))))}]"
