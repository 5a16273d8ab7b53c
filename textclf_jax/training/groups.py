"""Steps that go together: successive batches of one shape, which one execution of a compiled program takes.

On a CPU each execution begins with memory that the kernel has to clear, and with a pause: several steps share that. A
GPU keeps its memory and has the next execution queued already, so there each step is one.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from textclf_jax.training.stream import HostStep
from textclf_jax.training.tasks import Arrays

STEPS_AT_ONCE = 4
# at the device's limit, three at half of it: whoever stops a run, or looks at its progress, waits for the last step
SECONDS_AT_ONCE = 1.5


class Group(NamedTuple):
    """One group.

    Attributes:
      hosts: its steps, at least one.
      arrays: their batches, stacked, each [G, ...] with G of `room_for_steps`; what comes after the last repeats it.
    """

    hosts: tuple[HostStep, ...]
    arrays: Arrays

    @property
    def shape(self) -> tuple[int, int]:
        """(B, L) of each batch."""
        return self.hosts[0].shape

    @property
    def count(self) -> np.int32:
        """How many steps there are."""
        return np.int32(len(self.hosts))


def room_for_steps() -> int:
    """The most steps G that one execution takes."""
    return STEPS_AT_ONCE if jax.default_backend() == "cpu" else 1


def grouped(
    hosts: Iterator[HostStep], least_seconds: Callable[[tuple[int, int]], float], ends: Callable[[HostStep], bool]
) -> Iterator[Group]:
    """Yields groups of steps in their order, as large as they can be.

    Args:
      hosts: the steps.
      least_seconds: what a step on a batch of a shape (B, L) takes at the device's limit; 0 where that is not known.
      ends: whether a step is to be the last of its group.
    """
    group: list[HostStep] = []
    for host in hosts:
        if group and host.shape != group[0].shape:
            yield _group(group)
            group = []
        group.append(host)
        is_full = len(group) == room_for_steps() or (len(group) + 1) * least_seconds(host.shape) > SECONDS_AT_ONCE
        if is_full or ends(host):
            yield _group(group)
            group = []
    if group:
        yield _group(group)


def _group(hosts: list[HostStep]) -> Group:
    repeated = hosts + hosts[-1:] * (room_for_steps() - len(hosts))
    return Group(tuple(hosts), stacked([host.arrays for host in repeated]))


def stacked(batches: list[Arrays]) -> Arrays:
    """G batches as one, each array with a leading axis [G]."""
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def on_device(group: Group) -> Group:
    """The group with its arrays on the device."""
    return group._replace(arrays=jax.device_put(group.arrays))
