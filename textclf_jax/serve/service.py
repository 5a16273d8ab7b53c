"""A classifier at work: warm before it is ready, one thread that computes, and a limit on requests in progress."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from textclf_jax.serve.batching import Batcher
from textclf_jax.serve.metrics import Metrics
from textclf_jax.serve.reading import Refusal
from textclf_jax.serve.settings import Settings

if TYPE_CHECKING:
    from textclf_jax.evaluation.classifier import Classifier
    from textclf_jax.evaluation.prediction import Prediction

FIRST_TEXT = "The first text is nobody's: it shows that the model answers, and how soon."
RETRY_SECONDS = 1


class State(Enum):
    """Of a service."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Service:
    """A classifier that answers requests.

    Attributes:
      classifier: that answers.
      settings: limits.
      metrics: counts of requests and batches.
      state: only when it is ready, requests are accepted.
      failure: why it does not get ready, or has ended by itself.
      given_up: requests that were accepted, but have no answer because the server had to end.
    """

    def __init__(self, classifier: "Classifier", settings: Settings, note: Callable[[str], None] = lambda text: None):
        """Starts nothing yet; `note` is told when it is ready."""
        self.classifier, self.settings, self._note = classifier, settings, note
        self.metrics = Metrics()
        self.state = State.STARTING
        self.failure: BaseException | None = None
        self._batcher: "Batcher[Prediction]" = Batcher(
            lambda texts: list(classifier.predictions(texts)),
            settings.max_batch,
            settings.latency_ms / 1000,
            self.metrics.count_batch,
        )
        self._lock = threading.Lock()
        self._in_progress = self.given_up = 0
        # it may be in the middle of a compilation when the process is to end
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)

    def start(self) -> None:
        """Compiles all programs, then answers, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Accepts no more requests."""
        with self._lock:
            self.state = State.STOPPING

    def close(self, seconds: float) -> bool:
        """Lets the thread end when everything has its answer; returns whether it did so in time."""
        self._batcher.close()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts a request as one in progress; raises Refusal where it cannot be accepted now."""
        with self._lock:
            if self.state is not State.READY:
                raise self._unavailable(f"the server is {self.state.value}")
            if self._in_progress >= self.settings.max_waiting:
                raise self._unavailable(f"{self._in_progress:,} requests are in progress, as many as the limit")
            self._in_progress += 1
        try:
            yield
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            with self._lock:
                self._in_progress -= 1

    async def predict(self, texts: list[str]) -> "list[Prediction]":
        """Predictions for the texts of a request that is admitted, in their order."""
        parts = await asyncio.gather(*map(asyncio.wrap_future, self._batcher.submit(texts)))
        return [prediction for part in parts for prediction in part]

    def metrics_text(self) -> str:
        """The metrics, as Prometheus reads them."""
        return self.metrics.text(waiting_texts=self._batcher.waiting_texts, requests_in_progress=self._in_progress)

    def _unavailable(self, why: str) -> Refusal:
        return Refusal(503, f"{why}: try again in {RETRY_SECONDS} s", {"retry-after": str(RETRY_SECONDS)})

    def _work(self) -> None:
        try:
            started = time.monotonic()
            self.classifier.warm_up()
            list(self.classifier.predictions([FIRST_TEXT]))  # may compile what belongs to no shape
            self._batcher.try_out(FIRST_TEXT)
            with self._lock:
                if self.state is State.STARTING:
                    self.state = State.READY
                    self._note(f"ready after {time.monotonic() - started:.1f} s")
            self._batcher.run()
        except BaseException as error:
            self.failure = error
