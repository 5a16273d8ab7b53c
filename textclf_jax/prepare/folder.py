"""The dataset folder that `textclf prepare` writes.

vocab/{vocab.txt,tokenizer.json}   mlm/{train,val,test}.pt   cls/{train,val,test}.pt   dataset.json
labels.txt (a class a line, in the order of ids)   splits/*.csv (the texts, where the split was drawn here)
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textclf_jax.data.beside import DATASET_FILE, LABELS_FILE
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.report import NUM_SPECIAL, Report, SplitReport, describe_split
from textclf_jax.prepare.splitting import Splits
from textclf_jax.prepare.texts import Row
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
    replaced = out.with_name(f".{out.name}.{os.getpid()}.replaced")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        check_target(out, force)
        if out.exists():
            out.rename(replaced)
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@dataclass(frozen=True)
class RowWriter:
    """Encodes the texts of a split and writes their rows."""

    folder: Path
    tokenizer: WordPieceTokenizerWrapper
    task: str
    options: PrepareOptions
    stage: Stage

    def write(
        self, name: str, rows: list[Row], extra: list[Row], labels: np.ndarray | None, num_labels: int
    ) -> SplitReport:
        """Writes mlm/<name>.pt and cls/<name>.pt, as the task has it.

        Args:
          name: of the split.
          rows: its texts.
          extra: further texts, for MLM only.
          labels: [rows] int64, where the task has labels.
          num_labels: C.

        Raises:
          UserError: no text has a token in the vocabulary.
        """
        texts, report = [row.text for row in rows], SplitReport()
        if self.task != "cls":
            encoded = self._encode(f"encoding {name} for MLM", [*texts, *(row.text for row in extra)], mlm=True)
            report = describe_split(encoded, mlm_rows=self._write_mlm(name, encoded))
        if labels is not None:
            encoded = self._encode(f"encoding {name} for CLS", texts, mlm=False)
            write_tensors(self._path("cls", name), encoded.input_ids, encoded.attention_mask, labels)
            counts = np.bincount(labels, minlength=num_labels)
            report = describe_split(encoded, mlm_rows=report.mlm_rows, class_counts=counts)
        return report

    def _encode(self, what: str, texts: list[str], *, mlm: bool) -> Encoded:
        self.stage(what, 0, len(texts))
        return self.tokenizer.encode(
            texts,
            max_length=self.options.max_length,
            overflow=self.options.long_texts if mlm else "truncate",
            progress=lambda done: self.stage(what, done, len(texts)),
        )

    def _write_mlm(self, name: str, encoded: Encoded) -> int:
        """Writes the rows with at least one token (control characters alone give none); returns their number."""
        full = np.count_nonzero(~encoded.attention_mask, axis=1) > NUM_SPECIAL
        if not full.any():
            raise UserError(f"no text of the {name} split has a token in this vocabulary")
        chosen = slice(None) if full.all() else full  # a slice does not copy
        write_tensors(self._path("mlm", name), encoded.input_ids[chosen], encoded.attention_mask[chosen])
        return int(np.count_nonzero(full))

    def _path(self, task: str, name: str) -> Path:
        (self.folder / task).mkdir(exist_ok=True)
        return self.folder / task / f"{name}.pt"


def write_texts(folder: Path, splits: Splits, report: Report) -> None:
    """Writes labels.txt and, where the split was drawn here, its texts: so that other programs can use the same."""
    if report.label_names is not None:
        (folder / LABELS_FILE).write_text("".join(name + "\n" for name in report.label_names), "utf-8")
    if not report.is_drawn:
        return
    (folder / "splits").mkdir()
    for name, rows in splits.items():
        labelled = rows[0].label is not None
        with (folder / "splits" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "label"] if labelled else ["text"])
            writer.writerows((row.text, row.label) if labelled else (row.text,) for row in rows)


def write_description(folder: Path, task: str, options: PrepareOptions, report: Report) -> None:
    """Writes dataset.json: the dataset's options, the checksums of its files, and its figures."""
    sources = options.sources.items()
    described = {
        "task": task,
        "max_length": options.max_length,
        "long_texts": options.long_texts,
        "seed": options.seed if report.is_drawn else None,
        "sources": [
            {"role": role, "path": str(path), "sha256": _sha256(path)} for role, paths in sources for path in paths
        ],
        **report.as_json(),
    }
    (folder / DATASET_FILE).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
