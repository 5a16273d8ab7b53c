"""Train, val and test rows: the stratified split, duplicates within and between splits, class ids."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from textclf_jax.class_names import check_class_names, closest
from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.labels import in_order, whole_numbers
from textclf_jax.prepare.texts import Label, Row
from textclf_jax.tokenizer.text_files import iterate_lines

Splits = dict[str, list[Row]]  # by SPLITS (and "extra"), in this order


def stratified_split(
    labels: Sequence[Label | None], val_fraction: float, test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits rows so that every class has its share in every part, within one row, and at least one row in train.

    Where rows have several labels, that holds for the rarest label of each row; the shares of others are about right.

    Args:
      labels: [N] the label of each row; all None splits at random.
      val_fraction, test_fraction: shares of all rows.
      seed: decides the draw.

    Returns:
      Increasing row numbers of train, val and test.
    """
    label_sets = [label if isinstance(label, tuple) else (label or "",) for label in labels]
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    strata = _strata(label_sets, rarest_first=any(isinstance(label, tuple) for label in labels))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    pool = by_stratum[~np.isin(by_stratum, _one_of_each(label_sets, by_stratum))]  # the others are for train
    # a split that was asked for gets at least one row
    val_rows, test_rows = (
        max(round(len(labels) * fraction), 1) if fraction else 0 for fraction in (val_fraction, test_fraction)
    )
    # rows are sorted by class: a draw at even distances takes each class's share
    held_out = pool[_evenly(len(pool), min(val_rows + test_rows, len(pool)))]
    test = held_out[_evenly(len(held_out), min(test_rows, len(held_out)))]
    val = np.setdiff1d(held_out, test)
    return np.setdiff1d(np.arange(len(labels)), held_out), val, np.sort(test)


def _strata(label_sets: Sequence[tuple[str, ...]], *, rarest_first: bool) -> np.ndarray:
    """[N] numbers of the sets of labels: sorted by their first label, then the next.

    Args:
      label_sets: of each row.
      rarest_first: whether rare labels come before frequent ones, in the order of sets and within them, so that the
        rows of a rare label lie side by side; otherwise by name.
    """
    counts = Counter(label for labels in label_sets for label in labels)
    order = sorted(counts, key=lambda label: (counts[label] if rarest_first else 0, label))
    # not an array of strings: that is as wide as the longest label
    rank = {label: i for i, label in enumerate(order)}
    keys = [tuple(sorted(rank[label] for label in labels)) for labels in label_sets]
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def _one_of_each(label_sets: Sequence[tuple[str, ...]], order: np.ndarray) -> list[int]:
    """The first rows in that order that have a label which no row before them has."""
    seen: set[str] = set()
    first = []
    for row in order.tolist():
        if not seen.issuperset(label_sets[row]):
            first.append(row)
            seen.update(label_sets[row])
    return first


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
    """Counts texts that occur with more than one label, or set of labels."""
    labels: dict[str, set[Label]] = {}
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
      splits: labelled rows, all of one label or all of several.
      names: class names in the order of ids; labels are then ids, or these names. None: the labels of the training
        rows are the names, sorted (numbers by value).

    Returns:
      The names in the order of ids, and the labels of every split: ids [N] int64, or [N, C] uint8 of 0 and 1 where
      rows have several.

    Raises:
      UserError: a label that the training rows or `names` do not have; fewer than two classes.
    """
    known = in_order({label for row in splits["train"] for label in row.labels})
    shown = listed(known, 20)
    if len(known) < 2:
        raise UserError(f"the training rows have {_too_few(splits['train'], shown)}")
    ids = {label: i for i, label in enumerate(known)} if names is None else _ids_by_name(splits["train"], names)
    numbered = {}
    for split, rows in splits.items():
        for row in rows:
            for label in row.labels:
                if label not in ids:
                    raise UserError(
                        f"{row.place}: label {shortened(label)!r} does not occur in the training rows ({shown})."
                        + closest(label, known)
                    )
        numbered[split] = _numbered(rows, ids, len(known if names is None else names))
    return known if names is None else names, numbered


def _too_few(rows: list[Row], shown: str) -> str:
    if not any(isinstance(row.label, tuple) for row in rows):
        return f"one class only ({shown}); classification needs two"
    return (
        f"one class only ({shown or 'none'}), and several labels a text need two classes or more. If the question is "
        "whether a text has it, write yes or no into the column of labels, and leave --label-separator out"
    )


def _numbered(rows: list[Row], ids: Mapping[str, int], num_labels: int) -> np.ndarray:
    """The ids [N] int64 of rows with one label, or [N, C] uint8 of such with several."""
    if not any(isinstance(row.label, tuple) for row in rows):
        return np.array([ids[label] for row in rows for label in row.labels], dtype=np.int64)
    result = np.zeros((len(rows), num_labels), np.uint8)
    for i, row in enumerate(rows):
        result[i, [ids[label] for label in row.labels]] = 1
    return result


def with_class_names(rows: Sequence[Row], names: list[str]) -> list[Row]:
    """Rows whose labels are names of classes, where they may be numbers.

    Args:
      rows: with and without labels.
      names: class names in the order of ids.

    Raises:
      UserError: a label that `names` do not have.
    """
    named = list(rows) if any("." in name for name in names) else (whole_numbers({"": list(rows)}) or {"": rows})[""]
    ids = _ids_by_name([row for row in named if row.label is not None], names)

    def name_of(row: Row) -> Label | None:
        if row.label is None:
            return None
        found = tuple(names[ids[label]] for label in row.labels)
        return found[0] if isinstance(row.label, str) else found

    return [row._replace(label=name_of(row)) for row in named]


def _ids_by_name(rows: list[Row], names: list[str]) -> dict[str, int]:
    """Maps each label to its id, where labels are all names, or all ids; refused where they may be either."""
    labels = {label for row in rows for label in row.labels}
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
        for label in row.labels:
            if label not in by_name and label not in by_number:
                raise UserError(
                    f"{row.place}: label {shortened(label)!r} is neither one of the {len(names)} label names nor a "
                    f"number from 0 to {len(names) - 1}.{closest(label, names)}"
                )
    if mixed := [(label, row) for row in rows for label in row.labels if label not in ids]:
        raise UserError(
            f"{mixed[0][1].place}: label {shortened(mixed[0][0])!r} is one of the label names, and other labels are "
            "numbers of classes: write names in all rows, or numbers"
        )
    return {label: ids[label] for label in labels}
