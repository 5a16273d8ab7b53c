"""AdamW by parameter groups, accumulation, clipping and freezing: `make_optimizer` is the entry."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from textclf_jax.config.training import Training
from textclf_jax.kernels.reductions import global_norm
from textclf_jax.training.schedule import Schedule, TrainingLength, make_schedule

CLASSIFIER_PARTS = ("classifier", "pooler")
EMBEDDINGS, LAYER = -1, "layers_"


class Group(NamedTuple):
    """What one parameter is subject to; parameters with equal groups share one transformation.

    Attributes:
      decays: whether weight decay is for it.
      is_head: whether it is of the classifier.
      starts_frozen: whether it is frozen during the first epochs.
      layer: its layer, from 0, and EMBEDDINGS below them; None where it is of none, or all layers learn at one rate.
    """

    decays: bool
    is_head: bool
    starts_frozen: bool
    layer: int | None = None

    @property
    def label(self) -> str:
        """Its name in the optimizer's state and so in checkpoints: another one, and those of before do not load."""
        layer = "" if self.layer is None else f", layer={self.layer}"
        return f"Group(decays={self.decays}, is_head={self.is_head}, is_frozen_first={self.starts_frozen}{layer})"


def path_names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys of a tree path as strings."""
    return tuple(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)


def group_of(names: tuple[str, ...], training: Training) -> Group:
    """Decides by its path what a parameter is subject to.

    Weight decay spares biases and LayerNorm scales; in the reference's variant only biases. Multipliers tell the
    classifier from the rest (all of a masked language model is backbone), and layers from each other.
    """
    is_bias = "bias" in names[-1]
    is_norm = names[-1] == "scale"
    decays = not is_bias if training.variant == "reference" else not (is_bias or is_norm)
    frozen_first = training.freeze_epochs > 0 and starts_frozen(names, training)
    layer = None if training.layer_lr_decay == 1 else layer_of(names)
    return Group(decays, names[0] in CLASSIFIER_PARTS, frozen_first, layer)


def layer_of(names: tuple[str, ...]) -> int | None:
    """The layer of the encoder that a parameter is of, EMBEDDINGS for those below; None above all layers."""
    if names[0] != "encoder":
        return None
    if names[1] == "embeddings":
        return EMBEDDINGS
    return int(names[1].removeprefix(LAYER)) if names[1].startswith(LAYER) else None


def starts_frozen(names: tuple[str, ...], training: Training) -> bool:
    """Whether a parameter is frozen during the first `freeze_epochs` epochs."""
    layer = layer_of(names)
    if layer == EMBEDDINGS:
        return training.freeze_embeddings
    return layer is not None and layer < training.freeze_n_layers


class ClipState(NamedTuple):
    """The global norm of the latest gradient, before clipping."""

    grad_norm: jax.Array


def clip_by_recorded_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """Clips the gradient to a global L2 norm and keeps the norm for the logs. `max_norm` 0 only records it."""

    def init(params):
        del params
        return ClipState(jnp.zeros((), jnp.float32))

    def update(updates, state, params=None, *, accept: Any = True, **_):
        del params
        norm = global_norm(updates)
        scale = jnp.where(norm > max_norm, max_norm / (norm + 1e-6), 1.0) if max_norm > 0 else 1.0
        return jax.tree.map(lambda g: g * scale, updates), ClipState(jnp.where(accept, norm, state.grad_norm))

    return optax.GradientTransformationExtraArgs(init, update)


class DelayedState(NamedTuple):
    """How many updates there were, and the state of the delayed transformation."""

    count: jax.Array
    inner: Any


def delayed(inner: optax.GradientTransformationExtraArgs, start: int) -> optax.GradientTransformationExtraArgs:
    """Freezes parameters until update `start`: no update, no decay, no change of moments.

    `inner` must leave its state as it is where it is told `accept=False`.
    """

    def init(params):
        return DelayedState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None, *, accept: Any = True, ends: Any = True, **_):
        active = state.count >= start
        changed, kept = inner.update(updates, state.inner, params, accept=accept & active)
        changed = jax.tree.map(lambda u: jnp.where(active, u, jnp.zeros_like(u)), changed)
        return changed, DelayedState(state.count + jnp.asarray(ends, jnp.int32), kept)

    return optax.GradientTransformationExtraArgs(init, update)


def scheduled(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Turns directions into updates: times minus the learning rate of this update, as optax.scale_by_learning_rate."""

    def init(params):
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, ends: Any = True, **_):
        del params
        step_size = -schedule(state.count)
        changed = jax.tree.map(lambda u: jnp.asarray(step_size, u.dtype) * u, updates)
        return changed, optax.ScaleByScheduleState(state.count + jnp.asarray(ends, jnp.int32))

    return optax.GradientTransformationExtraArgs(init, update)


def adam(*, b2: float, b1: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformationExtraArgs:
    """Adam's update before the learning rate, as optax.scale_by_adam; `accept=False` leaves the moments as they are.

    The update is computed from the moments that are kept. If the caller chose between old and new ones, XLA would
    compute the new ones twice, from a copy of the old ones.

    Source: Kingma & Ba 2015, algorithm 1.
    """

    def init(params):
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None, *, accept: Any = True, **_):
        del params
        count = state.count + jnp.asarray(accept, jnp.int32)
        mu = jax.tree.map(lambda g, m: jnp.where(accept, (1 - b1) * g + b1 * m, m), updates, state.mu)
        nu = jax.tree.map(lambda g, v: jnp.where(accept, (1 - b2) * g**2 + b2 * v, v), updates, state.nu)
        # a rejected first update would divide by zero
        mu_scale, nu_scale = (1.0 / (1.0 - b ** jnp.maximum(count, 1)) for b in (b1, b2))
        directions = jax.tree.map(lambda m, v: m * mu_scale / (jnp.sqrt(v * nu_scale) + eps), mu, nu)
        return directions, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


class SingleStepsState(NamedTuple):
    """The fields of optax.MultiStepsState that the training step reads, for windows of one step."""

    gradient_step: jax.Array
    inner_opt_state: Any
    skip_state: dict[str, jax.Array]


def single_steps(inner: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
    """Makes each step an update, but for a gradient whose norm is not finite: that changes nothing but counts.

    `inner` keeps its moments by itself where it is told `accept=False`: selections within it fuse with its work.
    """

    def init(params):
        skip_state = {"should_skip": jnp.zeros((), bool)}
        return SingleStepsState(jnp.zeros((), jnp.int32), inner.init(params), skip_state)

    def update(updates, state, params=None):
        finite = jnp.isfinite(global_norm(updates))
        changed, inner_state = inner.update(updates, state.inner_opt_state, params, accept=finite)
        changed = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), changed)
        return changed, SingleStepsState(state.gradient_step + 1, inner_state, {"should_skip": ~finite})

    return optax.GradientTransformation(init, update)


def accumulated_steps(inner: optax.GradientTransformationExtraArgs, k: int) -> optax.GradientTransformation:
    """Makes each window of k steps an update with the mean of its gradients.

    A gradient whose norm is not finite is left out of the mean of its window, which ends where it would have ended: in
    optax.MultiSteps a window grows by each such step, so that all later ones hold other steps than their scales are
    for. A window in which nothing but zeros is left is no update.

    Its state is that of optax.MultiSteps, as checkpoints have it; `num_not_finite` counts the steps that were left out
    of the window so far.
    """

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        skip_state = {"num_not_finite": zero, "should_skip": jnp.zeros((), bool)}
        return optax.MultiStepsState(zero, zero, inner.init(params), jax.tree.map(jnp.zeros_like, params), skip_state)

    def update(updates, state, params=None):
        finite, ends = jnp.isfinite(global_norm(updates)), state.mini_step == k - 1
        left_out = jnp.where(state.mini_step == 0, 0, state.skip_state["num_not_finite"])
        added = state.mini_step - left_out + 1
        mean = jax.tree.map(lambda g, m: jnp.where(finite, m + (g - m) / added, m), updates, state.acc_grads)
        left_out = left_out + ~finite
        accept = ends & ((left_out == 0) | (global_norm(mean) > 0))
        changed, inner_state = inner.update(mean, state.inner_opt_state, params, accept=accept, ends=ends)
        return jax.tree.map(lambda u: jnp.where(accept, u, jnp.zeros_like(u)), changed), optax.MultiStepsState(
            mini_step=(state.mini_step + 1) % k,
            gradient_step=state.gradient_step + ends,
            inner_opt_state=inner_state,
            acc_grads=jax.tree.map(lambda m: jnp.where(ends, jnp.zeros_like(m), m), mean),
            skip_state={"num_not_finite": left_out, "should_skip": ~finite},
        )

    return optax.GradientTransformation(init, update)


def rate_multiplier(group: Group, training: Training, num_layers: int) -> float:
    """What the learning rate of a group is multiplied by.

    Each layer has `layer_lr_decay` times the rate of the one above it: layer i of L has decay ** (L - i).

    Source: Clark et al. 2020, ELECTRA, appendix B (the decay).
    """
    multiplier = training.head_lr_mult if group.is_head else training.backbone_lr_mult
    return multiplier if group.layer is None else multiplier * training.layer_lr_decay ** (num_layers - group.layer)


def _group_transformation(
    group: Group, training: Training, length: TrainingLength, num_layers: int
) -> optax.GradientTransformationExtraArgs:
    direction: optax.GradientTransformationExtraArgs = adam(b2=training.adam_beta2)
    if group.decays and training.weight_decay > 0:
        direction = optax.chain(direction, optax.add_decayed_weights(training.weight_decay))
    if group.starts_frozen:
        # the first update whose window holds a step that is no longer frozen
        direction = delayed(direction, training.freeze_epochs * length.steps_per_epoch // length.accumulation)
    multiplier = rate_multiplier(group, training, num_layers)
    return optax.chain(direction, scheduled(make_schedule(training, length.scheduled_updates, multiplier)))


def make_optimizer(training: Training, length: TrainingLength, params: Any) -> optax.GradientTransformation:
    """Builds the optimizer: accumulate, clip, AdamW with a schedule for each group.

    A micro-batch whose gradient is not finite is left out of its window. An update that thereby falls out keeps its
    number: schedule and freezing go on by the plan, while moments and Adam's own count stay.

    Gradients are averaged over the k micro-batches of a window: for the gradient of the window's mean loss, scale each
    summed loss by k / (examples in the window), as `batches._set_scales` does.

    Args:
      training: rates, decay, freezing, accumulation.
      length: steps and updates of the run.
      params: the parameter tree, for its paths.

    Returns:
      The optimizer; its updates are added to the parameters.
    """
    groups = jax.tree_util.tree_map_with_path(lambda path, _: group_of(path_names(path), training), params)
    labels = jax.tree.map(lambda group: group.label, groups, is_leaf=lambda x: isinstance(x, Group))
    distinct = {g.label: g for g in jax.tree.leaves(groups, is_leaf=lambda x: isinstance(x, Group))}
    num_layers = 1 + max((g.layer for g in distinct.values() if g.layer is not None), default=EMBEDDINGS)
    transformations: dict[Any, optax.GradientTransformation] = {
        name: _group_transformation(g, training, length, num_layers) for name, g in distinct.items()
    }
    inner = optax.chain(clip_by_recorded_norm(training.max_grad_norm), optax.partition(transformations, labels))
    return single_steps(inner) if length.accumulation == 1 else accumulated_steps(inner, length.accumulation)


def zero_frozen(grads: Any, training: Training, step: jax.Array, frozen_steps: int) -> Any:
    """Zeroes the gradients of the parameters that are frozen until step `frozen_steps`."""
    if not frozen_steps:
        return grads

    def mask(path, grad):
        is_frozen = starts_frozen(path_names(path), training)
        return jnp.where(step < frozen_steps, jnp.zeros_like(grad), grad) if is_frozen else grad

    return jax.tree_util.tree_map_with_path(mask, grads)
