"""The whole suite: case by case, within a budget of time."""

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench, Row, new_row
from benchmarks.cases import Case, chosen
from benchmarks.progress import Progress
from benchmarks.report import cells
from benchmarks.rounds import measure_rounds
from benchmarks.synthetic import write_data
from benchmarks.waits import measure_epoch, measure_startup
from benchmarks.worker import OutOfTime, WorkerFailed

MEASURES = {"epoch": measure_epoch, "startup": measure_startup}
MINUTES = {"cpu": 60.0, "gpu": 8.5}
QUICK_MINUTES = {"cpu": 60.0, "gpu": 3.0}
PEER_FIGURES = ("peer", "peer_peak_mb", "peer_mode")


def run_suite(
    rows: str | None, *, quickly: bool, minutes: float | None, path_for: Callable[[str], Path | None]
) -> tuple[str, list[Row]]:
    """Measures rows one after the other, prints the figures of each, and writes them down.

    Args:
      rows: names, separated by commas; None for the suite of this platform.
      quickly: fewer rounds.
      minutes: limit for the whole suite; what is not measured by then is skipped, with a note. None for `MINUTES` or
        `QUICK_MINUTES`.
      path_for: from the device's name to the file for the results; rows in the unfinished file beside it are not
        measured again.

    Returns:
      The device's name and the rows.

    Raises:
      UserError: a name is not that of a row of this platform; the message lists them. Or a file cannot be written.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="textclf-bench-") as root, Bench("?", Path(root)) as unknown:
        found = unknown.gauge().ask("device")
        if minutes is None:
            minutes = (QUICK_MINUTES if quickly else MINUTES)[found["platform"]]
        deadline = unknown.gauge().deadline = unknown.shared.deadline = started + 60 * minutes
        suite = dataclasses.replace(unknown, platform=found["platform"], peak=found["peak"])
        cases, skipped = chosen(rows, found["platform"], quickly=quickly), []
        progress = Progress(path_for(found["name"]), found["name"], cases, quickly=quickly)
        for i, case in enumerate(cases):
            if case.row in progress.rows:
                continue
            before = time.monotonic()
            row = None if before > deadline else measure_in(suite, case, progress.rows)
            if row is None:
                row = new_row(case) | {"note": f"skipped: {minutes:g} minutes (--minutes) were not enough"}
                skipped.append(row)
            else:
                progress.add(row)
            figures = "  ".join([*cells(row)[:4], *filter(None, [row.get("note")])])
            print(f"{i + 1}/{len(cases)}  {figures}  ({time.monotonic() - before:.0f} s)", flush=True)
        # before the processes end, which takes seconds
        return found["name"], progress.finish(skipped)


def measure_in(suite: Bench, case: Case, measured: dict[str, Row]) -> Row | None:
    """Measures one case of a suite in a folder of its own.

    Args:
      suite: where the suite is measured.
      case: what to measure.
      measured: the rows before it, by name.

    Returns:
      The row; None if there was no time for it.
    """
    bench = dataclasses.replace(suite, row=case.row)
    try:
        row = measure(bench, case, measured.get(case.peer_of or ""))
    except OutOfTime:
        return None
    finally:
        shutil.rmtree(bench.folder)
    training = measured.get(case.trains_as or "")
    if training and row["ours"] and training["ours"]:
        row["times_training"] = row["ours"] / training["ours"]
    return row


def measure(bench: Bench, case: Case, peer_row: Row | None = None) -> Row:
    """Measures one case in a new folder.

    Args:
      bench: where to measure; its folder does not exist yet.
      case: what to measure.
      peer_row: a row of this run whose peer did the same work; its figures are used again.

    Returns:
      A row. If our side fails, it has no figures, and a note that says why.

    Raises:
      OutOfTime: the time for the suite was over.
    """
    bench.folder.mkdir()
    write_data(case, bench.folder / "data")
    reused = peer_row if peer_row and peer_row["peer"] else None
    try:
        row = MEASURES.get(case.measure, measure_rounds)(bench, case, with_peer=reused is None)
    except WorkerFailed as error:
        return new_row(case) | {"note": f"failed: {error}"}
    finally:
        bench.clear_peer()
    if reused:
        row |= {name: reused[name] for name in PEER_FIGURES} | {"note": f"the peer's figures are {reused['row']}'s"}
    if row["peer"]:
        slower, faster = (row["ours"], row["peer"]) if row["unit"] == "s" else (row["peer"], row["ours"])
        row["ratio"] = faster / slower
    if row["flops"]:
        row["limit_share"] = row["flops"] / row["limit"]
        row |= {} if bench.peak is None else {"mfu": row["flops"] / bench.peak}
    return row
