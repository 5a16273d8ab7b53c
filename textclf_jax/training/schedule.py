"""How long a run is, and its learning rate by update."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from textclf_jax.config.training import Training
from textclf_jax.errors import UserError

Schedule = Callable[[Any], Any]


class TrainingLength(NamedTuple):
    """How long a run is. A step is one micro-batch, an update is `accumulation` steps.

    Attributes:
      steps_per_epoch: steps on data of a whole epoch.
      epochs: those that are begun; `max_updates` may end the last one early.
      accumulation: steps an update.
      variant: "standard" or "reference".
      max_updates: where the run ends; None: at the end of its epochs.
    """

    steps_per_epoch: int
    epochs: int
    accumulation: int
    variant: str
    max_updates: int | None = None

    @property
    def steps(self) -> int:
        """Steps on data. The last window may be incomplete; it is filled with empty steps (or dropped: reference)."""
        whole = self.steps_per_epoch * self.epochs
        return whole if self.max_updates is None else min(whole, self.max_updates * self.accumulation)

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


def training_length(training: Training, rows: int) -> TrainingLength:
    """How long a run on so many rows is.

    Raises:
      UserError: there would be no update, or the epochs are over before `max_updates`.
    """
    steps = -(-rows // training.batch_size)
    whole = TrainingLength(steps, training.epochs, training.grad_accum_steps, training.variant)
    if whole.updates == 0:
        raise UserError(f"{steps} steps an epoch are fewer than training.grad_accum_steps: there would be no update")
    if training.max_updates is None:
        return whole
    needed = epochs_begun(training.max_updates, steps, training.grad_accum_steps)
    if needed > training.epochs:
        raise UserError(
            f"training.max_updates {training.max_updates} is not reached: an epoch has {steps} steps, so "
            f"training.epochs {training.epochs} gives {whole.updates} updates. Set training.epochs to {needed} or "
            "more, or training.max_updates to null."
        )
    return whole._replace(epochs=needed, max_updates=training.max_updates)


def epochs_begun(updates: int, steps_per_epoch: int, accumulation: int) -> int:
    """The epochs that so many updates begin: the least that `training.epochs` must be for them."""
    return (updates - 1) * accumulation // steps_per_epoch + 1


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
