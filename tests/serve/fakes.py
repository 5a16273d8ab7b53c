"""A classifier without a model, and a server in this process."""

import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from textclf_jax.serve.service import Service, State
from textclf_jax.serve.settings import Settings

LABELS = ("money", "sport", "<b>&")
PATIENCE_SECONDS = 900.0  # after which a test counts as hanging, however busy the machine is


class Said(NamedTuple):
    """What `textclf_jax.Prediction` has."""

    text: str
    label: str
    probabilities: np.ndarray
    is_empty: bool = False
    is_cut: bool = False
    is_unknown: bool = False
    is_cut_for_one: bool = False
    is_unsure: bool = False
    several: tuple[str, ...] | None = None


class FakeClassifier:
    """Answers by a checksum of the text; notes the texts of each batch, and can be held up.

    Attributes:
      batches: the texts that it was asked for at once.
      entered: set when it begins to answer.
      free: while this is not set, it does not answer.
    """

    labels, max_length = LABELS, 24

    def __init__(self, *, multi_label: bool = False, fails_at: str = "\0"):
        self.multi_label, self._fails_at = multi_label, fails_at
        self.batches: list[list[str]] = []
        self.entered, self.free = threading.Event(), threading.Event()
        self.free.set()

    def warm_up(self) -> None:
        assert self.free.wait(PATIENCE_SECONDS)

    def predictions(self, texts: Iterable[str]) -> Iterator[Any]:
        self.batches.append(list(texts))
        self.entered.set()
        assert self.free.wait(PATIENCE_SECONDS)
        for text in texts:
            if self._fails_at in text:
                raise RuntimeError("this text breaks the model")
            yield said(text, multi_label=self.multi_label)


def said(text: str, *, multi_label: bool = False) -> Said:
    """The answer to a text."""
    shares = np.array([1 + (zlib.crc32(text.encode()) >> shift & 255) for shift in (0, 8, 16)], np.float64)
    shares /= shares.sum()
    several = tuple(label for label, share in zip(LABELS, shares, strict=True) if share > 0.3)
    return Said(
        *(text, LABELS[int(shares.argmax())], shares),
        is_empty=not text.strip(),
        is_unsure=text.startswith("who knows"),
        several=several if multi_label else None,
    )


@contextmanager
def running(classifier: FakeClassifier, **limits: Any) -> Iterator[Service]:
    """A service that has been started."""
    service = Service(classifier, Settings(latency_ms=0, **limits))  # pyright: ignore[reportArgumentType]
    service.start()
    try:
        yield service
    finally:
        classifier.free.set()
        service.stop()
        assert service.close(PATIENCE_SECONDS)


@contextmanager
def at_address(app: Any) -> Iterator[str]:
    """The URL of an application that answers over HTTP."""
    import uvicorn

    from textclf_jax.serve.running import listen, url_of

    with listen("127.0.0.1", 0) as listener:
        settings: dict[str, Any] = {"log_config": None, "log_level": "error", "lifespan": "off", "ws": "none"}
        server = uvicorn.Server(uvicorn.Config(app, **settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def wait_until(condition: Any) -> None:
    """Waits for what another thread brings about."""
    event = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.005)):
        if condition():
            return
        event.wait(0.005)
    raise AssertionError("it never happened")


def ready(service: Service) -> Service:
    """The service, when it accepts requests."""
    wait_until(lambda: service.state is not State.STARTING)
    return service
