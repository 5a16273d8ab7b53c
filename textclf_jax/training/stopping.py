"""When a run stops or saves by a signal or by the clock: at once, or after the same step in all of its processes."""

from collections import deque
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from textclf_jax.runs.signals import Stopped, StopRequest
from textclf_jax.runtime.device import steps_in_flight
from textclf_jax.runtime.processes import are_several, is_first
from textclf_jax.runtime.programs import compiled
from textclf_jax.runtime.sharding import Placement


class Stopping(Protocol):
    """Asked after each step, while signals are deferred, and after each batch of an evaluation."""

    def after_step(self, *, is_late: bool) -> bool:
        """Looks for a signal, which `StopRequest.signal` then has. Returns whether a checkpoint is due by the clock."""
        ...

    def in_evaluation(self) -> None:
        """Looks for a signal. Raises Stopped where there is one that has not done so by itself."""


class Alone:
    """One process: signals and the clock count as they come."""

    def after_step(self, *, is_late: bool) -> bool:
        """See `Stopping`."""
        return is_late

    def in_evaluation(self) -> None:
        """See `Stopping`; a signal raises by itself."""


class Together:
    """Several processes: what one of them has got counts in all of them, after the same step.

    Each gives its signal and its clock to the devices, which find the largest. That is read as late as the figures of
    the step are, so nothing waits for it. It is the first process whose clock counts.
    """

    def __init__(self, placement: Placement, stop: StopRequest):
        """From here on signals end nothing by themselves."""
        assert placement.mesh is not None
        self._stop, self._placement = stop, placement
        stop.is_shared = True
        self._sharding = NamedSharding(placement.mesh, PartitionSpec(placement.mesh.axis_names))
        shape = jax.ShapeDtypeStruct((placement.num_devices, 2), jnp.int32, sharding=self._sharding)
        self._largest = compiled(
            lambda given: given.max(axis=0), shape, name="agree", mesh=placement.mesh, results=placement.everywhere
        )
        self._is_late_given = False
        self._of_steps: deque[jax.Array] = deque()
        self._of_evaluation: deque[jax.Array] = deque()

    def after_step(self, *, is_late: bool) -> bool:
        """See `Stopping`."""
        self._of_evaluation.clear()
        # once: until it is read the clock stays late, and each step that says so would save
        is_late = is_late and is_first() and not self._is_late_given
        self._is_late_given |= is_late
        self._of_steps.append(self._give(is_late))
        if len(self._of_steps) <= steps_in_flight():
            return False
        is_due = self._read(self._of_steps.popleft())
        self._is_late_given &= not is_due
        return is_due

    def in_evaluation(self) -> None:
        """See `Stopping`."""
        self._of_evaluation.append(self._give(False))
        # one batch late: the device works on the next one meanwhile
        if len(self._of_evaluation) > 1:
            self._read(self._of_evaluation.popleft())
        if self._stop.signal is not None:
            raise Stopped

    def _give(self, is_late: bool) -> jax.Array:
        given = np.array([[self._stop.received or 0, is_late]], np.int32)
        whole = np.broadcast_to(given, (self._placement.num_devices, 2))
        return self._largest(jax.make_array_from_callback(whole.shape, self._sharding, lambda part: whole[part]))

    def _read(self, largest: jax.Array) -> bool:
        signal, is_late = np.asarray(largest).tolist()
        self._stop.signal = self._stop.signal or signal or None
        return bool(is_late)


def make_stopping(placement: Placement, stop: StopRequest) -> Stopping:
    """How a run stops, by how many processes it has."""
    return Together(placement, stop) if are_several() else Alone()
