"""The split of a run, in which nothing leaks; what cannot be split is refused, and the texts are written down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from textclf_jax.check.data import Data
from textclf_jax.class_names import same_name
from textclf_jax.constants import SPLITS
from textclf_jax.errors import UserError, listed
from textclf_jax.files import json_text, write_whole
from textclf_jax.prepare.class_folder import files_of
from textclf_jax.prepare.encodings import guess_common_encoding
from textclf_jax.prepare.grouped_split import group_split, parse_times, time_split
from textclf_jax.prepare.labels import look_alikes, merge_alike, require_classes, whole_numbers
from textclf_jax.prepare.options import DEFAULT_FRACTION, PrepareOptions
from textclf_jax.prepare.rare_classes import MERGED, count_labels, rare_classes, treat_rare_classes
from textclf_jax.prepare.splitting import read_label_names, stratified_split
from textclf_jax.prepare.texts import PARQUET, TABLES, TXT, ReadOptions, Row, ending_of, read_file
from textclf_jax.verdict.options import RunOptions

FORMS = "a table (csv, tsv, jsonl or parquet), or into a folder with a folder of texts for each class"
TEXTS_FOLDER = "texts"
EXTRA = "extra"
TEXT_COLUMN, LABEL_COLUMN = "text", "label"


@dataclass(frozen=True)
class Divider:
    """Draws the split of a run.

    Where files are split already, only a validation split is drawn, from the training rows, if there is none.
    """

    options: RunOptions

    def __call__(self, data: Data, repeats: Int[np.ndarray, " N"]) -> list[str]:
        """The split of each row, by the names of SPLITS.

        Rows without a label are in the split of their group, their time, or of what is nearly the same: only those of
        the training rows are of use.

        Args:
          data: the rows with text.
          repeats: [N] the same number for those that are nearly the same.

        Raises:
          UserError: the rows cannot be split, or a class is not among those to train on.
        """
        self._refuse(data)
        splits = np.array(data.splits, dtype="U5")
        if data.is_drawn or "val" not in data.splits:
            drawn = np.arange(len(data.rows)) if data.is_drawn else np.flatnonzero(splits == "train")
            splits[drawn] = self._draw(data, repeats, drawn)
        _require_trained(data, splits)
        return splits.tolist()

    def _refuse(self, data: Data) -> None:
        """Raises UserError where labels cannot be what a classifier learns; one message for all that is to be said."""
        path = data.files[0]
        labelled = [row for row in data.rows if row.label is not None]
        is_table = ending_of(Path(path)) in TABLES
        other = "Name another column with --label-column" if is_table else "Add texts with other labels"
        if data.read.label_column is None and not labelled:
            what = "Name their column with --label-column" if is_table else f"Put texts and labels into {FORMS}"
            raise UserError(f"{path}: has no labels. {what}.")
        if not labelled:
            raise UserError(f"{path}: no row with text has a label in the column {data.read.label_name!r}. {other}.")
        if len({row.label for row in labelled}) < 2:
            raise UserError(
                f"{path}: all labels are {labelled[0].label!r}, and classification needs two classes. {other}."
            )
        names = self.options.data.label_names
        if names is not None and MERGED in {row.label for row in labelled} - set(read_label_names(names)):
            raise UserError(f"{names}: has no line {MERGED!r}, the class that --rare-classes merge makes. Add one.")
        if not self.options.accept_labels and names is None:
            require_classes(labelled, data.read)
        if self.options.data.alike_labels is None and names is None:
            self._refuse_alike(labelled, is_drawn=data.is_drawn)
        if data.is_drawn:
            treat_rare_classes(labelled, len(SPLITS), self.options.data.rare_classes)

    def _refuse_alike(self, labelled: Sequence[Row], *, is_drawn: bool) -> None:
        """Raises UserError where labels may be meant as one class; says at once which rare classes are left then."""
        rows = (whole_numbers({"": labelled}) or {"": labelled})[""]  # 1.0 and 1 are one class anyway
        if not (alike := look_alikes(count_labels(rows))):
            return
        told = (
            f"{labelled[0].path}: labels that differ only by case, width, spaces or the like: {'; '.join(alike)}. Make "
            "them one class with --alike-labels merge, or keep them apart with --alike-labels keep."
        )
        rare = rare_classes(count_labels(merge_alike(rows)), len(SPLITS))
        if rare and is_drawn and self.options.data.rare_classes is None:
            shown = listed([f"{label} ({count:,})" for label, count in rare.items()])
            told += (
                f" Then classes with fewer rows than the {len(SPLITS)} splits are left: {shown}. Leave these out with "
                "--rare-classes drop, make them one class with --rare-classes merge, or keep them with --rare-classes "
                "keep. So, for example: --alike-labels merge --rare-classes drop"
            )
        raise UserError(told)

    def _draw(self, data: Data, repeats: np.ndarray, rows: Int[np.ndarray, " M"]) -> Int[np.ndarray, " M"]:
        """The split of these rows: drawn for those with a label, which the others follow."""
        wanted, test = self.options.data, DEFAULT_FRACTION if data.is_drawn else 0.0
        has_label = np.array([data.rows[i].label is not None for i in rows.tolist()])
        labels = [data.rows[i].label for i in rows[has_label].tolist()]
        if wanted.time_column is not None:
            values = data.columns[same_name(wanted.time_column)]
            times = parse_times([values[i] for i in rows.tolist()], [data.rows[i].place for i in rows.tolist()])
            parts = time_split(times[has_label], DEFAULT_FRACTION, test)
            begins = [times[has_label][part].min() for part in parts[1:] if len(part)]
            return np.array(SPLITS)[np.searchsorted(begins, times, side="right")]
        if wanted.group_column is not None:
            groups = [data.columns[same_name(wanted.group_column)][i] for i in rows.tolist()]
            known = [group for group, is_labelled in zip(groups, has_label, strict=True) if is_labelled]
            parts = group_split(labels, known, DEFAULT_FRACTION, test, PrepareOptions.seed)
            return _followed(groups, has_label, parts)
        # what is nearly the same is drawn as one, by the label of its first row
        _, first, number = np.unique(repeats[rows][has_label], return_index=True, return_inverse=True)
        drawn = stratified_split([labels[i] for i in first], DEFAULT_FRACTION, test, PrepareOptions.seed)
        parts = [np.flatnonzero(np.isin(number, part)) for part in drawn]
        return _followed([str(group) for group in repeats[rows]], has_label, parts)


def _followed(groups: Sequence[str], has_label: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """[M] the split of each row: `parts` are those of the labelled rows, and others are where their group is."""
    found = np.full(len(groups), SPLITS[0], dtype="U5")
    for name, part in zip(SPLITS, parts, strict=True):
        found[np.flatnonzero(has_label)[part]] = name
    split_of = {groups[i]: found[i] for i in np.flatnonzero(has_label).tolist() if groups[i]}
    for i in np.flatnonzero(~has_label).tolist():
        found[i] = split_of.get(groups[i], SPLITS[0])
    return found


def _require_trained(data: Data, splits: np.ndarray) -> None:
    """Raises UserError where a split lacks rows, or the training rows lack a class of the others."""
    parts: dict[str, list[Row]] = {name: [] for name in SPLITS}
    for row, split in zip(data.rows, splits.tolist(), strict=True):
        parts[split] += [row] if row.label is not None else []
    # 1.0 and 1 are one class where all labels are whole numbers
    classes = {name: {row.label for row in rows} for name, rows in (whole_numbers(parts) or parts).items()}
    if empty := [name for name in SPLITS if not classes[name]]:
        what = f"no labelled one is left for the {empty[0]} split"
        raise UserError(f"{data.files[0]}: too few rows: {what}. Give more, or files for each split (--train, --test).")
    unknown = sorted(map(str, (classes["val"] | classes["test"]) - classes["train"]))
    if unknown:
        raise UserError(
            f"{data.files[0]}: no training row has {'the class' if len(unknown) == 1 else 'the classes'} "
            f"{listed(unknown)}, which validation or test rows have: no model can learn it. Leave those rows out, or "
            "split otherwise."
        )


def groups_of(data: Data, repeats: Int[np.ndarray, " N"], column: str | None) -> list[str]:
    """What each row belongs to: its group, or what it is nearly the same as."""
    if column is None:
        return [str(number) for number in repeats]
    cells = data.columns[same_name(column)]
    # a row that names none is a group of its own
    return [cell or f"row {i}" for i, cell in enumerate(cells)]


def write_texts(folder: Path, data: Data, groups: Sequence[str], extra: Sequence[Row]) -> dict[str, int]:
    """Writes the texts of each split, and those for pretraining alone, as JSON lines; returns how many each has.

    Args:
      folder: to write to.
      data: the rows with text, divided.
      groups: what each row belongs to.
      extra: further texts without labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[tuple[Row, str]]] = {name: [] for name in (*SPLITS, EXTRA)}
    for row, split, group in zip(data.rows, data.splits, groups, strict=True):
        if row.label is not None:
            parts[split].append((row, group))
        elif split == SPLITS[0]:
            parts[EXTRA].append((row, group))
    parts[EXTRA] += [(row, "") for row in extra if not row.is_blank]
    for name, rows in parts.items():
        lines = [
            {TEXT_COLUMN: row.text, LABEL_COLUMN: row.label, "group": group, "file": str(row.path), "line": row.line}
            for row, group in rows
        ]
        if lines:
            write_whole(folder / f"{name}.jsonl", "".join(f"{json_text(line, indent=None)}\n" for line in lines))
    return {name: len(rows) for name, rows in parts.items() if rows}


def read_extra(options: RunOptions, data: Data) -> list[Row]:
    """The texts of the files for pretraining; tables have the column of texts that the data has.

    Raises:
      UserError: as `read_file`; `--text-unit` where no such file is txt.
    """
    rows: list[Row] = []
    kinds = {path: ending_of(path) for path in options.extra_text}
    if options.text_unit is not None and TXT not in kinds.values():
        raise UserError("--text-unit says how txt files of --extra-text are read, and none is given: leave it out")
    for path, kind in kinds.items():
        encoding = None if kind == PARQUET else guess_common_encoding(files_of(path)).name
        read = ReadOptions(encoding=encoding, text_unit=options.text_unit if kind == TXT else None)
        if kind in TABLES:
            read = replace(read, text_column=data.read.text_column)
        rows += [row._replace(label=None) for row in read_file(path, read, needs_labels=False).rows]
    return rows
