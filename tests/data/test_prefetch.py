import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from textclf_jax.data import prefetch
from textclf_jax.data.prefetch import prefetched


def test_prefetching_keeps_order_and_raises_the_error_of_the_thread():
    def items():
        yield from range(5)
        raise ValueError("broken row")

    seen = []
    with pytest.raises(ValueError, match="broken row"):
        seen.extend(prefetched(items(), lambda x: x * x))
    seen = []
    stream = prefetched(items(), lambda x: x * x)
    for value in stream:
        seen.append(value)
        if value == 9:
            break
    assert seen == [0, 1, 4, 9]
    stream.close()


def test_closing_ends_the_thread():
    def endless():
        while True:
            yield time.monotonic()

    stream = prefetched(endless(), lambda x: x)
    next(stream)
    assert any(thread.name == "prefetch" for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("how", "code", "last"),
    [("kept", 3, ""), ("error", 1, "ValueError: an error of the main thread")],
)
def test_the_thread_ends_with_the_process_without_a_word(how, code, last):
    """Nobody has closed the stream; the limit is for a process that hangs."""
    script = Path(__file__).with_name("prefetch_at_exit.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, script, how], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == code
    assert done.stderr.count("Traceback") == bool(last)
    assert "".join(done.stderr.splitlines()[-1:]) == last


def test_closing_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(prefetch, "JOIN_SECONDS", 0.01)
    goes_on = threading.Event()

    def prepare(number):
        if number:
            goes_on.wait()
        return number

    stream = prefetched(iter(range(9)), prepare)
    assert next(stream) == 0
    stream.close()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    goes_on.set()
    thread.join()
