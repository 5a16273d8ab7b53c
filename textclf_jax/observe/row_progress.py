"""How far a command is with the rows of a file: on standard error, since results may go to standard output."""

import sys
import time

from textclf_jax.observe.progress import DRAW_INTERVAL_SECONDS, PLAIN_INTERVAL_SECONDS, Clock


class RowProgress:
    """Shows rows done, rows a second and the time left: in one line of a terminal, elsewhere in a line each 10 s.

    Nothing is shown of what is done at once.
    """

    def __init__(self, total: int, *, start: int = 0):
        """Prepares the display.

        Args:
          total: rows of the file.
          start: the rows that were done before, when resuming.
        """
        self._total, self._start, self._clock = total, start, Clock(total)
        self._began = self._shown = time.monotonic()
        self._is_terminal, self._is_open = sys.stderr.isatty(), False

    def update(self, rows: int) -> None:
        """Reports that so many rows are done."""
        now, left = time.monotonic(), self._clock.left(rows)
        interval = DRAW_INTERVAL_SECONDS if self._is_terminal else PLAIN_INTERVAL_SECONDS
        if rows >= self._total or now - self._shown < interval:
            return
        self._shown = now
        speed = (rows - self._start) / max(now - self._began, 1e-9)
        line = f"{rows:,} of {self._total:,} rows  {speed:,.0f} rows/s  {left} left"
        end = "\r" if self._is_terminal else "\n"
        print(line.ljust(60) if self._is_terminal else line, end=end, file=sys.stderr, flush=True)
        self._is_open = self._is_terminal

    def close(self) -> None:
        """Leaves the line of the terminal."""
        if self._is_open:
            print(file=sys.stderr, flush=True)
            self._is_open = False
