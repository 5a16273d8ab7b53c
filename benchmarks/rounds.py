"""Two workers that alternate in rounds, and the row of figures that results."""

import dataclasses
import importlib.util
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.worker import Worker, WorkerFailed
from textclf_jax.runtime.memory import allocation_environment

ROUND_SECONDS = {"cpu": 12.0, "gpu": 0.5}
COLUMNS = ("ours", "peer", "ratio", "flops", "limit_share", "peak_mb", "peer_peak_mb", "padding_waste")
NO_PEER = "no peer: transformers is not installed"

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where a case is measured.

    Attributes:
      platform: "cpu" or "gpu".
      folder: for data, compiled programs and logs; empty at the start.
      has_peer: whether transformers is installed.
    """

    platform: str
    folder: Path
    has_peer: bool = importlib.util.find_spec("transformers") is not None

    def ours(self, name: str = "ours") -> Worker:
        """Starts our worker like a training command; its compilation cache is empty, no GPU memory is reserved."""
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / f"{name}-cache"),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **allocation_environment(),
        }
        return Worker("benchmarks.ours", self.folder / f"{name}.log", environment=environment)

    def peer(self, name: str = "peer") -> Worker:
        """Starts the peer's worker, which may not use the network."""
        environment = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        return Worker("benchmarks.peer", self.folder / f"{name}.log", environment=environment)


def new_row(case: Case, unit: str = "tokens/s") -> Row:
    """A row whose columns are all None."""
    return {"row": case.row, **dict.fromkeys(COLUMNS), "unit": unit}


def message(case: Case, bench: Bench) -> dict[str, Any]:
    """The arguments of a request about a case."""
    return {"case": dataclasses.asdict(case), "folder": str(bench.folder / "data")}


def measure_rounds(bench: Bench, case: Case, *, with_peer: bool) -> Row:
    """Measures real tokens a second of both sides: medians over rounds in which one works, then the other."""
    row = new_row(case)
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours())
        row |= ours.ask("start", **message(case, bench))
        # in a process of its own: the matrices that it multiplies would count as memory of training
        gauge = stack.enter_context(bench.ours("limit"))
        our_rounds, limits = Rounds(bench, ours), []
        peer, peer_rounds = (_start_peer(bench, case, stack, row)) if with_peer else (None, None)
        for _ in range(case.rounds):
            our_rounds.measure_one()
            limits.append(gauge.ask("limit")["limit"])
            if peer_rounds:
                peer_rounds.measure_one()
        row |= {"ours": our_rounds.median("tokens"), "peak_mb": ours.ask("memory")["peak_mb"]}
        if our_rounds.counts("flops"):
            row |= {"flops": our_rounds.median("flops"), "limit": max(limits)}
        if peer and peer_rounds:
            row |= {"peer": peer_rounds.median("tokens"), "peer_peak_mb": peer.ask("memory")["peak_mb"]}
    return row


class Rounds:
    """The rounds of one side, each of about `ROUND_SECONDS` of work."""

    def __init__(self, bench: Bench, worker: Worker):
        """Warms the worker up, and finds how many repetitions fill a round.

        Args:
          bench: says how long a round is.
          worker: has answered `start`.

        Raises:
          WorkerFailed: it cannot do its work.
        """
        self._worker, self._rounds = worker, []
        worker.ask("take", count=1)
        wanted, self._count = ROUND_SECONDS[bench.platform], 1
        # doubled until they can be timed: a few milliseconds say little about the speed of a round
        while (seconds := worker.ask("take", count=self._count)["seconds"]) < wanted / 4:
            self._count *= 2
        self._count = max(1, round(self._count * wanted / seconds))

    def measure_one(self) -> None:
        """Measures one more round."""
        # one uncounted repetition first: the system may have reclaimed memory and caches while the other side worked
        self._worker.ask("take", count=1)
        self._rounds.append(self._worker.ask("take", count=self._count))

    def counts(self, figure: str) -> bool:
        """Whether the worker's answers contain this figure."""
        return figure in self._rounds[0]

    def median(self, figure: str) -> float:
        """The median over rounds of a figure per second."""
        return statistics.median(taken[figure] / taken["seconds"] for taken in self._rounds)


def _start_peer(bench: Bench, case: Case, stack: ExitStack, row: Row) -> tuple[Worker | None, Rounds | None]:
    """Starts and warms the peer; where that fails, returns None twice and writes a note into the row."""
    if not bench.has_peer:
        row["note"] = NO_PEER
        return None, None
    peer = stack.enter_context(bench.peer())
    try:
        peer.ask("start", **message(case, bench))
        return peer, Rounds(bench, peer)
    except WorkerFailed as error:
        row["note"] = f"no peer: {error}"
        return None, None
