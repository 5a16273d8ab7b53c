"""What processes other than the first have in place of files: they write nothing, and take part in what is sent."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import PyTree

from textclf_jax.runs.metrics_files import Number
from textclf_jax.runtime.agreement import gathered


class NoCheckpoints:
    """In place of `Checkpoints`.

    Attributes:
      saved_step: the latest step that the first process has saved, or None.
    """

    def __init__(self, saved_step: int | None):
        self.saved_step = saved_step

    def save(
        self, step: int, state: PyTree, position: dict[str, Any], *, before_save: Callable[[PyTree], None] | None = None
    ) -> None:
        """Sends the parts of a state that are here to the first process, which saves it."""
        del position, before_save
        jax.tree.map(gathered, state)
        self.saved_step = step

    def check(self) -> None:
        """Nothing can have failed."""

    def wait(self) -> None:
        """There is nothing to wait for."""


class NoLogger:
    """In place of `RunLogger`."""

    def log(self, split: str, metrics: Mapping[str, Number], *, step: int, update: int, epoch: Number) -> None:
        """Leaves a row to the first process."""

    def log_throughput(self, figures: Mapping[str, Number], *, step: int, update: int, epoch: Number) -> None:
        """Leaves a row to the first process."""

    def sync(self) -> None:
        """There is no file."""

    def close(self, *, failed: bool = False) -> None:
        """Nothing is open."""
