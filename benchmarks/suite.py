"""The whole suite: case by case, within a budget of time."""

import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Bench, Row, new_row
from benchmarks.cases import Case, chosen
from benchmarks.report import cells
from benchmarks.rounds import measure_rounds
from benchmarks.synthetic import write_data
from benchmarks.waits import measure_epoch, measure_startup
from benchmarks.worker import WorkerFailed

MEASURES = {"epoch": measure_epoch, "startup": measure_startup}
MINUTES = {"cpu": 60.0, "gpu": 8.0}
PEER_FIGURES = ("peer", "peer_peak_mb", "peer_mode")


def run_suite(rows: str | None, *, quickly: bool, minutes: float | None) -> tuple[str, list[Row]]:
    """Measures rows one after the other, and prints the figures of each.

    Args:
      rows: names, separated by commas; None for all of this platform.
      quickly: fewer rounds.
      minutes: limit for the whole suite; rows that might exceed it are skipped, with a note. None for `MINUTES`.

    Returns:
      The device's name and the rows.

    Raises:
      UserError: a name is not that of a row of this platform; the message lists them.
    """
    started, longest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="textclf-bench-") as root:
        with Bench("?", Path(root)).ours() as worker:
            found = worker.ask("device")
        minutes = MINUTES[found["platform"]] if minutes is None else minutes
        cases, measured = chosen(rows, found["platform"], quickly=quickly), {}
        for i, case in enumerate(cases):
            before = time.monotonic()
            if before + longest > started + 60 * minutes:
                row = new_row(case) | {"note": f"skipped: {minutes:g} minutes (--minutes) were not enough"}
            else:
                bench = Bench(found["platform"], Path(root) / case.row)
                row = measure(bench, case, measured.get(case.peer_of))
                shutil.rmtree(bench.folder)
            if case.trains_as in measured and row["ours"] and measured[case.trains_as]["ours"]:
                row["times_training"] = row["ours"] / measured[case.trains_as]["ours"]
            measured[case.row] = row
            seconds = time.monotonic() - before
            longest = max(longest, seconds)
            figures = "  ".join([*cells(row)[:4], *filter(None, [row.get("note")])])
            print(f"{i + 1}/{len(cases)}  {figures}  ({seconds:.0f} s)", flush=True)
    return found["name"], list(measured.values())


def measure(bench: Bench, case: Case, peer_row: Row | None = None) -> Row:
    """Measures one case in a new folder.

    Args:
      bench: where to measure; its folder does not exist yet.
      case: what to measure.
      peer_row: a row of this run whose peer did the same work; its figures are used again.

    Returns:
      A row. If our side fails, it has no figures, and a note that says why.
    """
    bench.folder.mkdir()
    write_data(case, bench.folder / "data")
    reused = peer_row if peer_row and peer_row["peer"] else None
    try:
        row = MEASURES.get(case.measure, measure_rounds)(bench, case, with_peer=reused is None)
    except WorkerFailed as error:
        return new_row(case) | {"note": f"failed: {error}"}
    if reused:
        row |= {name: reused[name] for name in PEER_FIGURES} | {"note": f"the peer's figures are {reused['row']}'s"}
    if row["peer"]:
        slower, faster = (row["ours"], row["peer"]) if row["unit"] == "s" else (row["peer"], row["ours"])
        row["ratio"] = faster / slower
    if row["flops"]:
        row["limit_share"] = row["flops"] / row["limit"]
    return row
