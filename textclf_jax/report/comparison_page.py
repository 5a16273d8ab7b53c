"""A comparison of runs as a table: on a terminal, as csv, and as a page."""

import io
from pathlib import Path

from textclf_jax.files import write_csv, write_whole
from textclf_jax.observe.progress import print_table
from textclf_jax.report.comparison import Comparison, Group, Spread
from textclf_jax.report.page import render
from textclf_jax.report.views import SPLITS, TITLES, score


def table_of(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the keys that differ, how many runs, and mean and standard deviation of each figure."""
    columns = [*map(short_key, compared.keys), "runs", *(TITLES.get(name, name) for name in compared.metrics), "names"]
    rows = [
        [
            *(group.keys[key] for key in compared.keys),
            str(len(group.runs)),
            *(_mean(group.figures.get(name), len(group.runs), name) for name in compared.metrics),
            ", ".join(group.runs),
        ]
        for group in compared.groups
    ]
    return columns, rows


def short_key(key: str) -> str:
    """The last part of a key, which tells enough in a table."""
    return key.rpartition(".")[2].replace("_", " ")


def _mean(found: Spread | None, runs: int, name: str) -> str:
    if found is None:
        return score(None)
    digits = 1 if name == "minutes" else 4
    text = f"{found.mean:.{digits}f}" + ("" if found.deviation is None else f" ± {found.deviation:.{digits}f}")
    return text if found.count == runs else f"{text} (of {found.count})"


def show(compared: Comparison) -> None:
    """Prints the table."""
    columns, rows = table_of(compared)
    print_table(f"{SPLITS[compared.split]} results: mean ± standard deviation over seeds", rows, columns)
    for remark in compared.remarks:
        print(f"note: {remark}", flush=True)


def write(compared: Comparison, path: Path) -> None:
    """Writes the comparison as csv or as a page, by the ending of the path.

    Raises:
      UserError: it cannot be written.
    """
    if path.suffix.lower() == ".csv":
        text = io.StringIO(newline="")
        write_csv(text, [csv_columns(compared), *(_csv_row(compared, group) for group in compared.groups)])
        write_whole(path, text.getvalue())
        return
    columns, rows = table_of(compared)
    keys = len(compared.keys)
    numbers = tuple(range(keys, keys + 1 + len(compared.metrics)))
    view = {"columns": columns, "rows": rows, "numbers": numbers, "split": SPLITS[compared.split]}
    write_whole(path, render("compare.html.j2", compared=compared, **view))


def csv_columns(compared: Comparison) -> list[str]:
    """Columns of the csv: keys in full, and of each figure mean, standard deviation and count."""
    figures = [f"{name}_{what}" for name in compared.metrics for what in ("mean", "deviation", "count")]
    return [*compared.keys, "runs", "seeds", "names", *figures]


def _csv_row(compared: Comparison, group: Group) -> list[object]:
    figures = [group.figures.get(name) for name in compared.metrics]
    told = [value for f in figures for value in ((None, None, 0) if f is None else (f.mean, f.deviation, f.count))]
    seeds = " ".join(map(str, group.seeds))
    return [*(group.keys[key] for key in compared.keys), len(group.runs), seeds, " ".join(group.runs), *told]
