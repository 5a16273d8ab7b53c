"""LayerNorm, with a gradient that keeps its normalised input."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.barriers import delay_until, materialize
from textclf_jax.kernels.precision import FULL, Precision

EPSILON = 1e-12  # BERT's


def layer_norm_reference(x, scale, bias):
    """What `layer_norm` computes of x [..., D], scale and bias [D]."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON) * scale + bias


def layer_norm(
    x: Float[Array, "*N D"], scale: Float[Array, " D"], bias: Float[Array, " D"], precision: Precision = FULL
) -> Float[Array, "*N D"]:
    """Normalises each vector to mean 0 and variance 1, then scales and shifts it.

    The variance is that of the centred vector: with an epsilon as small as this, E[x^2] - E[x]^2 cancels. Statistics
    are float32 or wider.

    Args:
      x: [..., D], any float dtype.
      scale, bias: [D] float32.
      precision: the activations' dtype is the result's.

    Returns:
      [..., D].

    Source: Ba et al. 2016, eq. 3.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # XLA sums slowly on CPU where the first axis has one element
    y: Any = _layer_norm(wide.reshape(-1, x.shape[-1]), scale, bias, precision)
    return y.reshape(x.shape).astype(precision.activations)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _layer_norm(x, scale, bias, precision: Precision) -> Any:
    return _forward(x, scale, bias, precision)[0]


def _forward(x, scale, bias, precision: Precision):
    # written out once, not computed again (residual sum and dropout) by all that reads it
    x = materialize(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON)
    normal = materialize(precision.rounded(centred * inverse, in_integers=True))
    return centred * (inverse * scale) + bias, (normal, inverse, scale)


def _backward(precision: Precision, residuals, cotangent):
    del precision
    (normal, inverse, scale), cotangent = delay_until(residuals, cotangent)
    normal = normal.astype(cotangent.dtype)
    tokens = tuple(range(cotangent.ndim - 1))
    dscale, dbias = (cotangent * normal).sum(axis=tokens), cotangent.sum(axis=tokens)
    scaled = cotangent * scale
    along = (scaled * normal).mean(axis=-1, keepdims=True)
    dx = (scaled - scaled.mean(axis=-1, keepdims=True) - normal * along) * inverse
    return dx, dscale, dbias


_layer_norm.defvjp(_forward, _backward)
