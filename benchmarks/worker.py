"""Child processes that measure on request: one JSON object per line in each direction."""

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent

Handlers = dict[str, Callable[..., dict[str, Any]]]


class WorkerFailed(Exception):
    """A worker raised, died or took too long; the message says which, and ends with the error or its last output."""


class OutOfTime(Exception):
    """The time for the whole suite is over: what is being measured is given up."""


class Worker:
    """A child process that runs `serve`; a context manager.

    Attributes:
      deadline: on the clock of `time.monotonic`; from then on no request is answered.
      failed: whether a request has failed: what the process holds since then is not known.
    """

    def __init__(
        self, module: str, log: Path, *, environment: dict[str, str] | None = None, deadline: float = math.inf
    ):
        """Starts `python -m module`.

        Args:
          module: dotted name.
          log: file for everything that the child prints.
          environment: variables to add to those of this process.
          deadline: the attribute.
        """
        self._log = log
        self.deadline, self.failed = deadline, False
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
                text=True,
            )

    def ask(self, do: str, *, timeout_seconds: float = 300.0, **arguments: Any) -> dict[str, Any]:
        """Sends a request, and waits for the answer.

        Args:
          do: name of the handler.
          timeout_seconds: after these the process is killed.
          arguments: of the handler; JSON values.

        Returns:
          What the handler returned.

        Raises:
          OutOfTime: the deadline came first; the process is killed.
          WorkerFailed: the handler raised, the process died, or it took longer than `timeout_seconds`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        left, overdue = self.deadline - time.monotonic(), threading.Event()

        def stop() -> None:
            overdue.set()
            self._process.kill()

        timer = threading.Timer(max(0.0, min(timeout_seconds, left)), stop)
        timer.start()
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        self.failed |= not line
        if not line and overdue.is_set() and left <= timeout_seconds:
            raise OutOfTime(do)
        if not line:
            why = f"took over {timeout_seconds:.0f} s" if overdue.is_set() else "died"
            raise WorkerFailed(f"{do} {why}: {self._last_line()}")
        answer = json.loads(line)
        if "error" in answer:
            self.failed = True
            raise WorkerFailed(f"{do}: {answer['error']}")
        return answer

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process has died
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve(handlers: Handlers) -> None:
    """Answers requests on standard input until it is closed. All other output goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request.pop("do")](**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def peak_process_mb() -> float:
    """The peak resident memory of this process so far, MB, as Linux counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no VmHWM")
