"""GELU, alone and before a product, with gradients that keep its input and nothing else."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.barriers import delay_until, materialize
from textclf_jax.kernels.casts import at_least_float32, cast
from textclf_jax.kernels.linear import kernel_gradient, linear
from textclf_jax.kernels.precision import FULL, Precision


def gelu_reference(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """What `gelu` computes."""
    return jax.nn.gelu(x, approximate=False)


def gelu(x: Float[Array, "..."], precision: Precision = FULL) -> Float[Array, "..."]:
    """The exact, erf-based GELU. Any shape; keeps the dtype.

    `jax.nn.gelu` computes it through erfc, which is exact far out in the left tail and three times as slow on CPU.

    Args:
      x: any float dtype.
      precision: where it rounds products, what the gradient is computed from is rounded, too.

    Source: Hendrycks & Gimpel 2016, section 2.
    """
    return _gelu(x, precision)


def gelu_linear(x: Float[Array, "*N I"], kernel: Float[Array, "I O"], precision: Precision) -> Float[Array, "*N O"]:
    """`linear` of `gelu` of x.

    Args:
      x: [..., I], any float dtype; kept for the gradient in this dtype, and gelu(x) is not.
      kernel: [I, O] float32.
      precision: of the product.

    Returns:
      [..., O] in the dtype of activations.
    """
    return _gelu_linear(x, kernel, precision)


def _normal_cdf(x):
    return 0.5 * (1.0 + jax.lax.erf(x * 0.5**0.5))


def _slope(x):
    return _normal_cdf(x) + x * jnp.exp(-0.5 * x * x) * (2.0 * math.pi) ** -0.5


def _times_slope(cotangent, x):
    """The gradient by x of what has this gradient by gelu(x), in the same dtype."""
    wide = at_least_float32(cotangent)
    return (wide * _slope(cast(x, wide.dtype))).astype(cotangent.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gelu(x, precision: Precision):
    wide = at_least_float32(x)
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_forward(x, precision: Precision):
    return _gelu(x, precision), materialize(precision.rounded(x))


def _gelu_backward(precision: Precision, x, cotangent):
    del precision
    x, cotangent = delay_until(x, cotangent)
    return (_times_slope(cotangent, x),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gelu_linear(x, kernel, precision: Precision) -> Any:
    return _gelu_linear_forward(x, kernel, precision)[0]


def _gelu_linear_forward(x, kernel, precision: Precision):
    x = materialize(x)
    return linear(_operand(x, precision), kernel, precision), (x, kernel)


def _gelu_linear_backward(precision: Precision, residuals, cotangent):
    (x, kernel), cotangent = delay_until(residuals, cotangent)
    dgelu = linear(cotangent, kernel, precision, transposed=True)
    # two arrays to XLA: what both have in common it would write out
    again, dgelu = delay_until(x, dgelu)
    dx = cast(_times_slope(dgelu, again), x.dtype)
    return dx, kernel_gradient(_operand(x, precision), cotangent, precision).astype(kernel.dtype)


def _operand(x, precision: Precision):
    """gelu(x) as an operand."""
    return precision.rounded(gelu(cast(x, precision.activations), precision), in_integers=True)


_gelu_linear.defvjp(_gelu_linear_forward, _gelu_linear_backward)
