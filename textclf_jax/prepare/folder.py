"""The dataset folder that `textclf prepare` writes.

vocab/{vocab.txt,tokenizer.json}   mlm/{train,val,test}.pt   cls/{train,val,test}.pt   dataset.json
(in several files: train-00000.pt, train-00001.pt, ...)
labels.txt (a class a line, in the order of ids)   splits/*.csv (the texts, where the split was drawn here)
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from textclf_jax.constants import DATASET_FILE, LABELS_FILE, SHARDS_OF
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.files import json_text, sha256_of, write_csv
from textclf_jax.prepare.class_folder import files_of
from textclf_jax.prepare.equal_rows import RowCollector
from textclf_jax.prepare.label_sets import cell_of
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.report import NUM_SPECIAL, Report, SplitReport, describe_labels, describe_split
from textclf_jax.prepare.splitting import Splits
from textclf_jax.prepare.texts import Row
from textclf_jax.prepare.vocabulary_report import VocabularyReport, refuse_mostly_unknown
from textclf_jax.tokenizer.rows import Encoded
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

Stage = Callable[[str, int, int], None]  # what is being done, how many texts are done, of how many (0: unknown)


def check_target(out: Path, force: bool) -> None:
    """Raises UserError unless `out` is free, or holds a dataset and `force` allows to replace it."""
    if not out.exists() and not out.is_symlink():
        parent = next(parent for parent in out.absolute().parents if parent.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise UserError(f"{out}: cannot be made, for {parent} is not a folder that you may write to")
        return
    if not out.is_dir() or out.is_symlink():
        raise UserError(f"{out}: is there already and is no folder; choose another --out")
    if not any(out.iterdir()):
        return
    if not (out / DATASET_FILE).is_file():
        raise UserError(f"{out}: is there already and holds something else than a dataset; choose another --out")
    if not force:
        raise UserError(f"{out}: holds a dataset already. Choose another --out, or replace it with --force.")


@contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """Yields a folder to fill, which is renamed to `out` at the end, or removed where something fails."""
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        put_in_place(unfinished, out, force)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def put_in_place(finished: Path, out: Path, force: bool) -> None:
    """Renames a folder to `out`, in place of the dataset that is there if `force` allows it."""
    check_target(out, force)
    replaced = out.with_name(f".{out.name}.{os.getpid()}.replaced")
    try:
        if out.exists():
            out.rename(replaced)
        finished.rename(out)
    finally:
        shutil.rmtree(replaced, ignore_errors=True)


def write_rows(folder: Path, task: str, name: str, shard_size: int | None, *arrays: np.ndarray) -> None:
    """Writes the rows of a split: <task>/<name>.pt, or files of `shard_size` rows at most, as `shard_path` has them."""
    (folder / task).mkdir(exist_ok=True)
    if shard_size is None:
        write_tensors(folder / task / f"{name}.pt", *arrays)
        return
    for number, start in enumerate(range(0, len(arrays[0]), shard_size)):
        write_tensors(shard_path(folder, task, name, number), *(array[start : start + shard_size] for array in arrays))


def shard_path(folder: Path, task: str, name: str, number: int) -> Path:
    """Where the rows of a split are that are in its file `number`, from 0."""
    return folder / task / SHARDS_OF.format(name).replace("*", f"{number:05d}")


@dataclass(frozen=True)
class RowWriter:
    """Encodes the texts of a split and writes their rows."""

    folder: Path
    tokenizer: WordPieceTokenizerWrapper
    task: str
    options: PrepareOptions
    stage: Stage
    vocabulary: VocabularyReport
    equal_rows: RowCollector
    tokenless: list[Row] = field(default_factory=list)  # labelled ones that have no token

    def write(
        self, name: str, rows: list[Row], extra: list[Row], labels: np.ndarray | None, num_labels: int
    ) -> SplitReport:
        """Writes mlm/<name>.pt and cls/<name>.pt, as the task has it.

        Args:
          name: of the split.
          rows: its texts.
          extra: further texts, for MLM only.
          labels: [rows] int64, or [rows, C] uint8 of 0 and 1, where the task has labels.
          num_labels: C.

        Raises:
          UserError: no text has a token in the vocabulary, or more than half of the tokens are [UNK].
        """
        texts, report = [row.text for row in rows], SplitReport()
        if self.task != "cls":
            all_texts = [*texts, *(row.text for row in extra)]
            encoded = self._encode(name, all_texts, mlm=True)
            report = self._describe(name, all_texts, encoded, mlm_rows=self._write_mlm(name, encoded))
        if labels is not None:
            encoded = self._encode(name, texts, mlm=False)
            self._write("cls", name, encoded.input_ids, encoded.attention_mask, labels)
            self.equal_rows.add(rows, encoded, labels, self.options.cls_length - NUM_SPECIAL)
            self.tokenless.extend(rows[i] for i in np.flatnonzero(encoded.num_tokens == 0))
            with_extra = report.unknown_rates if extra and report.mlm_rows else None
            report = self._describe(name, texts, encoded, mlm_rows=report.mlm_rows)
            report = replace(report, with_extra_text=with_extra, **describe_labels(labels, num_labels))
        return report

    def _encode(self, name: str, texts: list[str], *, mlm: bool) -> Encoded:
        what = f"encoding {name} for {'MLM' if mlm else 'CLS'}"
        self.stage(what, 0, len(texts))
        return self.tokenizer.encode(
            texts,
            max_length=self.options.max_length if mlm else self.options.cls_length,
            overflow=self.options.overflow if mlm else "truncate",
            progress=lambda done: self.stage(what, done, len(texts)),
        )

    def _describe(self, name: str, texts: list[str], encoded: Encoded, *, mlm_rows: int) -> SplitReport:
        """The figures of a split; raises UserError where more than half of its tokens are [UNK]."""
        unknown = self.tokenizer.explain_unknown([texts[i] for i in encoded.unknown_texts])
        characters = sum(map(len, texts))
        report = describe_split(encoded, unknown, characters, mlm_rows=mlm_rows)
        refuse_mostly_unknown(name, report.unknown_rates, self.vocabulary)
        return report

    def _write_mlm(self, name: str, encoded: Encoded) -> int:
        """Writes the rows with at least one token (control characters alone give none); returns their number."""
        full = np.count_nonzero(~encoded.attention_mask, axis=1) > NUM_SPECIAL
        if not full.any():
            raise no_tokens(name)
        chosen = slice(None) if full.all() else full  # a slice does not copy
        self._write("mlm", name, encoded.input_ids[chosen], encoded.attention_mask[chosen])
        return int(np.count_nonzero(full))

    def _write(self, task: str, name: str, *arrays: np.ndarray) -> None:
        write_rows(self.folder, task, name, self.options.shard_size, *arrays)


def no_tokens(name: str) -> UserError:
    """The error of a split for which there are no rows to write."""
    return UserError(f"no text of the {name} split has a token in this vocabulary")


def write_texts(folder: Path, splits: Splits, report: Report, separator: str | None) -> None:
    """Writes labels.txt and, where the split was drawn here, its texts: so that other programs can use the same."""
    if report.label_names is not None:
        (folder / LABELS_FILE).write_text("".join(name + "\n" for name in report.label_names), "utf-8")
    if not report.is_drawn:
        return
    (folder / "splits").mkdir()
    labelled = any(row.label is not None for rows in splits.values() for row in rows)
    for name, rows in splits.items():
        with (folder / "splits" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            write_csv(file, [["text", "label"] if labelled else ["text"]])
            write_csv(file, ((row.text, _cell(row, separator)) if labelled else (row.text,) for row in rows))


def _cell(row: Row, separator: str | None) -> str | None:
    """The label of a row as it is written."""
    return cell_of(row.label, separator or "") if isinstance(row.label, tuple) else row.label


def described_sources(options: PrepareOptions) -> list[dict[str, str]]:
    """The text files with their roles and checksums."""
    return [
        {"role": role, "path": str(path), "sha256": sha256_of(files_of(path))}
        for role, paths in options.sources.items()
        for path in paths
    ]


def write_description(
    folder: Path, task: str, options: PrepareOptions, report: Report, sources: list[dict[str, str]]
) -> None:
    """Writes dataset.json: the dataset's options, the checksums of its text files, and its figures."""
    described = {
        "task": task,
        "max_length": options.max_length,
        "cls_max_length": options.cls_length,
        "long_texts": options.overflow,
        "seed": options.seed if report.is_drawn else None,
        "shard_size": options.shard_size,
        "sources": sources,
        **report.as_json(),
    }
    (folder / DATASET_FILE).write_text(json_text(described) + "\n", "utf-8")
