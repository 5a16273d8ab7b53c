"""The pure functions that are compiled: training steps, one evaluation step, and the loss inside them."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int

from textclf_jax.config import Training
from textclf_jax.model.attention.favor import redraw_features
from textclf_jax.model.losses import cross_entropy
from textclf_jax.model.packing import packing_of
from textclf_jax.training.optimizer import Optimizer, Schedule, zero_frozen

Batch = dict[str, Any]
Sums = dict[str, Array]


class TrainState(struct.PyTreeNode):
    """All that changes while training, and nothing else: with the config it determines the rest of the run.

    Attributes:
      step: () int32, micro-batches seen.
      params: the parameter tree, float32.
      collections: further variables of the model ("features" of kind favor), or empty.
      opt_state: of the optimizer, moments and accumulated gradient included.
    """

    step: Array
    params: Any
    collections: Any
    opt_state: Any


class StepSettings(NamedTuple):
    """What a training step needs besides state and batch; fixed for a run.

    Attributes:
      module: a model from `model.heads`.
      tx: from `optimizer.make_optimizer`.
      schedule: learning rate by update, for the logs.
      training: the `training` section.
      seed: of dropout and hashing.
      frozen_steps: steps before frozen parameters begin to learn.
    """

    module: nn.Module
    tx: Optimizer
    schedule: Schedule
    training: Training
    seed: int
    frozen_steps: int


def forward(
    module: nn.Module, variables: Any, batch: Batch, *, train: bool, rngs: Any = None
) -> tuple[Sums, Array | None]:
    """Runs the model on a batch.

    Args:
      module: a masked language model, whose batch has `positions` [P], or a classifier.
      variables: the model's collections.
      batch: input_ids [B, L], lengths [B], targets and weights [P] or [B], `positions` [P] for MLM.
      train: whether dropout is on; then `rngs` has the streams "dropout" and "hashing".

    Returns:
      Sums over the weighted predictions (loss, correct, count), each () float32, and a classifier's logits [B, C].
    """
    inputs, targets = (batch["input_ids"], batch["lengths"]), batch["targets"]
    options: dict[str, Any] = {"packing": packing_of(batch), "train": train, "rngs": rngs}
    logits: Any = None
    if "positions" in batch:
        losses, hits = module.apply(variables, *inputs, batch["positions"], targets, **options)
    else:
        logits = module.apply(variables, *inputs, **options)
    with jax.named_scope("loss"):
        if logits is not None:
            losses, hits = cross_entropy(logits, targets)
        weights = batch["weights"]
        # a selection, not a product: the logits of rows that do not count may be anything
        summed = jnp.where(weights > 0, losses * weights, 0.0).sum()
        sums = {"loss": summed, "correct": (hits * weights).sum(), "count": weights.sum()}
    return sums, logits


def train_steps(
    state: TrainState, batches: Batch, count: Int[Array, ""], *, settings: StepSettings
) -> tuple[TrainState, Sums]:
    """Takes steps one after the other, each that of `train_step` to the bit, however many are taken at once.

    Args:
      state: before the first.
      batches: G of one shape, stacked: each array of a batch has a leading axis [G].
      count: how many of them are taken, from the first on; not looked at where G is 1.

    Returns:
      The state after the last, and the figures of each step, [G], 0 where none was taken.
    """
    # traced once, for the shapes of its figures and for the loop
    step = jax.jit(functools.partial(train_step, settings=settings))
    room = len(batches["scale"])

    def batch(i: Any) -> Batch:
        return jax.tree.map(lambda stacked: stacked[i], batches)

    def take(i: Array, taken: tuple[TrainState, Sums]) -> tuple[TrainState, Sums]:
        state, figures = step(taken[0], batch(i))
        return state, jax.tree.map(lambda row, figure: row.at[i].set(figure), taken[1], figures)

    shapes = jax.eval_shape(step, state, batch(0))[1]
    none_yet = jax.tree.map(lambda shape: jnp.zeros(room, shape.dtype), shapes)
    return jax.lax.fori_loop(0, count if room > 1 else 1, take, (state, none_yet))


def train_step(state: TrainState, batch: Batch, *, settings: StepSettings) -> tuple[TrainState, Sums]:
    """Handles one micro-batch: loss, gradient, accumulation, and an update where a window ends.

    The gradient is that of batch["scale"] times the summed loss. A micro-batch whose gradient is not finite changes
    nothing but the step.

    Returns:
      The new state and the sums of `forward`, with `grad_norm` (of the latest update, before clipping), `lr` (of the
      update this step belongs to), `updates` (finished ones) and `skipped` (1 where the gradient was not finite).
    """
    key = jax.random.fold_in(jax.random.key(settings.seed), state.step)
    rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(("dropout", "hashing"))}
    collections = _redrawn(state, jax.random.fold_in(key, len(rngs)), settings)

    def loss_fn(params):
        sums, _ = forward(settings.module, {"params": params, **collections}, batch, train=True, rngs=rngs)
        return sums["loss"] * batch["scale"], sums

    (_, sums), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    grads = zero_frozen(grads, settings.training, state.step, settings.frozen_steps)
    opt_state: Any
    with jax.named_scope("optimizer"):
        updates, opt_state = settings.tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    sums |= {
        "grad_norm": optax.tree.get(opt_state, "grad_norm"),
        "lr": jnp.asarray(settings.schedule(state.opt_state.gradient_step), jnp.float32),
        "updates": opt_state.gradient_step,
        "skipped": opt_state.skip_state["should_skip"].astype(jnp.int32),
    }
    return TrainState(state.step + 1, params, collections, opt_state), sums


def _redrawn(state: TrainState, key: Array, settings: StepSettings) -> Any:
    """The collections, with new random features every `redraw_interval` steps where the attention kind has them."""
    favor = settings.module.config.attention.favor  # pyright: ignore[reportAttributeAccessIssue]
    if "features" not in state.collections or not favor.redraw_interval:
        return state.collections
    due = (state.step % favor.redraw_interval == 0) & (state.step > 0)
    old = state.collections["features"]
    return {**state.collections, "features": jax.lax.cond(due, lambda: redraw_features(old, key, favor), lambda: old)}


def evaluation_step(variables: Any, batch: Batch, *, module: nn.Module) -> tuple[Sums, Array | None]:
    """Runs the model without dropout: the sums of `forward`, and a classifier's logits [B, C] (None for MLM)."""
    return forward(module, variables, batch, train=False)
