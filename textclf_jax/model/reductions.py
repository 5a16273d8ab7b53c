"""Reductions whose gradient can be trusted when compiled."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def largest(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The maximum along an axis, which is kept with size 1; the gradient goes to the first place that holds it.

    `jnp.max` finds that place in the backward pass by comparing x with the maximum. XLA on CPU may compute x anew,
    rounded differently, so that nothing compares equal and the gradient is lost (seen with jax 0.10.2).
    """
    return jnp.take_along_axis(x, jnp.argmax(x, axis=axis, keepdims=True), axis=axis)
