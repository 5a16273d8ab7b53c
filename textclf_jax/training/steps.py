"""The pure function that is compiled for training: one micro-batch, from loss to update."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array

from textclf_jax.config.training import Training
from textclf_jax.kernels.cross_entropy import smoothed_cross_entropy
from textclf_jax.model.heads import Batch, Sums, forward
from textclf_jax.runtime.sharding import put_together
from textclf_jax.training.optimizer import zero_frozen
from textclf_jax.training.schedule import Schedule


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

    @property
    def variables(self) -> dict[str, Any]:
        """What the model is applied with."""
        return {"params": self.params, **self.collections}


class StepSettings(NamedTuple):
    """What a training step needs besides state and batch; fixed for a run.

    Attributes:
      module: a model from `model.heads`.
      tx: from `optimizer.make_optimizer`.
      schedule: learning rate by update, for the logs: the backbone's; the head's differs by `head_lr_mult`,
        those of its layers by `layer_lr_decay`.
      training: the `training` section.
      seed: of dropout and hashing.
      frozen_steps: steps before frozen parameters begin to learn.
      class_weights: of a classifier's C classes; None where all count the same.
    """

    module: nn.Module
    tx: optax.GradientTransformation
    schedule: Schedule
    training: Training
    seed: int
    frozen_steps: int
    class_weights: tuple[float, ...] | None = None


def initial_state(variables: dict[str, Any], tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step. Pure; moments and counts are zero."""
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    return TrainState(jnp.zeros((), jnp.int32), variables["params"], collections, tx.init(variables["params"]))


def train_step(state: TrainState, batch: Batch, *, settings: StepSettings) -> tuple[TrainState, Sums]:
    """Handles one micro-batch: loss, gradient, accumulation, and an update where a window ends.

    The gradient is that of batch["scale"] times `training_loss`. A micro-batch whose gradient is not finite changes
    nothing but counts.

    Args:
      state: before the step; the compiled program overwrites it.
      batch: the arrays of a `MicroBatch`.
      settings: fixed for a run.

    Returns:
      The new state and the sums of `forward`, with `grad_norm` (of the latest update, before clipping), `lr` (of the
      update this step belongs to) and `skipped` (1 where the gradient was not finite).
    """
    key = jax.random.fold_in(jax.random.key(settings.seed), state.step)
    rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(("dropout", "hashing"))}
    redraw: Any = settings.module.redraw  # pyright: ignore[reportAttributeAccessIssue]
    collections = redraw(state.collections, state.step, jax.random.fold_in(key, len(rngs)))

    def loss_fn(params):
        whole = put_together(params)
        sums, logits = forward(settings.module, {"params": whole, **collections}, batch, train=True, rngs=rngs)
        return training_loss(sums, logits, batch, settings) * batch["scale"], sums

    (_, sums), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    grads = zero_frozen(grads, settings.training, state.step, settings.frozen_steps)
    opt_state: Any
    with jax.named_scope("optimizer"):
        updates, opt_state = settings.tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    sums |= {
        "grad_norm": optax.tree.get(opt_state, "grad_norm"),
        "lr": jnp.asarray(settings.schedule(state.opt_state.gradient_step), jnp.float32),
        "skipped": opt_state.skip_state["should_skip"].astype(jnp.int32),
    }
    return TrainState(state.step + 1, params, collections, opt_state), sums


def training_loss(sums: Sums, logits: Array | None, batch: Batch, settings: StepSettings) -> Array:
    """The summed loss () that is trained: with class weights and label smoothing.

    `sums` stay without, so that what is logged compares with an evaluation.

    Args:
      sums, logits: of `forward`.
      batch: targets and weights.
      settings: class weights and smoothing.
    """
    smoothing, by_class = settings.training.label_smoothing, settings.class_weights
    if logits is None or (by_class is None and not smoothing):
        return sums["loss"]
    by_class = jnp.ones(logits.shape[-1]) if by_class is None else jnp.array(by_class, jnp.float32)
    losses = smoothed_cross_entropy(logits, batch["targets"], by_class, smoothing)
    weights = batch["weights"]
    return jnp.where(weights > 0, losses * weights, 0.0).sum()
