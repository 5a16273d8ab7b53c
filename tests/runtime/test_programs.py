import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from textclf_jax.runtime.programs import Programs


def test_a_program_is_compiled_when_first_asked_for_and_once():
    made, said = [], []
    programs = Programs("training", lambda shape: made.append(shape) or (lambda: shape), said.append)
    assert not made
    assert (2, 8) not in programs
    assert programs[2, 8]() == (2, 8)
    assert programs[2, 8] is programs.compiled[2, 8]
    assert made == [(2, 8)]
    assert (2, 8) in programs
    assert said == ["compiling the training program for 2 x 8 tokens"]


def test_compiling_happens_within_a_pause():
    happened = []

    @contextmanager
    def paused():
        happened.append("begin")
        yield
        happened.append("end")

    programs = Programs("training", lambda shape: happened.append(shape) or (lambda: shape), paused=paused)
    programs.compile((2, 8))
    programs.compile((2, 8))
    assert happened == ["begin", (2, 8), "end"]


def test_threads_that_ask_at_once_wait_for_one_that_compiles():
    made, start = [], threading.Barrier(40)

    def make(shape):
        made.append(shape)
        time.sleep(0.01)  # others come meanwhile
        return lambda: shape

    programs = Programs("prediction", make)

    def ask(number: int):
        start.wait()
        return programs[2, 8 * (number % 3)]()

    with ThreadPoolExecutor(40) as threads:
        found = list(threads.map(ask, range(40)))
    assert found == [(2, 8 * (number % 3)) for number in range(40)]
    assert sorted(made) == [(2, 0), (2, 8), (2, 16)]
