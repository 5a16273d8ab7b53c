"""`python victim.py FAULT pretrain NAME`: the real command, with something done to it that is hard to time from afar.

It says "now" when the moment has come.
"""

import ctypes
import sys
import time

from textclf_jax.cli import main


def slow_compilation() -> None:
    """Compilation never ends, in native code that no Python signal handler interrupts."""
    from textclf_jax.training.plan import Plan

    def training_program(*_):
        mutex = ctypes.create_string_buffer(64)
        lock = ctypes.CDLL(None).pthread_mutex_lock
        lock(mutex)
        print("now", flush=True)
        lock(mutex)

    Plan.training_program = training_program


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
    """Each batch of an evaluation takes half a minute."""
    from textclf_jax.evaluation.evaluator import Evaluator

    original = Evaluator.results

    def results(self, variables, data):
        for result in original(self, variables, data):
            print("now", flush=True)
            time.sleep(30)
            yield result

    Evaluator.results = results


def slow_saving() -> None:
    """A save takes half a minute."""
    from textclf_jax.runs.checkpoint import Checkpoints

    def write(*_):
        print("now", flush=True)
        time.sleep(30)

    Checkpoints._write = write


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
