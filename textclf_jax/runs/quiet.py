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


def _is_no_orbax_task(record: logging.LogRecord) -> bool:
    return "orbax" not in record.getMessage()


@contextmanager
def quiet_orbax() -> Iterator[None]:
    """Drops what Orbax and asyncio log in here: what is wrong with a checkpoint is raised, and said by us."""
    # These two stay. Orbax gives up at the first array that fails and closes its event loop. The other arrays report to
    # it up to 6 ms after the call, even after the manager was closed; asyncio reports failed tasks when they are
    # collected
    if not isinstance(sys.unraisablehook, _ClosedLoopHook):
        sys.unraisablehook = _ClosedLoopHook(sys.unraisablehook)
    logging.getLogger("asyncio").addFilter(_is_no_orbax_task)

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
