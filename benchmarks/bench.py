"""Where a case is measured, by which workers, and the row that takes the figures."""

import contextlib
import dataclasses
import importlib.util
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.worker import OutOfTime, Worker, WorkerFailed
from textclf_jax.runtime.memory import allocation_environment

COLUMNS = ("ours", "peer", "ratio", "flops", "limit_share", "peak_mb", "peer_peak_mb", "padding_waste", "peer_mode")
NO_PEER = "no peer: transformers is not installed"

Row = dict[str, Any]


@dataclasses.dataclass
class Shared:
    """What the rows of a suite have in common.

    Attributes:
      deadline: of all workers, on the clock of `time.monotonic`.
      gauge: measures what the device can do; None until it is asked for.
      peer: on a GPU, the peer that does one row after the other; None until it is asked for.
      ready: on a GPU, a worker of ours that has imported what it needs; None where there is none.
    """

    deadline: float = math.inf
    gauge: Worker | None = None
    peer: Worker | None = None
    ready: Worker | None = None


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where a case is measured. A context manager: it ends the workers that the rows share.

    On a GPU, where to start, to import and to compile takes longer than to measure, one process of the peer serves all
    rows, and both sides compile at the same time. On a CPU each row has new processes, since the peak memory of one
    counts from its start; and one side at a time works, since either would slow down the other.

    Attributes:
      platform: "cpu" or "gpu".
      root: for what the rows share; empty at the start.
      row: the name of the row that is measured; "" where there is but one.
      has_peer: whether transformers is installed.
      peak: FLOP/s in bfloat16 that the GPU's data sheet names; None where it is not known, and on a CPU.
      shared: by all rows of a suite.
    """

    platform: str
    root: Path
    row: str = ""
    has_peer: bool = importlib.util.find_spec("transformers") is not None
    peak: float | None = None
    shared: Shared = dataclasses.field(default_factory=Shared)

    @property
    def folder(self) -> Path:
        """For data, compiled programs and logs of the row."""
        return self.root / self.row

    @property
    def side_by_side(self) -> bool:
        """Whether both sides compile at the same time."""
        return self.platform == "gpu"

    def ours(self, name: str = "ours") -> Worker:
        """Starts our worker like a training command; its compilation cache is empty, no GPU memory is reserved."""
        ready, self.shared.ready = self.shared.ready, None
        return self._new_ours(self.folder, name) if ready is None else ready

    def prepare_ours(self) -> None:
        """On a GPU, starts the worker that `ours` gives next, so that it has imported all by then."""
        if self.side_by_side and self.shared.ready is None:
            self.shared.ready = self._new_ours(self.root, f"after-{self.row}")

    def _new_ours(self, folder: Path, name: str) -> Worker:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / f"{name}-cache"),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **allocation_environment(),
        }
        return self._worker("benchmarks.ours", folder, name, environment)

    def peer(self, name: str = "peer") -> Worker:
        """Starts the peer's worker, which may not use the network."""
        return self._new_peer(self.folder, name)

    def _new_peer(self, folder: Path, name: str) -> Worker:
        environment = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        return self._worker("benchmarks.peer", folder, name, environment)

    def _worker(self, module: str, folder: Path, name: str, environment: dict[str, str]) -> Worker:
        return Worker(module, folder / f"{name}.log", environment=environment, deadline=self.shared.deadline)

    def warm_peer(self, name: str = "peer") -> AbstractContextManager[Worker]:
        """A peer for work that is measured once it is warm: on a GPU the one that all rows share."""
        if not self.side_by_side:
            return self.peer(name)
        self.shared.peer = _usable(self.shared.peer) or self._new_peer(self.root, "peer")
        return contextlib.nullcontext(self.shared.peer)

    def clear_peer(self) -> None:
        """Lets the shared peer forget what it did, so that its memory is free for the next row."""
        if self.shared.peer is not None and not self.shared.peer.failed:
            with contextlib.suppress(WorkerFailed, OutOfTime):
                self.shared.peer.ask("clear")

    def gauge(self) -> Worker:
        """The worker that measures the device's limit.

        In a process of its own: the matrices that it multiplies would count as memory of training.
        """
        self.shared.gauge = _usable(self.shared.gauge) or self._new_ours(self.root, "gauge")
        return self.shared.gauge

    def limit(self) -> float:
        """FLOP/s of a large matrix product in the dtype of a training step's products."""
        return self.gauge().ask("limit")["limit"]

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (self.shared.gauge, self.shared.peer, self.shared.ready):
            if worker is not None:
                _end(worker)
        self.shared.gauge = self.shared.peer = self.shared.ready = None


def _usable(worker: Worker | None) -> Worker | None:
    """The worker; None if there is none or it has failed, in which case it is ended."""
    if worker is not None and worker.failed:
        _end(worker)
        return None
    return worker


def _end(worker: Worker) -> None:
    with worker:
        pass


def new_row(case: Case, unit: str = "tokens/s") -> Row:
    """A row whose columns are all None."""
    return {"row": case.row, **dict.fromkeys(COLUMNS), "unit": unit}


def message(case: Case, bench: Bench) -> dict[str, Any]:
    """The arguments of a request about a case."""
    return {"case": dataclasses.asdict(case), "folder": str(bench.folder / "data")}


def add_note(row: Row, text: str) -> None:
    """Adds to the note of a row."""
    row["note"] = "; ".join(filter(None, [row.get("note"), text]))
