import subprocess
import sys
import time

import pytest

from benchmarks.worker import OutOfTime, Worker, WorkerFailed


@pytest.fixture
def worker(tmp_path):
    with Worker("tests.benchmarks.echo", tmp_path / "log") as worker:
        yield worker


def test_it_answers_and_prints_elsewhere(worker, tmp_path):
    assert worker.ask("echo", a=1, b=[2.5, None]) == {"a": 1, "b": [2.5, None]}
    assert "no answer" in (tmp_path / "log").read_text()


def test_an_error_is_told_and_the_worker_lives_on(worker):
    with pytest.raises(WorkerFailed, match=r"fail: ValueError: no such thing$"):
        worker.ask("fail")
    assert worker.ask("echo") == {}


def test_death_is_told_with_the_last_words(worker):
    with pytest.raises(WorkerFailed, match="die died: out of memory"):
        worker.ask("die")
    with pytest.raises(WorkerFailed, match="died"):
        worker.ask("echo")


def test_it_is_not_waited_for_without_end(worker):
    with pytest.raises(WorkerFailed, match="took over"):
        worker.ask("sleep", timeout_seconds=0.2)


def test_a_failed_request_is_remembered(worker):
    worker.ask("echo")
    assert not worker.failed
    with pytest.raises(WorkerFailed):
        worker.ask("fail")
    assert worker.failed


def test_the_deadline_of_the_suite_comes_before_the_limit_of_a_request(worker):
    worker.deadline = time.monotonic() + 0.2
    with pytest.raises(OutOfTime):
        worker.ask("sleep", timeout_seconds=50.0)
    with pytest.raises(OutOfTime):
        worker.ask("echo")


def test_peak_memory_grows():
    """In a process of its own: this one may have held more before."""
    code = (
        "from benchmarks.worker import peak_process_mb\n"
        "before = peak_process_mb()\n"
        "block = bytearray(200_000_000)\n"
        "block[::4096] = b'x' * len(block[::4096])\n"
        "print(before, peak_process_mb())"
    )
    before, after = map(float, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert before + 190 < after < before + 250
