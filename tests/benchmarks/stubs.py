"""Workers that only pretend to measure, and the bench that starts them."""

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.worker import OutOfTime, WorkerFailed

SPEEDS = {
    "float32": 10.0,
    "bfloat16 autocast": 20.0,
    "float32 compiled": 15.0,
    "bfloat16 autocast compiled": 40.0,
}
OUR_SPEED = 100.0


class StubWorker:
    """Answers at the speed of its mode, tokens a second; an error as speed is raised by the first work."""

    def __init__(self, bench: "StubBench"):
        self.bench = bench
        self.speed: Any = OUR_SPEED

    def __enter__(self):
        self.bench.alive.append(self)
        self.bench.alive_at_starts.append(len(self.bench.alive))
        return self

    def __exit__(self, *_):
        self.bench.alive.remove(self)

    def work(self) -> float:
        if isinstance(self.speed, WorkerFailed):
            raise self.speed
        return self.speed

    def ask(self, do, *, timeout_seconds=300.0, mode=None, count=1, **_):
        if mode:
            self.bench.asked.append(mode)
            self.speed = self.bench.speeds[mode]
        if do == "take":
            self.bench.limits.append(timeout_seconds)
            return {"seconds": float(count), "tokens": self.work() * count}
        if do == "epoch":
            (self.bench.folder / "data" / "run").mkdir(exist_ok=True)
            return {"seconds": 2.0, "tokens": 2 * self.work(), "compile_seconds": 0.5, "padding_waste": 0, "flops": 1}
        return {"start": {}, "memory": {"peak_mb": 5.0}}[do]


@dataclasses.dataclass(frozen=True)
class StubBench(Bench):
    """Starts stubs; records modes asked for, time limits, the stubs alive and, at each start, how many there were."""

    has_peer: bool = True
    speeds: dict = dataclasses.field(default_factory=lambda: dict(SPEEDS))
    asked: list = dataclasses.field(default_factory=list)
    limits: list = dataclasses.field(default_factory=list)
    alive: list = dataclasses.field(default_factory=list)
    alive_at_starts: list = dataclasses.field(default_factory=list)

    def ours(self, name="ours"):
        return StubWorker(self)

    def peer(self, name="peer"):
        return StubWorker(self)

    def warm_peer(self, name="peer"):
        return StubWorker(self)

    def prepare_ours(self):
        pass

    def limit(self):
        return 1e9


class Machine:
    """A GPU whose workers only pretend to work, and a clock that their requests move on.

    Attributes:
      clock: seconds; a request that starts a case takes ten, any other 0.1.
      started: the module and the log of each worker, in order.
      asked: the row of each `start` and `epoch` of our side.
      stops_at: the row at whose start the suite is interrupted.
      fails_at: the row at whose start the peer's process fails.
      ended: how many workers were ended.
    """

    def __init__(self):
        self.clock = 0.0
        self.started: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.stops_at = self.fails_at = ""
        self.ended = 0

    def monotonic(self) -> float:
        return self.clock

    def worker(self, module, log, *, environment, deadline):
        self.started.append((module.rpartition(".")[2], log.stem))
        return MachineWorker(self, module.rpartition(".")[2], deadline)


class MachineWorker:
    """A worker of a `Machine`."""

    def __init__(self, machine: Machine, side: str, deadline: float):
        self.machine, self.side, self.deadline, self.failed = machine, side, deadline, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.machine.ended += 1

    def ask(self, do, *, timeout_seconds=300.0, **arguments):
        self.machine.clock += 10.0 if do in ("start", "epoch") else 0.1
        if self.machine.clock > self.deadline:
            raise OutOfTime(do)
        return getattr(self, do)(**arguments)

    def device(self):
        return {"platform": "gpu", "name": "Test GPU", "peak": 1000.0}

    def limit(self):
        return {"limit": 800.0}

    def clear(self):
        return {}

    def memory(self):
        return {"peak_mb": 5.0}

    def idle(self, count):
        return {"idle": 0.01}

    def start(self, case, folder, mode=None):
        row = case["row"]
        if self.side == "ours":
            if row == self.machine.stops_at:
                raise KeyboardInterrupt
            self.machine.asked.append(row)
            return {"padding_waste": 0.0}
        if row == self.machine.fails_at:
            self.failed = True
            raise WorkerFailed("start died: out of memory")
        return {}

    def take(self, count):
        ours = {"flops": 50 * count, "batch_wait": 0.001 * count, "texts": count} if self.side == "ours" else {}
        return {"seconds": count * 0.1, "tokens": count * (30 if self.side == "ours" else 10), **ours}

    def epoch(self, case, folder, mode=None):
        self.machine.asked.append(case["row"])
        Path(folder, "run").mkdir(exist_ok=True)
        return {"seconds": 1.0, "tokens": 30, "compile_seconds": 0.5, "padding_waste": 0.0, "flops": 500}
