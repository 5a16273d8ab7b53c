"""Where a case is measured, by which workers, and the row that takes the figures."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.worker import Worker
from textclf_jax.runtime.memory import allocation_environment

COLUMNS = ("ours", "peer", "ratio", "flops", "limit_share", "peak_mb", "peer_peak_mb", "padding_waste", "peer_mode")
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


def add_note(row: Row, text: str) -> None:
    """Adds to the note of a row."""
    row["note"] = "; ".join(filter(None, [row.get("note"), text]))
