"""Batches of several requests: who is computed with whom, and who gets which answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.serve.fakes import PATIENCE_SECONDS, wait_until
from textclf_jax.serve import batching
from textclf_jax.serve.batching import Batcher, saved_by_company, seconds_to_wait


class Lengths:
    """Answers with the length of each text; the first batch waits until it is let go."""

    def __init__(self, *, held: bool = False):
        self.batches: list[list[str]] = []
        self.entered, self.free = threading.Event(), threading.Event()
        if not held:
            self.free.set()

    def __call__(self, texts: list[str]) -> list[int]:
        self.batches.append(texts)
        self.entered.set()
        assert self.free.wait(PATIENCE_SECONDS)
        if "bad" in texts:
            raise ValueError("bad")
        return [len(text) for text in texts]


@contextmanager
def working(batcher: Batcher[int]) -> Iterator[None]:
    thread = threading.Thread(target=batcher.run)
    thread.start()
    yield
    batcher.close()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def answers(futures) -> list[int]:
    return [answer for future in futures for answer in future.result(PATIENCE_SECONDS)]


@pytest.mark.parametrize(
    ("now", "oldest", "latest", "batch_seconds", "saved_seconds", "wait"),
    [
        (10.0, 10.0, 10.0, 0.04, 0.0, 0.0),  # company saves nothing
        (10.0, 10.0, 10.0, 0.04, 0.04, 0.01),  # a quarter of what it saves, for others to come
        (10.0, 10.0, 10.0, 0.04, 0.02, 0.005),
        (10.01, 10.0, 10.005, 0.04, 0.04, 0.005),  # since the last one came
        (10.0, 9.95, 10.0, 0.04, 0.04, 0.01),
        (10.0, 9.945, 10.0, 0.04, 0.04, 0.005),  # the first one must have its answer at 10.045
        (10.0, 10.0, 10.0, 0.2, 0.2, -0.1),  # a batch takes longer than the budget
    ],
)
def test_how_long_a_batch_waits(now, oldest, latest, batch_seconds, saved_seconds, wait):
    found = seconds_to_wait(now, oldest, latest, batch_seconds=batch_seconds, saved_seconds=saved_seconds, budget=0.1)
    assert found == pytest.approx(wait)


@pytest.mark.parametrize(
    ("together", "saved"),
    [
        (0.1, 0.1),  # others cost nothing
        (0.8, 0.0),  # each adds its own time
        (0.45, 0.05),  # half of the time is shared
        (0.9, 0.0),
        (0.05, 0.1),
    ],
)
def test_what_company_saves(together, saved):
    assert saved_by_company(0.1, together, 8) == pytest.approx(saved)


@pytest.mark.parametrize(("max_batch", "tried"), [(1, [1, 1, 1, 1]), (4, [1, 1, 4, 4]), (32, [1, 1, 8, 8])])
def test_a_text_is_tried_alone_and_in_company(max_batch, tried):
    compute, sizes = Lengths(), []
    Batcher(compute, max_batch, 1.0, sizes.append).try_out("a text")
    assert ([len(batch) for batch in compute.batches], sizes) == (tried, [])


def test_requests_that_come_while_a_batch_is_computed_are_one_batch():
    compute, sizes = Lengths(held=True), []
    batcher = Batcher(compute, 8, 0.0, sizes.append)
    with working(batcher):
        first = batcher.submit(["a"])
        assert compute.entered.wait(PATIENCE_SECONDS)
        later = [batcher.submit(["b" * n, "c"]) for n in range(3)]
        assert batcher.waiting_texts == 6
        compute.free.set()
        assert answers(first) == [1]
        assert [answers(futures) for futures in later] == [[0, 1], [1, 1], [2, 1]]
    assert sizes == [1, 6]
    assert batcher.waiting_texts == 0


def test_no_batch_is_larger_than_it_may_be_and_answers_keep_their_order():
    compute = Lengths(held=True)
    batcher = Batcher(compute, 4, 0.0)
    with working(batcher):
        first = batcher.submit(["a"])
        assert compute.entered.wait(PATIENCE_SECONDS)
        large = batcher.submit(["x" * n for n in range(10)])
        small = batcher.submit(["yyy", "yyyy"])
        compute.free.set()
        assert answers(large) == list(range(10))
        assert (answers(first), answers(small)) == ([1], [3, 4])
    assert [len(batch) for batch in compute.batches] == [1, 4, 4, 4]


def test_a_batch_waits_for_others_until_it_is_full(monkeypatch):
    monkeypatch.setattr(batching, "seconds_to_wait", lambda *times, **more: PATIENCE_SECONDS)
    compute = Lengths()
    batcher = Batcher(compute, 2, 1.0)
    with working(batcher):
        one = batcher.submit(["a"])
        two = batcher.submit(["bb"])
        assert answers(one) + answers(two) == [1, 2]
    assert compute.batches == [["a", "bb"]]


def test_those_who_have_just_got_an_answer_are_waited_for(monkeypatch):
    asked: list[tuple[float, ...]] = []

    def waits(*times: float, batch_seconds: float, saved_seconds: float, budget: float) -> float:
        asked.append((*times, batch_seconds, budget))
        return 0.0

    monkeypatch.setattr(batching, "seconds_to_wait", waits)
    compute = Lengths(held=True)
    batcher = Batcher(compute, 8, 1.0)
    with working(batcher):
        batcher.submit(["first"])
        assert compute.entered.wait(PATIENCE_SECONDS)
        second = batcher.submit(["second"])
        arrived = time.monotonic()
        compute.free.set()
        answers(second)
    now, oldest, latest, batch_seconds, budget = asked[1]
    assert oldest <= arrived <= latest <= now  # the end of the first batch
    assert (batch_seconds > 0, budget) == (True, 1.0)


def test_only_the_request_that_is_to_blame_fails():
    compute = Lengths(held=True)
    batcher = Batcher(compute, 8, 0.0)
    with working(batcher):
        batcher.submit(["first"])
        assert compute.entered.wait(PATIENCE_SECONDS)
        futures = [batcher.submit(["good"])[0], batcher.submit(["bad"])[0], batcher.submit(["better"])[0]]
        compute.free.set()
        assert (answers(futures[:1]), answers(futures[2:])) == ([4], [6])
        with pytest.raises(ValueError, match="bad"):
            futures[1].result(PATIENCE_SECONDS)
        assert answers(batcher.submit(["after"])) == [5]


def test_requests_that_were_given_up_are_not_computed():
    compute = Lengths(held=True)
    batcher = Batcher(compute, 8, 0.0)
    with working(batcher):
        batcher.submit(["first"])
        assert compute.entered.wait(PATIENCE_SECONDS)
        gone, alone = batcher.submit(["gone"])[0], batcher.submit(["here"])[0]
        assert gone.cancel()
        compute.free.set()
        assert answers([alone]) == [4]
        compute.free.clear()
        batcher.submit(["second"])
        wait_until(lambda: len(compute.batches) == 3)
        assert batcher.submit(["gone, too"])[0].cancel()
        compute.free.set()
    assert compute.batches == [["first"], ["here"], ["second"]]


def test_what_waits_is_answered_before_the_end():
    compute = Lengths()
    batcher = Batcher(compute, 2, 1e9)
    waiting = [batcher.submit(["a"])[0] for _ in range(5)]
    batcher.close()
    batcher.run()
    assert answers(waiting) == [1] * 5
    with pytest.raises(RuntimeError, match="stopped"):
        batcher.submit(["late"])
