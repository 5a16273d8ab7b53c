"""Prepares the next items in a thread while the current one is used."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar, cast

QUEUE_DEPTH = 2
POLL_SECONDS = 0.1
JOIN_SECONDS = 5.0

T = TypeVar("T")
U = TypeVar("U")


def prefetched(items: Iterator[T], prepare: Callable[[T], U]) -> Generator[U, None, None]:
    """Yields prepare(item) for each item, up to QUEUE_DEPTH of them ahead of use.

    A consumer that stops early closes the generator, for instance with `contextlib.closing`: that ends the thread. So
    does the end of the process, which waits for the item at work: a daemon, stopped anywhere in native code, can end in
    a traceback or a crash.

    Args:
      items: read in the thread.
      prepare: called in the thread.

    Raises:
      Whatever `items` or `prepare` raised in the thread.
    """
    ready: queue.Queue[tuple[U | None, BaseException | None]] = queue.Queue(QUEUE_DEPTH)
    closed = threading.Event()

    def put(entry: tuple[U | None, BaseException | None]) -> bool:
        # while the interpreter ends it waits for this thread, and its main thread is over
        while not closed.is_set() and threading.main_thread().is_alive():
            try:
                ready.put(entry, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((prepare(item), None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # raised again in the consumer
            put((None, error))

    thread = threading.Thread(target=work, name="prefetch")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield cast(U, item)
    finally:
        closed.set()
        # not for ever: who closes may have a state to save
        thread.join(timeout=JOIN_SECONDS)
