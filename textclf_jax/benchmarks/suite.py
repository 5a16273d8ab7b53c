"""Measures cases, both sides taking turns."""

import dataclasses
import importlib.util
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from textclf_jax.benchmarks.cases import Case, chosen
from textclf_jax.benchmarks.report import cells
from textclf_jax.benchmarks.synthetic import write_data
from textclf_jax.benchmarks.worker import Worker, WorkerFailed

WARM_UP_STEPS = 2
ROUND_SECONDS = {"cpu": 2.0, "gpu": 0.5}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where and how a suite runs.

    Attributes:
      platform: "cpu" or "gpu".
      folder: for data, compiled programs and logs; empty at the start.
      has_peer: whether transformers is installed.
    """

    platform: str
    folder: Path
    has_peer: bool = importlib.util.find_spec("transformers") is not None

    def ours(self, name: str) -> Worker:
        """Our worker. It compiles afresh, and takes from a GPU no more than it needs, since it shares it."""
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "cache" / name),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        return Worker("textclf_jax.benchmarks.ours", self.folder / f"{name}.ours.log", environment=environment)

    def peer(self, name: str) -> Worker:
        """The peer's worker. It looks nothing up on the network."""
        environment = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        return Worker("textclf_jax.benchmarks.peer", self.folder / f"{name}.peer.log", environment=environment)


def measure(bench: Bench, case: Case) -> Row:
    """Measures one case; a side that fails leaves its figures empty and a note."""
    return MEASURES[case.measure](bench, case)


def empty_row(case: Case) -> Row:
    """A row with all the columns, null."""
    names = ("ours", "peer", "ratio", "flops", "limit_share", "peak_mb", "peer_peak_mb", "padding_waste")
    return {"row": case.row, **dict.fromkeys(names), "unit": "tokens/s"}


def measure_steps(bench: Bench, case: Case) -> Row:
    """Training steps: real tokens a second, the medians of rounds in which ours and the peer take turns."""
    folder, fields = bench.folder / "data", dataclasses.asdict(case)
    write_data(case, folder)
    row = empty_row(case)
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours(case.row))
        started = ours.ask("start", case=fields, folder=str(folder))
        peer = _started_peer(bench, case, stack, row, folder)
        turns = Turns(bench, ours), Turns(bench, peer) if peer else None
        limits = []
        for _ in range(case.rounds):
            turns[0].take()
            limits.append(ours.ask("limit")["limit"])
            if turns[1]:
                turns[1].take()
        flops = turns[0].median("flops")
        row |= started | {"ours": turns[0].median("tokens"), "flops": flops, "limit": max(limits)}
        row |= {"limit_share": flops / max(limits), "peak_mb": ours.ask("memory")["peak_mb"]}
        if turns[1]:
            assert peer
            row |= {"peer": turns[1].median("tokens"), "peer_peak_mb": peer.ask("memory")["peak_mb"]}
            row["ratio"] = row["ours"] / row["peer"]
    return row


class Turns:
    """The rounds of one side: as many steps each as take about `ROUND_SECONDS`."""

    def __init__(self, bench: Bench, worker: Worker):
        """Warms up and chooses the number of steps."""
        self._worker, self._rounds = worker, []
        worker.ask("steps", count=WARM_UP_STEPS)
        seconds = worker.ask("steps", count=1)["seconds"]
        self._count = max(1, round(ROUND_SECONDS[bench.platform] / seconds))

    def take(self) -> None:
        self._rounds.append(self._worker.ask("steps", count=self._count))

    def median(self, figure: str) -> float:
        """The median over rounds of a figure a second."""
        return statistics.median(taken[figure] / taken["seconds"] for taken in self._rounds)


def _started_peer(bench: Bench, case: Case, stack: ExitStack, row: Row, folder: Path) -> Worker | None:
    if not bench.has_peer:
        row["note"] = "no peer: transformers is not installed"
        return None
    peer = stack.enter_context(bench.peer(case.row))
    try:
        peer.ask("start", case=dataclasses.asdict(case), folder=str(folder))
    except WorkerFailed as error:
        row["note"] = f"peer: {error}"
        return None
    return peer


MEASURES: dict[str, Callable[[Bench, Case], Row]] = {"steps": measure_steps}


def run_suite(rows: str | None, *, quickly: bool) -> tuple[str, list[Row]]:
    """Measures rows one after the other, and says what each gave.

    Args:
      rows: names, comma-separated; all those of this platform by default.
      quickly: fewer rounds.

    Returns:
      The device's name and the rows.

    Raises:
      UserError: a name that there is no row for.
    """
    with tempfile.TemporaryDirectory(prefix="textclf-bench-") as root:
        with Bench("?", Path(root)).ours("device") as worker:
            found = worker.ask("device")
        measured = []
        cases = chosen(rows, found["platform"], quickly=quickly)
        for i, case in enumerate(cases):
            before = time.monotonic()
            bench = Bench(found["platform"], Path(root) / case.row)
            bench.folder.mkdir()
            measured.append(measure(bench, case))
            shutil.rmtree(bench.folder)
            figures = "  ".join(cells(measured[-1])[:4])
            print(f"{i + 1}/{len(cases)}  {figures}  ({time.monotonic() - before:.0f} s)", flush=True)
        return found["name"], measured
