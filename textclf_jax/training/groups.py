"""Steps that go together: successive batches of one shape, which one execution of a compiled program takes.

On a CPU each execution begins with memory that the kernel has to clear, and with a pause: several steps share that. A
GPU keeps its memory and has the next execution queued already, so there each step is one.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from textclf_jax.training.stream import HostStep
from textclf_jax.training.tasks import Arrays, Task

STEPS_AT_ONCE = 4
# a second or two: whoever asks a run to stop, or looks at its progress, waits for the end of an execution
FLOPS_AT_ONCE = 10**12


class Group(NamedTuple):
    """One group.

    Attributes:
      hosts: its steps, 1 to G.
      arrays: their batches, stacked, each [G, ...] with G of `most_at_once`; what comes after the last one repeats it.
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


def most_at_once(task: Task, shape: tuple[int, int]) -> int:
    """The most steps G on batches of a shape (B, L) that one execution takes."""
    if jax.default_backend() != "cpu":
        return 1
    return max(1, min(STEPS_AT_ONCE, FLOPS_AT_ONCE // task.flops(shape, train=True)))


def grouped(task: Task, hosts: Iterator[HostStep], ends: Callable[[HostStep], bool]) -> Iterator[Group]:
    """Yields groups, as large as they can be, of steps in their order; a step for which `ends` is true is the last."""
    group: list[HostStep] = []
    for host in hosts:
        if group and host.shape != group[0].shape:
            yield _group(task, group)
            group = []
        group.append(host)
        if ends(host) or len(group) == most_at_once(task, host.shape):
            yield _group(task, group)
            group = []
    if group:
        yield _group(task, group)


def _group(task: Task, hosts: list[HostStep]) -> Group:
    repeated = hosts + hosts[-1:] * (most_at_once(task, hosts[0].shape) - len(hosts))
    return Group(tuple(hosts), stacked([host.arrays for host in repeated]))


def stacked(batches: list[Arrays]) -> Arrays:
    """G batches as one, each array with a leading axis [G]."""
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def on_device(group: Group) -> Group:
    """The group with its arrays on the device."""
    return group._replace(arrays=jax.device_put(group.arrays))
