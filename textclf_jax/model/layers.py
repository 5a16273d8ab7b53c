"""GELU, alone and before a product, and LayerNorm, with gradients of their own that keep little in memory."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.model.casts import cast
from textclf_jax.model.precision import FULL, Linear, Precision, kernel_gradient, matmul
from textclf_jax.model.residuals import kept, taken_up

LAYER_NORM_EPSILON = 1e-12


def gelu(x: Float[Array, "..."], precision: Precision = FULL) -> Float[Array, "..."]:
    """The exact, erf-based GELU. Any shape; keeps the dtype.

    `jax.nn.gelu` computes it through erfc, which is exact far out in the left tail and three times as slow on CPU.

    Args:
      x: any float dtype.
      precision: where it rounds products, what the gradient is computed from is rounded, too.

    Source: Hendrycks & Gimpel 2016, section 2.
    """
    return _gelu(x, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gelu(x, precision: Precision):
    return x * _normal_cdf(x)


def _normal_cdf(x):
    return 0.5 * (1.0 + jax.lax.erf(x * 0.5**0.5))


def _gelu_slope(x):
    return _normal_cdf(x) + x * jnp.exp(-0.5 * x * x) * (2.0 * math.pi) ** -0.5


def _gelu_forward(x, precision: Precision):
    return _gelu(x, precision), kept(precision.rounded(x))


def _gelu_backward(precision: Precision, x, cotangent):
    del precision
    x, cotangent = taken_up(x, cotangent)
    return (cotangent * _gelu_slope(cast(x, cotangent.dtype)),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


class GeluLinear(Linear):
    """`Linear` of `gelu` of the input. [..., I] -> [..., features]."""

    def product(self, x, kernel):
        return _gelu_matmul(x, kernel, self.precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gelu_matmul(x, kernel, precision: Precision) -> Any:
    """gelu(x) [..., I] times kernel [I, O]; keeps x for the gradient, and not gelu(x)."""
    return _gelu_matmul_forward(x, kernel, precision)[0]


def _gelu_matmul_forward(x, kernel, precision: Precision):
    x = kept(x)
    return matmul(_gelu_operand(x, precision), kernel, precision), (x, kernel)


def _gelu_matmul_backward(precision: Precision, residuals, cotangent):
    (x, kernel), cotangent = taken_up(residuals, cotangent)
    dgelu = matmul(cotangent, kernel, precision, transposed=True)
    # two arrays to XLA: what both have in common it would write out
    again, dgelu = taken_up(x, dgelu)
    dx = cast(dgelu * _gelu_slope(cast(again, dgelu.dtype)), x.dtype)
    return dx, kernel_gradient(_gelu_operand(x, precision), cotangent, precision).astype(kernel.dtype)


def _gelu_operand(x, precision: Precision):
    """gelu(x) as an operand."""
    return precision.rounded(gelu(cast(x, precision.activations), precision), in_integers=True)


_gelu_matmul.defvjp(_gelu_matmul_forward, _gelu_matmul_backward)


class LayerNorm(nn.Module):
    """Normalises each vector to mean 0 and variance 1, then scales and shifts it. [..., D] -> [..., D].

    Its epsilon is BERT's. The variance is that of the centred vector: with an epsilon this small, E[x^2] - E[x]^2
    cancels. Statistics are float32 or wider.

    Attributes:
      precision: the activations' dtype is the output's.

    Source: Ba et al. 2016, eq. 3.
    """

    precision: Precision = FULL

    @nn.compact
    def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        # XLA sums slowly on CPU where the first axis has one element
        wide = wide.reshape(-1, x.shape[-1])
        y: Any = _normalised(wide, scale, bias, self.precision)
        return y.reshape(x.shape).astype(self.precision.activations)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalised(x, scale, bias, precision: Precision) -> Any:
    return _normalised_forward(x, scale, bias, precision)[0]


def _normalised_forward(x, scale, bias, precision: Precision):
    # written out once, not computed again by all that reads it
    x = kept(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt((centred * centred).mean(axis=-1, keepdims=True) + LAYER_NORM_EPSILON)
    normal = kept(precision.rounded(centred * inverse, in_integers=True))
    return centred * (inverse * scale) + bias, (normal, inverse, scale)


def _normalised_backward(precision: Precision, residuals, cotangent):
    del precision
    (normal, inverse, scale), cotangent = taken_up(residuals, cotangent)
    normal = normal.astype(cotangent.dtype)
    tokens = tuple(range(cotangent.ndim - 1))
    dscale, dbias = (cotangent * normal).sum(axis=tokens), cotangent.sum(axis=tokens)
    scaled = cotangent * scale
    along = (scaled * normal).mean(axis=-1, keepdims=True)
    dx = (scaled - scaled.mean(axis=-1, keepdims=True) - normal * along) * inverse
    return dx, dscale, dbias


_normalised.defvjp(_normalised_forward, _normalised_backward)
