"""Reductions that XLA compiles to what is meant, at the speed that is meant."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.backend import platform


def maximum(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The maximum along an axis, which is kept with size 1; the gradient goes to the first place that holds it.

    `jnp.max` finds that place in the backward pass by comparing x with the maximum. XLA on CPU may compute x anew,
    rounded differently, so that nothing compares equal and the gradient is lost (seen with jax 0.10.2).
    """
    return jnp.take_along_axis(x, jnp.argmax(x, axis=axis, keepdims=True), axis=axis)


def sum_of_products(a: Float[Array, "..."], b: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The sum of a * b along an axis, counted from the last (-1), which is kept with size 1.

    XLA on CPU takes up to twenty times as long where the first axis has one element (seen with jax 0.10.2), as it has
    with one long text in a batch: it is left out of the sum.
    """
    if a.shape[0] == b.shape[0] == 1 and a.ndim == b.ndim > -axis:
        return sum_of_products(a[0], b[0], axis)[None]
    return (a * b).sum(axis=axis, keepdims=True)


def two_sums(
    a: Float[Array, "..."], b: Float[Array, "..."], axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The sums of a and of b, of one shape, along an axis, from one reduction: XLA on GPUs would make two passes.

    Has no gradient.
    """

    def add(one, other):
        return one[0] + other[0], one[1] + other[1]

    return jax.lax.reduce((a, b), (jnp.zeros((), a.dtype), jnp.zeros((), b.dtype)), add, (axis,))


def global_norm(tree: Any) -> Float[Array, ""]:
    """The L2 norm of all elements of a tree of arrays, as `optax.tree.norm`.

    On GPUs what is left of each array after its last axis is summed is put together, and summed at once. XLA would sum
    each array to one number, in one or two kernels of its own: in a step of a small model 50 of 370.
    """
    if platform() != "gpu":
        import optax  # its optimizer calls this; those who predict do without

        return optax.tree.norm(tree)
    squares = [jnp.square(x) for x in jax.tree.leaves(tree)]
    parts = [x.sum(axis=-1).ravel() if x.ndim > 1 else x.ravel() for x in squares]
    # without the barrier the sum would be taken apart again
    return jnp.sqrt(jax.lax.optimization_barrier(jnp.concatenate(parts)).sum())
