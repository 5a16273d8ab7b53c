"""Two workers that take turns, and the row that comes of it."""

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
        """Our worker, set up as a training command is. It compiles afresh, and takes no more of a GPU than it needs."""
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / f"{name}-cache"),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **allocation_environment(),
        }
        return Worker("benchmarks.ours", self.folder / f"{name}.log", environment=environment)

    def peer(self, name: str = "peer") -> Worker:
        """The peer's worker. It looks nothing up on the network."""
        environment = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        return Worker("benchmarks.peer", self.folder / f"{name}.log", environment=environment)


def new_row(case: Case, unit: str = "tokens/s") -> Row:
    """A row with all the columns, empty."""
    return {"row": case.row, **dict.fromkeys(COLUMNS), "unit": unit}


def message(case: Case, bench: Bench) -> dict[str, Any]:
    """The arguments of a request about a case."""
    return {"case": dataclasses.asdict(case), "folder": str(bench.folder / "data")}


def measure_turns(bench: Bench, case: Case, *, with_peer: bool) -> Row:
    """Real tokens a second of both sides: the medians of rounds in which they take turns."""
    row = new_row(case)
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours())
        row |= ours.ask("start", **message(case, bench))
        # in a process of its own: the product's matrices would count as memory of training
        gauge = stack.enter_context(bench.ours("limit"))
        our_turns, limits = Turns(bench, ours), []
        peer, peer_turns = (_start_peer(bench, case, stack, row)) if with_peer else (None, None)
        for _ in range(case.rounds):
            our_turns.take()
            limits.append(gauge.ask("limit")["limit"])
            if peer_turns:
                peer_turns.take()
        row |= {"ours": our_turns.median("tokens"), "peak_mb": ours.ask("memory")["peak_mb"]}
        if our_turns.counts("flops"):
            row |= {"flops": our_turns.median("flops"), "limit": max(limits)}
        if peer and peer_turns:
            row |= {"peer": peer_turns.median("tokens"), "peer_peak_mb": peer.ask("memory")["peak_mb"]}
    return row


class Turns:
    """The rounds of one side: in each it does its work as often as fills about `ROUND_SECONDS`."""

    def __init__(self, bench: Bench, worker: Worker):
        """Warms up and chooses how often: what is over in an instant tells nothing of what it takes."""
        self._worker, self._rounds = worker, []
        worker.ask("take", count=1)
        wanted, self._count = ROUND_SECONDS[bench.platform], 1
        while (seconds := worker.ask("take", count=self._count)["seconds"]) < wanted / 4:
            self._count *= 2
        self._count = max(1, round(self._count * wanted / seconds))

    def take(self) -> None:
        """One round. It begins with one time that does not count: memory freed before the pause may be gone by now."""
        self._worker.ask("take", count=1)
        self._rounds.append(self._worker.ask("take", count=self._count))

    def counts(self, figure: str) -> bool:
        """Whether the worker answers this figure."""
        return figure in self._rounds[0]

    def median(self, figure: str) -> float:
        """The median over rounds of a figure a second."""
        return statistics.median(taken[figure] / taken["seconds"] for taken in self._rounds)


def _start_peer(bench: Bench, case: Case, stack: ExitStack, row: Row) -> tuple[Worker | None, Turns | None]:
    """The warm peer; where it cannot be had, none, and a note in the row."""
    if not bench.has_peer:
        row["note"] = NO_PEER
        return None, None
    peer = stack.enter_context(bench.peer())
    try:
        peer.ask("start", **message(case, bench))
        return peer, Turns(bench, peer)
    except WorkerFailed as error:
        row["note"] = f"no peer: {error}"
        return None, None
