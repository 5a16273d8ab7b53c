"""How fast a run is: real tokens a second, MFU and padding waste, counted on the host from shapes and a clock."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

# between two measurements of the limit, which take a few tenths of a second
LIMIT_INTERVAL_SECONDS = 30.0


class Speed(NamedTuple):
    """The speed since the last row of the log.

    Attributes:
      tokens_per_second: real tokens, padding not counted.
      mfu: the step's matrix products, in FLOP/s, as a share of the device's limit; None where that is not known, or
        was passed: it must be wrong then.
      padding_waste: share of the computed tokens that is padding.
      seconds: that the steps took; None where that is not told.
    """

    tokens_per_second: float
    mfu: float | None
    padding_waste: float
    seconds: float | None = None

    def figures(self) -> dict[str, float]:
        """What there is of it, to five significant digits, for the log: the MFU of a tiny model is small, not zero."""
        return {name: float(f"{value:.5g}") for name, value in self._asdict().items() if value is not None}


class Throughput:
    """Adds up steps. A step takes the time since the one before it; pauses do not count."""

    def __init__(self, flops_of: Callable[[tuple[int, int]], int], measure_limit: Callable[[], float | None]):
        """Begins to count.

        Args:
          flops_of: FLOPs of a step by the shape (B, L) of its batch.
          measure_limit: gives FLOP/s that the device can reach, or None. A CPU that others used then can do more than
            was measured: where a step does, it is measured again.
        """
        self._flops_of, self._measure_limit = flops_of, measure_limit
        self._limit = 0.0
        self._measure()
        self.restart()

    def restart(self) -> None:
        """Forgets what was counted; the next step takes its time from now on."""
        self.forget()
        self._last = time.perf_counter()

    def forget(self) -> None:
        """Forgets what was counted; what is done from here to the next step counts as that step's time."""
        self._real = self._computed = self._flops = 0
        self._seconds = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time in here does not count."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self._last += time.perf_counter() - before

    def add(self, shape: tuple[int, int], real_tokens: int) -> None:
        """Counts one step that ends now, on a batch of shape (B, L)."""
        before, self._last = self._last, time.perf_counter()
        self._seconds += self._last - before
        self._real += real_tokens
        self._computed += math.prod(shape)
        self._flops += self._flops_of(shape)

    def speed(self) -> Speed:
        """The speed so far."""
        seconds = max(self._seconds, 1e-9)
        waste = 1.0 - self._real / max(self._computed, 1)
        return Speed(self._real / seconds, self._mfu(self._flops / seconds), waste, self._seconds)

    def _mfu(self, rate: float) -> float | None:
        """The share that `rate`, in FLOP/s, is of the limit."""
        if rate > self._limit > 0 and time.perf_counter() >= self._next_measure:
            with self.paused():
                self._measure()
        return rate / self._limit if 0 < self._limit >= rate else None

    def _measure(self) -> None:
        """The limit is the highest one measured so far, 0 where there is none."""
        self._limit = max(self._limit, self._measure_limit() or 0.0)
        self._next_measure = time.perf_counter() + LIMIT_INTERVAL_SECONDS
