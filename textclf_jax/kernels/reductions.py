"""Reductions that XLA compiles to what is meant, at the speed that is meant."""

import jax.numpy as jnp
from jaxtyping import Array, Float


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
