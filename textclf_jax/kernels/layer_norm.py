"""LayerNorm, with a gradient that keeps its normalised input; on GPUs the input itself and two numbers a vector."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.barriers import delay_until, materialize
from textclf_jax.kernels.casts import at_least_float32
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.kernels.reductions import two_sums

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
    # XLA sums slowly on CPU where the first axis has one element
    vectors = x.reshape(-1, x.shape[-1])
    y: Any
    if platform() == "gpu":
        y = _gpu_layer_norm(vectors, scale, bias)
    else:
        y = _layer_norm(at_least_float32(vectors), scale, bias, precision)
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


@jax.custom_vjp
def _gpu_layer_norm(x, scale, bias) -> Any:
    return _normalised(x, *_sums(x)) * scale + bias


def _sums(x):
    """Of each vector [N, D] the sums over it and over squares, each [N, 1] float32 or wider.

    Squares of x less its mean; of x itself where it is rounded to bfloat16, so that one pass gives both sums. What
    cancels then is less than what x lost when it was rounded.
    """
    wide = at_least_float32(x)
    total = wide.sum(axis=-1, keepdims=True)
    centred = wide if x.dtype == jnp.bfloat16 else wide - total / x.shape[-1]
    return total, jnp.square(centred).sum(axis=-1, keepdims=True)


def _mean_and_inverse(x, total, squares):
    """The mean of each vector and the inverse of its standard deviation, from `_sums`."""
    mean, variance = total / x.shape[-1], squares / x.shape[-1]
    if x.dtype == jnp.bfloat16:
        # not less than the rounding of squares: vectors of equal elements would have noise over zero
        variance = jnp.maximum(variance - mean * mean, jnp.finfo(mean.dtype).eps * mean * mean)
    return mean, jax.lax.rsqrt(variance + EPSILON)


def _normalised(x, total, squares):
    mean, inverse = _mean_and_inverse(x, total, squares)
    return (at_least_float32(x) - mean) * inverse


def _gpu_forward(x, scale, bias):
    # written out: XLA cannot compute them in the kernel of the sums over vectors, and would write out the product of
    # x and the cotangent in float32 for that
    sums = jax.lax.optimization_barrier(_sums(x))
    return _normalised(x, *sums) * scale + bias, (x, sums, scale)


def _gpu_backward(residuals, cotangent):
    x, sums, scale = residuals
    normal, (_, inverse) = _normalised(x, *sums), _mean_and_inverse(x, *sums)
    dscale, dbias = two_sums(cotangent * normal, cotangent, axis=0)
    scaled = cotangent * scale
    along = (scaled * normal).mean(axis=-1, keepdims=True)
    dx = (scaled - scaled.mean(axis=-1, keepdims=True) - normal * along) * inverse
    # written out once, for dropout and for the residual sum
    return jax.lax.optimization_barrier(dx.astype(x.dtype)), dscale, dbias


_gpu_layer_norm.defvjp(_gpu_forward, _gpu_backward)
