"""`python victim.py FAULT pretrain NAME`: the real command, with something done to it that is hard to time from afar.

It says "now" when the moment has come. What is slow takes an hour: whoever waits for it in vain sees a hang.
"""

import ctypes
import os
import signal
import sys
import threading
import time

from textclf_jax.cli import main

HOUR = 3600.0


def killed(updates: float, seconds: float) -> None:
    """SIGKILL so many seconds after so many updates."""
    from textclf_jax.observe.progress import Progress

    original, seen = Progress.update, set()
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True

    def update(self, update, **figures):
        original(self, update, **figures)
        if update not in seen:
            seen.add(update)
            if len(seen) == updates:
                timer.start()

    Progress.update = update
    if not updates:
        timer.start()


def slow_compilation() -> None:
    """Compilation never ends, in native code that no Python signal handler interrupts."""
    from textclf_jax.training.plan import Plan

    def training_program(*_):
        mutex, is_deep = ctypes.create_string_buffer(64), threading.Event()
        lock = ctypes.CDLL(None).pthread_mutex_lock
        lock(mutex)
        sys.setswitchinterval(HOUR)  # so that the other thread speaks when this one waits for the lock, not before
        threading.Thread(target=lambda: is_deep.wait() and print("now", flush=True), daemon=True).start()
        is_deep.set()
        lock(mutex)

    Plan.training_program = training_program


def slow_compilation_without_grace() -> None:
    """The first signal does not end it, either."""
    from textclf_jax.runs import signals

    signals.GRACE_SECONDS = HOUR
    slow_compilation()


def slow_training() -> None:
    """Each update takes a fifth of a second."""
    from textclf_jax.observe.progress import Progress

    original = Progress.update

    def update(self, update, **figures):
        original(self, update, **figures)
        if update == 2:
            print("now", flush=True)
        time.sleep(0.2)

    Progress.update = update


def slow_evaluation() -> None:
    """Each batch of an evaluation takes an hour."""
    from textclf_jax.evaluation.evaluator import Evaluator

    original = Evaluator.results

    def results(self, variables, data):
        for result in original(self, variables, data):
            print("now", flush=True)
            time.sleep(HOUR)
            yield result

    Evaluator.results = results


def slow_saving() -> None:
    """A save takes an hour."""
    from textclf_jax.runs.checkpoint import Checkpoints

    def write(*_):
        print("now", flush=True)
        time.sleep(HOUR)

    Checkpoints._write = write


def killed_predicting(parts: float, share: float) -> None:
    """SIGKILL after so many parts of 16 rows, and a share of the next one, have been written."""
    from textclf_jax.evaluation import prediction, resumable_file

    prediction.MOST_AT_ONCE, resumable_file.SAVE_SECONDS = 16, 0.0
    original, written = resumable_file.ResumableFile.write, []

    def write(self, content, position):
        if len(written) == parts:
            self._file.write(content[: int(share * len(content))].encode())
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, content, position)
        written.append(position)

    resumable_file.ResumableFile.write = write


if __name__ == "__main__":
    name, *numbers = sys.argv[1].split(":")
    globals()[name](*map(float, numbers))
    sys.exit(main(sys.argv[2:]))
