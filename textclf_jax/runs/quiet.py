"""Silence around calls of Orbax."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _ClosedLoopHook:
    """A `sys.unraisablehook` that drops reports to a closed event loop, and passes on all others."""

    def __init__(self, previous: Callable[["sys.UnraisableHookArgs"], object]):
        self._previous = previous

    def __call__(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            self._previous(unraisable)


@contextmanager
def quiet_orbax() -> Iterator[None]:
    """Drops what Orbax and asyncio log in here: what is wrong with a checkpoint is raised, and said by us."""
    # Not taken away again. Orbax gives up at the first array that fails and closes its event loop; the reads of the
    # other arrays report to it when they end: measured up to 6 ms after the call, and after the manager was closed
    if not isinstance(sys.unraisablehook, _ClosedLoopHook):
        sys.unraisablehook = _ClosedLoopHook(sys.unraisablehook)

    def drop(record: logging.LogRecord) -> bool:
        del record
        return False

    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(drop)  # a filter of its own for each call, as another thread may be in here, too
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)
