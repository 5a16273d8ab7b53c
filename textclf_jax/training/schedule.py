"""How long a run is, and its learning rate by update."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from textclf_jax.config.training import Training

Schedule = Callable[[Any], Any]


class TrainingLength(NamedTuple):
    """How long a run is. A step is one micro-batch, an update is `accumulation` steps.

    Attributes:
      steps_per_epoch, epochs: their product is the number of steps on data.
      accumulation: steps an update.
      variant: "standard" or "reference".
    """

    steps_per_epoch: int
    epochs: int
    accumulation: int
    variant: str

    @property
    def steps(self) -> int:
        """Steps on data. The last window may be incomplete; it is filled with empty steps (or dropped: reference)."""
        return self.steps_per_epoch * self.epochs

    @property
    def last_step(self) -> int:
        """How many steps there are in all, with the empty ones that fill the last window."""
        return self.steps if self.variant == "reference" else self.updates * self.accumulation

    @property
    def updates(self) -> int:
        """Optimizer steps of the whole run."""
        whole = self.steps // self.accumulation
        return whole if self.variant == "reference" else -(-self.steps // self.accumulation)

    @property
    def scheduled_updates(self) -> int:
        """The length of the learning-rate schedule; the reference rounds the updates of each epoch up."""
        if self.variant == "reference":
            return self.epochs * -(-self.steps_per_epoch // self.accumulation)
        return self.updates


def make_schedule(training: Training, scheduled_updates: int, multiplier: float) -> Schedule:
    """The learning rate by update, counted from 0: linear warm-up, then a cosine, a line or a trapezoid.

    Standard: the warm-up of W = floor(updates * warmup_ratio) updates starts at base / (W + 1), so that no update runs
    at rate 0, and the decay would be at base * min_lr_ratio, for every group, one update after the last. A trapezoid
    begins it floor(updates * cooldown_ratio) updates before that. The reference's schedule starts at 0; without
    warm-up it ends every group at the backbone's floor, and it climbs again past its end.

    Args:
      training: rate, kind, warm-up, cool-down, floor and variant.
      scheduled_updates: the length of the schedule.
      multiplier: of the rate, for a group of parameters.

    Source of the trapezoid: Zhai et al. 2022, section 3.5; Hägele et al. 2024, section 3.
    """
    base, warmup = training.learning_rate * multiplier, math.floor(scheduled_updates * training.warmup_ratio)
    if training.schedule != "cosine":
        share = training.cooldown_ratio if training.schedule == "trapezoid" else 1.0
        return _lines(base, training.min_lr_ratio, warmup, math.floor(scheduled_updates * share), scheduled_updates)
    if training.variant == "standard":
        return optax.warmup_cosine_decay_schedule(
            init_value=base / (warmup + 1),
            peak_value=base,
            warmup_steps=warmup,
            decay_steps=max(scheduled_updates, warmup + 1),
            end_value=base * training.min_lr_ratio,
        )

    def reference(count):
        progress = (count - warmup) / max(1, scheduled_updates - warmup)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        if warmup == 0:
            floor = training.learning_rate * training.backbone_lr_mult * training.min_lr_ratio
            return floor + (base - floor) * cosine
        factor = training.min_lr_ratio + (1.0 - training.min_lr_ratio) * cosine
        return base * jnp.where(count < warmup, count / max(1, warmup), factor)

    return reference


def _lines(base: float, floor: float, warmup: int, cooldown: int, end: int) -> Schedule:
    """Linear warm-up to `base`, then constant, then linear to `base * floor` in the last `cooldown` updates."""
    start = max(warmup, end - cooldown)
    corners = {0: base / (warmup + 1), warmup: base, start: base, max(end, start + 1): base * floor}
    updates, rates = jnp.array(list(corners), jnp.float32), jnp.array(list(corners.values()), jnp.float32)
    return lambda count: jnp.interp(count, updates, rates)
