"""The endless-looking sequence of training batches: a function of (seed, step), prepared ahead in a thread."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from textclf_jax.data.collate import Batching, BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.training.optimizer import TrainingLength
from textclf_jax.training.tasks import Arrays, Task

TRAIN_MASKS, EVALUATION_MASKS = 1, 2
QUEUE_DEPTH = 2

T = TypeVar("T")
U = TypeVar("U")


class HostStep(NamedTuple):
    """One micro-batch on the host.

    Attributes:
      step: its number, from 0.
      epoch: its epoch, from 0.
      ends_epoch: whether it is the last of its epoch.
      shape: (B, L), padding included.
      tokens: real tokens in it.
      arrays: what the compiled step takes, `scale` included.
    """

    step: int
    epoch: int
    ends_epoch: bool
    shape: tuple[int, int]
    tokens: int
    arrays: Arrays


def training_stream(
    task: Task, data: Dataset, batching: Batching, length: TrainingLength, start: int
) -> Iterator[HostStep]:
    """Yields the batches of a run from step `start` on, across epochs.

    The scale of each micro-batch makes k accumulated ones give the gradient of the one big batch, however unequal their
    counts. A last incomplete window is filled with empty steps, so that its update happens (not in the reference's
    variant, which drops it and averages the means of micro-batches).
    """
    k, window = length.accumulation, []
    end = length.steps if length.variant == "reference" else length.updates * k
    plans: tuple[int, list[BatchRows]] = (-1, [])
    for step in range(start // k * k, end):
        epoch, index = divmod(step, length.steps_per_epoch)
        if step >= length.steps:
            epoch, rows, plan = length.epochs - 1, None, batching.empty(batching.shapes[0])
        else:
            if plans[0] != epoch:
                plans = epoch, plan_epoch(task, data, batching, epoch)
            rows, plan = data, plans[1][index]
        arrays = task.batch(rows, plan, (task.config.experiment.seed, TRAIN_MASKS, epoch, index))
        # the last epoch ends with the last update, after the empty steps
        ends_epoch = step == end - 1 or (step + 1 < length.steps and index == length.steps_per_epoch - 1)
        window.append(HostStep(step, epoch, ends_epoch, plan.shape, int(arrays["lengths"].sum()), arrays))
        if len(window) == k or step == end - 1:
            _set_scales(window, k, length.variant)
            yield from (host for host in window if host.step >= start)
            window = []


def plan_epoch(task: Task, data: Dataset, batching: Batching, epoch: int) -> list[BatchRows]:
    """The batches of one epoch of training."""
    config = task.config
    return batching.epoch(data.lengths, seed=config.experiment.seed, epoch=epoch, shuffle=config.data.train.shuffle)


def _set_scales(window: list[HostStep], k: int, variant: str) -> None:
    counts = [float(host.arrays["weights"].sum()) for host in window]
    total = sum(counts)
    for host, count in zip(window, counts, strict=True):
        scale = 1.0 / max(count, 1.0) if variant == "reference" else k / max(total, 1.0)
        host.arrays["scale"] = np.float32(scale)  # pyright: ignore[reportArgumentType]


def prefetched(items: Iterator[T], prepare: Callable[[T], U]) -> Iterator[U]:
    """Yields prepare(item) for each item, computed ahead in one thread; an exception there is raised here.

    Closing the generator ends the thread.
    """
    ready: queue.Queue = queue.Queue(QUEUE_DEPTH)
    closed = threading.Event()

    def put(entry) -> bool:
        while not closed.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        try:
            for item in items:
                if not put((prepare(item), None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # raised again in the consumer
            put((None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        closed.set()
        thread.join(timeout=5)
