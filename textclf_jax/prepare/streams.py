"""Unlabelled texts that are never in memory as a whole: which there are, which repeat, and to which split each belongs.

Kept are nine bytes a text: a hash and the number of its split. Each loop over the texts reads the files again.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

from textclf_jax.constants import SPLITS
from textclf_jax.errors import UserError
from textclf_jax.prepare.labelling import choose_task
from textclf_jax.prepare.options import PrepareOptions, refuse_label_flags
from textclf_jax.prepare.report import Report
from textclf_jax.prepare.splitting import random_split
from textclf_jax.prepare.texts import TextFile, TextSource, columns_without_labels, open_texts

EXTRA = "extra"
DROPPED = 255  # in the place of a split's number
HASH_BYTES = 8  # of 20 million texts, two different ones have one hash with a chance of 1 in 100,000


@dataclass(frozen=True)
class TextStreams:
    """Unlabelled texts in the order of their files, those without characters left out.

    Attributes:
      sources: the files by their role.
      parts: [N] of each role: the split of each text, as its number in SPLITS, or DROPPED.
      characters: of the texts of each role, the dropped ones included.
    """

    sources: Mapping[str, list[TextSource]]
    parts: Mapping[str, UInt8[np.ndarray, " N"]]
    characters: Mapping[str, int]

    def __len__(self) -> int:
        """The texts that are not dropped, those for MLM training alone included."""
        return sum(int(np.count_nonzero(part != DROPPED)) for part in self.parts.values())

    @property
    def names(self) -> list[str]:
        """The splits that have texts, in the order of SPLITS."""
        there = {int(number) for part in self.parts.values() for number in np.unique(part)}
        return [name for number, name in enumerate(SPLITS) if number in there]

    def texts(self, *, with_extra: bool = True) -> Iterator[tuple[str, str]]:
        """Yields (split, text); texts for MLM training alone come last.

        Raises:
          UserError: the files have other texts than when they were first read.
        """
        for role, part in self.parts.items():
            if role == EXTRA and not with_extra:
                continue
            found = 0
            for text in _texts_of(self.sources[role]):
                if found < len(part) and part[found] != DROPPED:
                    yield SPLITS[part[found]], text
                found += 1
            if found != len(part):
                path = self.sources[role][0].path
                raise UserError(f"{path}: has changed while it was read. Start again when the files are complete.")

    def sample(self, characters: int) -> tuple[list[str], int]:
        """Training texts with about so many characters at most, and k: every k-th of them is taken."""
        total = sum(self.characters[role] for role in self.parts if role not in SPLITS[1:])
        every = max(1, -(-total // characters))
        return list(islice((text for name, text in self.texts() if name == "train"), 0, None, every)), every


def _texts_of(sources: list[TextSource]) -> Iterator[str]:
    return (row.text for source in sources for row, _ in source.rows if row.text)


# --- the first pass ---------------------------------------------------------------------------------------------


class _Scanned(NamedTuple):
    """What one pass over the files of a role has found.

    Attributes:
      sources: the files.
      hashes: [N] of the texts that have characters.
      rows: all of them, with text or not.
      characters: of the texts.
      files: what `choose_task` needs to know.
    """

    sources: list[TextSource]
    hashes: UInt64[np.ndarray, " N"]
    rows: int
    characters: int
    files: list[TextFile]


def scan(options: PrepareOptions, report: Report) -> TextStreams | None:
    """Reads all files once and divides their texts into splits, as `pipeline.read_splits` does.

    Args:
      options: what to prepare.
      report: gets what is worth knowing.

    Returns:
      The texts; None where rows have labels, or are to have some.

    Raises:
      UserError: as `pipeline.prepare`.
    """
    if options.task not in (None, "mlm"):
        return None
    roles: dict[str, _Scanned] = {}
    for role in options.sources:
        if (found := _scan(role, options)) is None:
            return None
        roles[role] = found
    report.notes = [f"{s.path}: {note}" for each in roles.values() for s in each.sources for note in s.notes]
    report.rows_read = sum(each.rows for each in roles.values())
    choose_task(options.task, [file for role, each in roles.items() if role != EXTRA for file in each.files])
    refuse_label_flags(options)
    for role, each in roles.items():
        if not len(each.hashes):
            raise UserError(f"{each.sources[0].path}: has no row with text")
        report.empty[role] = each.rows - len(each.hashes)
    parts = _divide({role: each.hashes for role, each in roles.items()}, options, report)
    characters = {role: each.characters for role, each in roles.items()}
    return TextStreams({role: each.sources for role, each in roles.items()}, parts, characters)


def _scan(role: str, options: PrepareOptions) -> _Scanned | None:
    """Reads the files of a role; None where a row has a label that counts."""
    read, needs_labels = options.read, options.task != "mlm" and role != EXTRA
    if role == EXTRA:
        read = replace(read, label_separator=None)
    sources, files, hashes, rows, characters = [], [], array("Q"), 0, 0
    for path in options.sources[role]:
        source = open_texts(path, read, needs_labels=needs_labels)
        columns, before = columns_without_labels(source, needs_labels=needs_labels), rows
        for row, fields in source.rows:
            if role != EXTRA and row.label is not None:
                return None
            rows += 1
            if columns is not None:
                columns.add(fields)
            if row.text:
                hashes.append(_hash_of(row.text))
                characters += len(row.text)
        if rows == before:
            raise UserError(f"{path}: has no rows")
        likely = columns.like_labels() if columns is not None else []
        sources.append(source)
        files.append(TextFile(path, [], source.notes, source.names, [], source.label_column, likely))
    return _Scanned(sources, np.frombuffer(hashes, np.uint64), rows, characters, files)


def _hash_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest(), "little")


# --- the splits -------------------------------------------------------------------------------------------------


def _divide(
    hashes: dict[str, UInt64[np.ndarray, " N"]], options: PrepareOptions, report: Report
) -> dict[str, UInt8[np.ndarray, " N"]]:
    """The split of each text by its role: drawn for the input or training texts, else that of the role."""
    whole = "input" if "input" in hashes else "train"
    numbers = {role: SPLITS.index(role) if role in SPLITS else 0 for role in hashes}
    parts = {role: np.full(len(each), numbers[role], np.uint8) for role, each in hashes.items()}
    chosen = np.flatnonzero(_are_first(hashes[whole])) if options.deduplicate else slice(None)
    count = len(hashes[whole][chosen])
    report.repeated = len(hashes[whole]) - count
    if report.repeated:  # before the draw: dropped from the splits, repeated rows would empty val and test
        report.duplicates = {whole: report.repeated}
        parts[whole][:] = DROPPED
    shares = {"val": options.val_share, "test": options.test_share}
    report.is_drawn = sum(shares.values()) > 0
    parts[whole][chosen] = drawn = random_split(count, options.val_share, options.test_share, options.seed)
    for name, share in shares.items():
        if share and not (drawn == SPLITS.index(name)).any():
            report.label_remarks.append(
                f"There is no {name} split: too few rows, of which each class keeps one to train."
            )
    _look_for_repeats(hashes, parts, options.deduplicate, report)
    return parts


def _look_for_repeats(
    hashes: dict[str, UInt64[np.ndarray, " N"]],
    parts: dict[str, UInt8[np.ndarray, " N"]],
    drop: bool,
    report: Report,
) -> None:
    """Counts texts that repeat one of their own or an earlier split; drops them from `parts` if asked to."""
    places = {name: each for name in (*SPLITS, EXTRA) if (each := _place(name, parts)) is not None}
    distinct = {name: _distinct(hashes[role][rows]) for name, (role, rows) in places.items()}
    counts = {name: int(np.count_nonzero(rows)) - len(distinct[name]) for name, (_, rows) in places.items()}
    names = list(places)
    for i, name in enumerate(names):
        mine = hashes[places[name][0]][places[name][1]]
        counts |= {f"{name} in {other}": int(_are_in(mine, distinct[other]).sum()) for other in names[:i]}
    report.duplicates |= {where: count for where, count in counts.items() if count}
    report.deduplicated = drop
    for i, (name, (role, rows)) in enumerate(places.items()):
        if drop:
            _drop_repeats(name, parts[role], hashes[role], np.flatnonzero(rows), [distinct[n] for n in names[:i]])
        kept = int(np.count_nonzero(parts[role][rows] != DROPPED))
        report.rows_used[name], report.repeated = kept, report.repeated + int(np.count_nonzero(rows)) - kept


def _drop_repeats(
    name: str,
    part: UInt8[np.ndarray, " N"],
    hashes: UInt64[np.ndarray, " N"],
    rows: Int[np.ndarray, " R"],
    earlier: Sequence[UInt64[np.ndarray, " D"]],
) -> None:
    """Drops those of the texts `rows` of a split that repeat one of the rows before them, or of an earlier split."""
    mine = hashes[rows]
    stays = _are_first(mine)
    for known in earlier:
        stays &= ~_are_in(mine, known)
    if not stays.any() and name != EXTRA:
        raise UserError(f"--deduplicate leaves nothing of {name}: all its texts are in the splits before it")
    part[rows[~stays]] = DROPPED


def _place(name: str, parts: dict[str, UInt8[np.ndarray, " N"]]) -> tuple[str, Bool[np.ndarray, " N"]] | None:
    """Where the texts of a split are: the role of their files, and which of its texts; None: there are none."""
    if name == EXTRA:
        return (EXTRA, parts[EXTRA] != DROPPED) if EXTRA in parts else None
    number = SPLITS.index(name)
    role = next((role for role, part in parts.items() if role != EXTRA and (part == number).any()), None)
    return None if role is None else (role, parts[role] == number)


def _distinct(hashes: UInt64[np.ndarray, " N"]) -> UInt64[np.ndarray, " D"]:
    """Sorts an array in place and returns its values, each once: in less memory than np.unique."""
    hashes.sort()
    differs = np.ones(len(hashes), bool)
    np.not_equal(hashes[1:], hashes[:-1], out=differs[1:])
    return hashes if differs.all() else hashes[differs]


def _are_first(hashes: UInt64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
    """Which are the first of their value."""
    first = np.zeros(len(hashes), bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def _are_in(hashes: UInt64[np.ndarray, " N"], known: UInt64[np.ndarray, " D"]) -> Bool[np.ndarray, " N"]:
    """Which are among `known`, which is sorted; no more memory than that of the places."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    places = np.searchsorted(known, hashes)
    places[places == len(known)] = 0
    return known[places] == hashes
