"""Which rows have labels, and what becomes of those without: labels are asked for only where they are used."""

import shlex
from collections.abc import Sequence

from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.options import UnlabelledRows
from textclf_jax.prepare.splitting import Splits
from textclf_jax.prepare.texts import Row, TextFile

SHOWN_ROWS = 5


def choose_task(task: str | None, files: Sequence[TextFile]) -> str:
    """The task, where none is given "both" for labelled files and "mlm" for such without labels.

    Args:
      task: as given.
      files: all but those of extra text.

    Raises:
      UserError: no task is given, and files without labels look as if they should have some.
    """
    if task is not None:
        return task
    if any(row.label is not None for file in files for row in file.rows):
        return "both"
    for file in files:
        if file.label_column is not None:
            raise UserError(
                f"{file.path}: the column {file.label_column!r} has no label in any row. Classification needs some; "
                "for masked language modelling alone, pass --task mlm."
            )
        if file.likely_labels:
            raise UserError(f"{file.path}: {_likely(file)} For masked language modelling alone, pass --task mlm.")
    return "mlm"


def require_labels(
    files: Sequence[TextFile], unlabelled: UnlabelledRows | None, *, can_be_mlm: bool = True, multi_label: bool = False
) -> None:
    """Raises UserError where classification lacks labels of rows with text, and `unlabelled` does not say what to do.

    Args:
      files: of one role: the input, or the training, validation or test files.
      unlabelled: what to do with rows without labels.
      can_be_mlm: whether masked language modelling is a remedy.
      multi_label: whether a text can have several labels, or none.
    """
    without = [file for file in files if all(row.label is None for row in file.rows)]
    if without and (unlabelled is None or len(without) == len(files)):
        what = "has no labels, which classification needs: name their column with --label-column"
        if len(without) < len(files):
            what += f", or pass --unlabelled-rows {'mlm or ' * can_be_mlm}drop"
        likely = f". It {_likely(without[0])}" if without[0].likely_labels else ""
        raise UserError(f"{without[0].path}: {what}{', or pass --task mlm' * can_be_mlm}{likely}")
    rows = [row for file in files for row in file.rows if row.text]
    for row in rows:
        broken = next((label for label in row.labels if len(label.splitlines()) > 1), None)
        if broken is not None:
            raise UserError(
                f"{row.place}: the label {shortened(broken)!r} has a line break in it. Is this the column of the "
                "texts? Name that of the classes with --label-column."
            )
    missing = [row for row in rows if row.label is None]
    if missing and unlabelled is None:
        others = ", or --unlabelled-rows mlm to use them for masked language modelling alone" * can_be_mlm
        others += ", or --unlabelled-rows negative if they have none of the classes" * multi_label
        raise UserError(
            f"{len(missing):,} of {len(rows):,} rows have no label ({places(missing)}). Label them, or pass "
            f"--unlabelled-rows drop to leave them out{others}."
        )


def require_texts(rows: Sequence[Row], skip_empty: bool) -> None:
    """Raises UserError where labelled rows have no visible text, unless these are to be skipped."""
    empty = [row for row in rows if row.label is not None and row.is_blank]
    if not empty or skip_empty:
        return
    invisible = " or only invisible characters" * any(row.text for row in empty)
    what = "1 labelled row has no text" if len(empty) == 1 else f"{len(empty):,} labelled rows have no text"
    raise UserError(f"{what}{invisible} ({places(empty)}). Mend them, or pass --skip-empty.")


def set_apart_unlabelled(rows: Splits, unlabelled: UnlabelledRows | None) -> tuple[Splits, int, int]:
    """Takes rows without labels out of those to classify, unless they are texts of none of the classes.

    Those of the input or training rows become extra text, if they are to be used for MLM; others are left out.

    Args:
      rows: by the role of their file, all with text.
      unlabelled: what to do with rows without labels.

    Returns:
      The rows by role, the number left out, and the number that became extra text.

    Raises:
      UserError: no row with both is left of a role.
    """
    if unlabelled == "negative":
        rows = {role: part if role == "extra" else as_negatives(part) for role, part in rows.items()}
    labelled: Splits = {}
    extra, dropped = list(rows.get("extra", [])), 0
    given = len(extra)
    for role, part in rows.items():
        if role == "extra":
            continue
        labelled[role] = [row for row in part if row.label is not None]
        if not labelled[role]:
            raise UserError(f"{part[0].path}: has no row with text and label")
        without = [row for row in part if row.label is None]
        if unlabelled == "mlm" and role in ("input", "train"):
            extra += without
        else:
            dropped += len(without)
    return labelled | ({"extra": extra} if extra else {}), dropped, len(extra) - given


def as_negatives(rows: Sequence[Row]) -> list[Row]:
    """Rows of which those without a label have none of the classes."""
    return [row._replace(label=()) if row.label is None else row for row in rows]


def places(rows: Sequence[Row]) -> str:
    """Where the first few rows are."""
    return listed([row.place for row in rows], SHOWN_ROWS, whole=True)


def _likely(file: TextFile) -> str:
    """A sentence on the columns that may hold the labels."""
    flags = " or ".join(f"--label-column {shlex.quote(name)}" for name in file.likely_labels[:5])
    names = ", ".join(repr(name) for name in file.likely_labels[:5])
    return f"has no column 'label', but {names}. If that holds the labels, pass {flags}."
