"""Results as JSON, one file per device, and the Markdown tables that are generated from them."""

import functools
import json
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError
from textclf_jax.files import write_whole

RESULTS_FOLDER = Path("benchmarks/results")
TABLE_PATH = Path("docs/benchmarks.md")
PACKAGES = ("textclf-jax", "jax", "jaxlib", "flax", "optax", "torch", "transformers", "numpy")

INTRODUCTION = """# Benchmarks

Generated from `benchmarks/results/*.json` by `textclf bench --table`; do not edit.

Ours and the peer, Hugging Face's BERT in torch (SDPA, fused AdamW, batches trimmed to their longest row), train models
of the same sizes on the same file in one run, in alternating rounds; figures are medians over the rounds. The peer runs
in the fastest of its modes (float32 or bfloat16 autocast on a CPU, bfloat16 autocast on a GPU, each plain and compiled
by `torch.compile`), which a short trial finds before each row. Epochs and start-up include the time of compiling; there
the peer does without `torch.compile`. On a GPU both sides compile at the same time, but are measured in turns; one
process of the peer does all rows but these; the suite has fewer rows than can be asked for by name. Results without any
mode are older: on a CPU the peer ran in float32. Tokens are real ones, padding does not count. Limit: share of the rate
of a large matrix product in the same dtype, measured in the same run, that the step's own matrix products reach. MFU:
their share of the data sheet's rate. Memory: the most that the process (on a CPU) or the device (on a GPU) held. Rows
in seconds: their ratio is the peer's time by ours.
"""
COLUMNS = ("row", "ours", "peer", "ratio", "TFLOP/s", "limit", "memory MB", "peer's MB", "padding", "peer's mode")


def results_path(device: str) -> Path:
    """The file for the results of a device, e.g. `benchmarks/results/cpu-amd-epyc-2-cores.json`."""
    return RESULTS_FOLDER / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that the figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def results(device: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of a file of results, measured today by the installed packages."""
    content = {"device": device, "versions": versions(), "date": datetime.now(UTC).date().isoformat()}
    return content | {"rows": [_rounded(row) for row in rows]}


def write_results(path: Path, device: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows to a file; its rows of other names stay there if device and versions are the same."""
    content = results(device, rows)
    kept: list[dict[str, Any]] = []
    if path.is_file():
        old = read_results(path)
        if all(old[key] == content[key] for key in ("device", "versions")):
            kept = old["rows"]
    merged = {row["row"]: row for row in [*kept, *content["rows"]]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content | {"rows": list(merged.values())}, indent=1) + "\n")


def read_results(path: Path) -> dict[str, Any]:
    """Reads a file of results.

    Raises:
      UserError: the file is no such file; move it away.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _ = content["device"], content["versions"], content["date"], [row["row"] for row in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: these are no results of `textclf bench` ({error!r}). Move the file away.") from error
    for row in content["rows"]:
        row.setdefault("peer_mode", None)  # not in results from before the peer had modes
    return content


def table(folder: Path) -> str:
    """The Markdown page of all results in a folder."""
    parts = [INTRODUCTION]
    for path in sorted(folder.glob("*.json")):
        content = read_results(path)
        packages = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
        lines = [f"## {content['device']}", "", f"{content['date']}; {packages}.", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|---" + "|--:" * (len(COLUMNS) - 2) + "|---|"]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in content["rows"]]
        notes = [f"- `{row['row']}`: {text}" for row in content["rows"] for text in remarks(row)]
        parts.append("\n".join([*lines, *(["", *notes] if notes else []), ""]))
    return "\n".join(parts)


def remarks(row: dict[str, Any]) -> list[str]:
    """The notes below the table about a row."""
    notes = [row["note"]] if row.get("note") else []
    if "compile_share" in row:
        share = f"{row['compile_share']:.0%} of them compiling, with nothing cached"
        notes.append(f"{row['seconds']:.1f} s, {share}")
    if "times_training" in row:
        notes.append(f"{row['times_training']:,.0f} times as fast as training")
    if row.get("texts"):
        notes.append(f"{row['texts']:,} texts in {row['seconds']:.1f} s")
    if row.get("mfu"):
        notes.append(f"MFU {row['mfu']:.1%} of what the data sheet names")
    if row.get("idle") is not None:
        notes.append(f"the device waited for the host {row['idle']:.1%} of the time")
    if row.get("batch_wait") is not None:
        notes.append(f"{row['batch_wait']:.1%} of the time went by until a batch was there")
    return notes


def write_table() -> None:
    """Writes docs/benchmarks.md from benchmarks/results/."""
    TABLE_PATH.parent.mkdir(parents=True, exist_ok=True)
    TABLE_PATH.write_text(table(RESULTS_FOLDER), encoding="utf-8")
    print(f"wrote {TABLE_PATH}")


def show(device: str, rows: Sequence[dict[str, Any]]) -> None:
    """Prints the rows of a device as a table."""
    from textclf_jax.observe.progress import print_table

    print_table(device, [cells(row) for row in rows], COLUMNS)


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row as text; a dash stands for what does not apply or was not measured."""

    def cell(name: str, form: str, scale: float = 1.0) -> str:
        return "–" if row[name] is None else form.format(row[name] * scale)

    figure = "{:.1f} s" if row["unit"] == "s" else "{:,.0f}"
    return [
        row["row"],
        cell("ours", figure),
        cell("peer", figure),
        cell("ratio", "{:.2f}"),
        cell("flops", "{:.3f}", 1e-12),
        cell("limit_share", "{:.0%}"),
        cell("peak_mb", "{:,.0f}"),
        cell("peer_peak_mb", "{:,.0f}"),
        cell("padding_waste", "{:.1%}"),
        row["peer_mode"] or "–",
    ]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """The row with four significant digits: further ones would be noise, and change with every run."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}
