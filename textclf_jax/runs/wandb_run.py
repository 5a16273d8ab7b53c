"""Weights & Biases in a process of its own: it can fail, hang or die without the training noticing.

`WandbRun` starts this very file as a child and hands it metrics as JSON lines; only the child imports wandb. So there
is no prompt (its standard input is a pipe), no exit hook, signal handler or captured output in the training process,
and what does not end in time is killed.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any

FINISH_SECONDS = 7.0  # with starting and stopping its process a run ends 10 s later at most
JOIN_SECONDS = 1.0
INTERRUPTED_FINISH_SECONDS = 2.0
INIT_SECONDS = 30.0
EXPLAINED = 3  # exit status of a child that has said why it ends


class WandbRun:
    """One W&B run. No method raises or waits, but `finish`, which waits for a bounded time."""

    def __init__(self, init: dict[str, Any]):
        """Starts the run in the background; `init` holds the keyword arguments of `wandb.init`."""
        # -P: the child must not find modules of this folder in place of others of the same name
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,  # Ctrl-C is for the training process alone
        )
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._killed = False
        self._feeder = threading.Thread(target=self._feed, name="wandb-feed", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="wandb-listen", daemon=True)
        self._messages.put(init)
        self._feeder.start()
        self._listener.start()

    def log(self, values: dict[str, float]) -> None:
        """Queues one row of metrics."""
        if self._feeder.is_alive():
            self._messages.put(values)

    def finish(self, *, failed: bool = False) -> None:
        """Ends the run and waits, 7 s at most (2 s after a failure or an interruption), then kills the process."""
        self._messages.put({"exit_code": int(failed)})
        self._messages.put(None)
        seconds = INTERRUPTED_FINISH_SECONDS if failed else FINISH_SECONDS
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._killed = True
            self._process.kill()
            self._process.wait()
            warn(
                f"stopped, as it did not finish within {seconds:g} s; "
                "`wandb sync` uploads what the wandb folder of the run holds"
            )
        self._feeder.join(JOIN_SECONDS)
        self._listener.join(JOIN_SECONDS)

    def _feed(self) -> None:
        try:
            with self._process.stdin as pipe:  # pyright: ignore[reportOptionalContextManager]
                while (message := self._messages.get()) is not None:
                    pipe.write(json.dumps(message) + "\n")
                    pipe.flush()
        except OSError:  # the child is gone; the listener says so
            pass

    def _listen(self) -> None:
        with self._process.stdout as pipe:  # pyright: ignore[reportOptionalContextManager]
            for line in pipe:
                print(line, end="", file=sys.stderr, flush=True)
        status = self._process.wait()
        if status not in (0, EXPLAINED) and not self._killed:
            warn(f"its process ended unexpectedly (status {status})")


def warn(cause: object, service: str = "W&B") -> None:
    """Prints the one line about a service that does not work."""
    text = " ".join(str(cause).split()).rstrip(".")
    print(f"warning: {service}: {text}. The CSV files have every metric.", file=sys.stderr, flush=True)


def main() -> int:
    """The child: takes the arguments of `wandb.init`, rows of metrics and an exit code from standard input."""
    init = json.loads(sys.stdin.readline())
    try:
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS - 2.0,
            x_stats_pid=os.getppid(),  # system metrics of the training process, not of this one
        )
        run = wandb.init(**init, settings=settings)
        run.define_metric("*", step_metric="step")
        if run.url:
            print(f"W&B run: {run.url}", flush=True)
        exit_code = 1  # the training process vanished, unless it says otherwise
        for message in map(json.loads, sys.stdin):
            if "exit_code" in message:
                exit_code = message["exit_code"]
            else:
                run.log(message)
        run.finish(exit_code=exit_code)
    except Exception as error:
        sys.stderr = sys.stdout
        warn(error or type(error).__name__)
        os._exit(EXPLAINED)  # the exit hooks of wandb can wait for an unreachable server
    return 0


if __name__ == "__main__":
    sys.exit(main())
