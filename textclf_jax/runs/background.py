"""Work beside the training: jobs in one thread, in order, and the host memory that they read a state from."""

import queue
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class Background:
    """One thread that does jobs in the order they were given.

    After a job has failed the later ones are dropped, and each call raises what it raised.
    """

    def __init__(self, name: str):
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._open_jobs = 0
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Queues a job. Raises what an earlier one raised."""
        self.check()
        with self._changed:
            self._open_jobs += 1
        self._jobs.put(job)

    def check(self) -> None:
        """Raises what a job raised; does not wait."""
        if self._failure is not None:
            raise self._failure

    def wait(self) -> None:
        """Waits until all jobs are done. Raises what one raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._open_jobs == 0)
        self.check()

    def close(self) -> None:
        """Ends the thread after the jobs it has; raises nothing."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._failure is None:
                    job()
            except BaseException as error:  # raised again in the caller's thread
                self._failure = error
            with self._changed:
                self._open_jobs -= 1
                self._changed.notify_all()


class Snapshot:
    """Host memory for one tree of arrays, used again each time: fresh memory costs ten times the copy itself."""

    def __init__(self, like: Any):
        """Reserves memory for trees of this structure, shapes and dtypes."""
        # filled, so that the pages are there when the first copy comes
        self._arrays = jax.tree.map(lambda leaf: np.full(leaf.shape, 0, leaf.dtype), like)

    def take(self, tree: Any) -> Any:
        """Copies the values of a tree into the memory; returns it as a tree of numpy arrays, good until the next call.

        A view would not do: the training step takes over the memory of the state it is given.
        """
        jax.tree.map(lambda array, leaf: np.copyto(array, np.asarray(leaf)), self._arrays, tree)
        return self._arrays
