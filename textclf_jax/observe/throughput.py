"""How fast a run is: real tokens a second, MFU and padding waste, counted on the host from shapes and a clock."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Speed(NamedTuple):
    """The speed since the last row of the log.

    Attributes:
      tokens_per_second: real tokens, padding not counted.
      mfu: the step's matrix products, in FLOP/s, as a share of the device's limit; None where that is not known.
      padding_waste: share of the computed tokens that is padding.
    """

    tokens_per_second: float
    mfu: float | None
    padding_waste: float

    def figures(self) -> dict[str, float]:
        """What there is of it, to five significant digits, for the log: the MFU of a tiny model is small, not zero."""
        return {name: float(f"{value:.5g}") for name, value in self._asdict().items() if value is not None}


class Throughput:
    """Adds up steps. A step takes the time since the one before it; pauses do not count."""

    def __init__(self, flops_of: Callable[[tuple[int, int]], int], limit: float | None):
        """Begins to count.

        Args:
          flops_of: FLOPs of a step by the shape (B, L) of its batch.
          limit: FLOP/s that the device could reach, or None.
        """
        self._flops_of, self._limit = flops_of, limit
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
        mfu = self._flops / seconds / self._limit if self._limit else None
        return Speed(self._real / seconds, mfu, 1.0 - self._real / max(self._computed, 1))
