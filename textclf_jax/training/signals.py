"""Stopping on request: the first signal asks the loop to save and end, the second ends at once."""

import os
import signal
from types import FrameType


class StopRequest:
    """Catches SIGINT and SIGTERM while it is entered; `signal` is the number of the first one, or None."""

    def __init__(self):
        self.signal: int | None = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, as shells have it; 0 where nothing was asked."""
        return 128 + self.signal if self.signal else 0
