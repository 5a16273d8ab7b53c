"""Texts of several requests computed together: one thread computes, and requests wait for it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

REMEMBERED_BATCHES = 16  # whose median says how long the next one may take: other programs may have held up some
PATIENCE = 0.25  # of what a text saves in company: when nobody has come for so long, the next batch starts
TRIED_TEXTS, TRIALS = 8, 2

Answer = TypeVar("Answer")


@dataclass
class Job(Generic[Answer]):
    """Texts of one request that are computed together.

    Attributes:
      texts: at most as many as a batch may have.
      arrived: when, in seconds of `time.monotonic`.
      answers: those of the texts, in their order.
    """

    texts: list[str]
    arrived: float
    answers: Future[list[Answer]] = field(default_factory=Future)


def seconds_to_wait(
    now: float, oldest: float, latest: float, *, batch_seconds: float, saved_seconds: float, budget: float
) -> float:
    """How long a batch that is not full may wait for more requests.

    It starts when nobody has come for a share of what a text saves that is computed with others: for those who arrive
    together, one batch is worth that wait. Who has just got an answer may ask again at once, and is waited for in the
    same way. It starts at the latest when its oldest request can just be answered within the budget.

    Args:
      now: the time.
      oldest: when the first of the waiting requests arrived.
      latest: when the last of them arrived, or the last batch ended, whichever was later.
      batch_seconds: that a batch takes.
      saved_seconds: see `saved_by_company`.
      budget: seconds from arrival to answer.

    Returns:
      Seconds; 0 or less where the batch is to start.
    """
    return min(latest + PATIENCE * saved_seconds, oldest + budget - batch_seconds) - now


def saved_by_company(alone: float, together: float, count: int) -> float:
    """What a text saves that is computed with others instead of alone: the part of the time that all of them share.

    Args:
      alone: seconds that one text takes.
      together: seconds that `count` of them take, 2 or more.

    Returns:
      Seconds: from 0, where each text adds its own time, to `alone`, where others cost nothing.
    """
    return min(max((count * alone - together) / (count - 1), 0.0), alone)


class Batcher(Generic[Answer]):
    """A queue of texts, and the loop that computes them in batches. Requests come from any thread."""

    def __init__(
        self,
        compute: Callable[[list[str]], Sequence[Answer]],
        max_batch: int,
        budget: float,
        note: Callable[[int], None] = lambda texts: None,
    ):
        """Computes nothing yet.

        Args:
          compute: gives an answer for each text.
          max_batch: most texts that it gets at once.
          budget: seconds from a request's arrival to its answer that waiting for others may not exceed.
          note: is told how many texts each batch had.
        """
        self._compute, self._max_batch, self._budget, self._note = compute, max_batch, budget, note
        self._jobs: deque[Job[Answer]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds: deque[float] = deque(maxlen=REMEMBERED_BATCHES)
        self._ended = self._saved = 0.0

    @property
    def waiting_texts(self) -> int:
        """Texts that are not being computed yet."""
        with self._changed:
            return sum(len(job.texts) for job in self._jobs)

    def submit(self, texts: Sequence[str]) -> list[Future[list[Answer]]]:
        """Lets texts wait for their turn; many of them are several jobs.

        Returns:
          Their answers, part by part.
        """
        now, size = time.monotonic(), self._max_batch
        jobs: list[Job[Answer]] = [Job(list(texts[i : i + size]), now) for i in range(0, len(texts), size)]
        with self._changed:
            if self._closed:
                raise RuntimeError("the server has stopped")
            self._jobs += jobs
            self._changed.notify()
        return [job.answers for job in jobs]

    def try_out(self, text: str) -> None:
        """Computes a text that nobody asked for, alone and with others, to know how long that takes.

        Raises what `compute` raises.
        """
        count = min(TRIED_TEXTS, self._max_batch)
        alone, together = ([self._timed([text] * size)[1] for _ in range(TRIALS)] for size in (1, count))
        if count > 1:
            self._saved = saved_by_company(min(alone), min(together), count)

    def run(self) -> None:
        """Computes, until it is closed and everything has its answer."""
        while batch := self._next():
            self._answer(batch)

    def close(self) -> None:
        """Lets `run` end once nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _next(self) -> list[Job[Answer]]:
        """Waits for a batch; none where there will be no more."""
        with self._changed:
            while True:
                if not self._jobs:
                    if self._closed:
                        return []
                    self._changed.wait()
                elif (wait := self._wait()) > 0:
                    self._changed.wait(wait)
                elif batch := self._take():
                    return batch

    def _wait(self) -> float:
        if self._closed or sum(len(job.texts) for job in self._jobs) >= self._max_batch:
            return 0.0
        oldest, newest = self._jobs[0].arrived, self._jobs[-1].arrived
        usual = median(self._seconds) if self._seconds else 0.0
        return seconds_to_wait(
            *(time.monotonic(), oldest, max(newest, self._ended)),
            batch_seconds=usual,
            saved_seconds=self._saved,
            budget=self._budget,
        )

    def _take(self) -> list[Job[Answer]]:
        """The next jobs, without those whose request was given up."""
        batch, size = [], 0
        while self._jobs and (size := size + len(self._jobs[0].texts)) <= self._max_batch:
            batch.append(self._jobs.popleft())
        return [job for job in batch if job.answers.set_running_or_notify_cancel()]

    def _answer(self, batch: list[Job[Answer]]) -> None:
        texts = [text for job in batch for text in job.texts]
        try:
            answers, _ = self._timed(texts)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answers.set_exception(error)
                return
            for job in batch:  # only the one that is to blame is to fail
                self._answer([job])
            return
        self._note(len(texts))
        start = 0
        for job in batch:
            job.answers.set_result(answers[start : start + len(job.texts)])
            start += len(job.texts)

    def _timed(self, texts: list[str]) -> tuple[list[Answer], float]:
        """Answers, and the seconds that they took."""
        started = time.monotonic()
        answers = list(self._compute(texts))
        self._ended = time.monotonic()
        self._seconds.append(self._ended - started)
        return answers, self._seconds[-1]
