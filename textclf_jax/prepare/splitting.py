"""Train, val and test rows: the stratified split, duplicates within and between splits, class ids."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textclf_jax.class_names import check_class_names, closest
from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.labels import in_order
from textclf_jax.prepare.texts import Row
from textclf_jax.tokenizer.text_files import iterate_lines

Splits = dict[str, list[Row]]  # by SPLITS (and "extra"), in this order


def stratified_split(
    labels: Sequence[str | None], val_fraction: float, test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits rows so that every class has its share in every part, within one row, and at least one row in train.

    Args:
      labels: [N] the label of each row; all None splits at random.
      val_fraction, test_fraction: shares of all rows.
      seed: decides the draw.

    Returns:
      Increasing row numbers of train, val and test.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    # not an array of strings: that is as wide as the longest label
    number = {label: i for i, label in enumerate(sorted({label or "" for label in labels}))}
    classes = np.array([number[label or ""] for label in labels], dtype=np.int64)[shuffled]
    by_class = shuffled[np.argsort(classes, kind="stable")]
    sizes = np.bincount(classes)
    one_of_each = by_class[np.cumsum(sizes) - sizes]  # for train
    pool = by_class[~np.isin(by_class, one_of_each)]
    # a split that was asked for gets at least one row
    val_rows, test_rows = (
        max(round(len(labels) * fraction), 1) if fraction else 0 for fraction in (val_fraction, test_fraction)
    )
    # rows are sorted by class: a draw at even distances takes each class's share
    held_out = pool[_evenly(len(pool), min(val_rows + test_rows, len(pool)))]
    test = held_out[_evenly(len(held_out), min(test_rows, len(held_out)))]
    val = np.setdiff1d(held_out, test)
    return np.setdiff1d(np.arange(len(labels)), held_out), val, np.sort(test)


def _evenly(total: int, count: int) -> np.ndarray:
    """Returns `count` of the numbers 0 to total - 1, at even distances."""
    return (2 * np.arange(count) + 1) * total // (2 * max(count, 1))


def count_duplicates(splits: Splits) -> dict[str, int]:
    """Counts rows that repeat a text of their own split ("train") or of an earlier one ("test in train")."""
    texts = {name: Counter(row.text for row in rows if row.text) for name, rows in splits.items()}
    counts = {name: sum(counter.values()) - len(counter) for name, counter in texts.items()}
    names = list(splits)
    for later in names:
        for earlier in names[: names.index(later)]:
            counts[f"{later} in {earlier}"] = sum(texts[later][text] for text in texts[later].keys() & texts[earlier])
    return {name: count for name, count in counts.items() if count}


def drop_duplicates(splits: Splits) -> Splits:
    """Drops all but the first row of every text; the one in train comes first."""
    seen: set[str] = set()
    distinct: Splits = {name: [] for name in splits}
    for name, rows in splits.items():
        for row in rows:
            if not row.text or row.text not in seen:
                distinct[name].append(row)
            seen.add(row.text)
    return distinct


def count_contradictions(splits: Splits) -> int:
    """Counts texts that occur with more than one label."""
    labels: dict[str, set[str]] = {}
    for rows in splits.values():
        for row in rows:
            if row.label is not None and row.text:
                labels.setdefault(row.text, set()).add(row.label)
    return sum(len(found) > 1 for found in labels.values())


def read_label_names(path: Path) -> list[str]:
    """Reads class names, one a line in the order of ids; raises UserError where a line is none."""
    return check_class_names(path, [line.strip("\r\n") for line in iterate_lines(path)], "line", first=1)


def class_ids(splits: Splits, names: list[str] | None) -> tuple[list[str], dict[str, np.ndarray]]:
    """Numbers the classes.

    Args:
      splits: labelled rows.
      names: class names in the order of ids; labels are then ids, or these names. None: the labels of the training
        rows are the names, sorted (numbers by value).

    Returns:
      The names in the order of ids, and the ids [N] int64 of every split.

    Raises:
      UserError: a label that the training rows or `names` do not have; fewer than two classes.
    """
    train = {str(row.label) for row in splits["train"]}
    known = in_order(train)
    shown = listed(known, 20)
    if len(known) < 2:
        raise UserError(f"the training rows have one class only ({shown}); classification needs two")
    ids = {label: i for i, label in enumerate(known)} if names is None else _ids_by_name(splits["train"], names)
    numbered = {}
    for split, rows in splits.items():
        for row in rows:
            if row.label not in ids:
                label = str(row.label)
                raise UserError(
                    f"{row.place}: label {shortened(label)!r} does not occur in the training rows ({shown})."
                    + closest(label, known)
                )
        numbered[split] = np.array([ids[str(row.label)] for row in rows], dtype=np.int64)
    return known if names is None else names, numbered


def _ids_by_name(rows: list[Row], names: list[str]) -> dict[str, int]:
    """Maps each label to its id, where labels are all names, or all ids; refused where they may be either."""
    labels = {str(row.label) for row in rows}
    by_name, by_number = {name: i for i, name in enumerate(names)}, {str(i): i for i in range(len(names))}
    ids = by_name if labels <= by_name.keys() else by_number
    differing = [label for label in in_order(labels) if by_name.get(label) != by_number.get(label)]
    if differing and labels <= by_name.keys() & by_number.keys():
        label = differing[0]
        raise UserError(
            f"{rows[0].path}: label {label!r} may be the name of class {by_name[label]}, or the number of class "
            f"{names[int(label)]!r}; all labels are both. Write words such as 'class {label}' in the file of "
            "--label-names; and if the labels are names, in their column as well."
        )
    for row in rows:
        if row.label not in ids:
            raise UserError(
                f"{row.place}: label {shortened(str(row.label))!r} is neither one of the {len(names)} label names "
                f"nor a number from 0 to {len(names) - 1}.{closest(str(row.label), names)}"
            )
    return {str(row.label): ids[str(row.label)] for row in rows}
