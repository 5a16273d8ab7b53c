"""Products of many pairs of matrices, as attention has them, in the precision of the model."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.linear import rounded_dot
from textclf_jax.kernels.precision import Precision
from textclf_jax.kernels.transpose import UNIT, transpose_operand


def batched_matmul(
    a: Float[Array, "*N L K"], b: Float[Array, "..."], precision: Precision, *, transposed: bool = False
) -> Float[Array, "*N L S"]:
    """a times b, matrix by matrix.

    Args:
      a: [..., L, K], any float dtype, with at least one leading axis.
      b: [..., K, S], or [..., S, K] if `transposed`; the same leading axes.
      precision: of the operands.
      transposed: contracts the last axis of b.

    Returns:
      [..., L, S] float32 or wider.
    """
    if precision.rounds_products:
        return _rounded_product(a, b, transposed)
    return _einsum("...lk,...sk->...ls" if transposed else "...lk,...ks->...ls", a, b, precision)


def sum_over_rows(a: Float[Array, "*N L K"], b: Float[Array, "*N L S"], precision: Precision) -> Float[Array, "*N K S"]:
    """a^T b, matrix by matrix; fastest where a is the smaller one. Has no gradient.

    Args:
      a: [..., L, K], any float dtype, with at least one leading axis.
      b: [..., L, S]; the same leading axes.
      precision: of the operands.

    Returns:
      [..., K, S] float32 or wider.
    """
    if precision.rounds_products:
        return _rounded_sum_over_rows(a, b)
    return _einsum("...lk,...ls->...ks", a, b, precision)


def _einsum(axes: str, a, b, precision: Precision):
    """A product whose sums are float32 or wider, on devices that need no special shapes."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    if precision.products == jnp.bfloat16:
        a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jnp.einsum(axes, a, b, precision=precision.of_dot, preferred_element_type=wide)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded_product(a, b, transposed: bool):
    """Operands rounded to bfloat16, sums in float32, here and in both gradients."""
    y = rounded_dot(_flat(a), _flat(b), ((2,), (2 if transposed else 1,)), (0,))
    return y.reshape(*a.shape[:-2], *y.shape[1:])


def _forward(a, b, transposed: bool):
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return _rounded_product(a, b, transposed), (a, b)


def _backward(transposed: bool, residuals, cotangent):
    a, b = residuals
    cotangent = cotangent.astype(jnp.bfloat16)
    da = _rounded_product(cotangent, b, not transposed)
    small, large = (a, cotangent) if transposed else (cotangent, a)
    return da, _rounded_sum_over_rows(small, large).swapaxes(-1, -2)


_rounded_product.defvjp(_forward, _backward)


def _rounded_sum_over_rows(a, b):
    if missing := -a.shape[-2] % UNIT:
        a, b = (jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, missing), (0, 0)]) for x in (a, b))
    # without the barrier XLA would fold a transposition of the result into the product
    return jax.lax.optimization_barrier(_rounded_product(transpose_operand(a), b, False))


def _flat(x):
    """[..., L, K] -> [N, L, K]."""
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
