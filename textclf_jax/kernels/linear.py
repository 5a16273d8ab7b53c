"""Products of activations and one kernel: `linear`, in the precision of the model, and the bias after it.

XLA's CPU compiler (jax 0.10) multiplies bfloat16 only where a product reaches it with the contracted axis of the left
operand last, or with two leading axes contracted; anything else it computes in float32 at half the speed. It also folds
transpositions of operands and results into products, and decides afterwards. So operands are brought into shape by a
transposition followed by a reshape, which it cannot fold.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.barriers import delay_until
from textclf_jax.kernels.casts import cast
from textclf_jax.kernels.precision import Precision
from textclf_jax.kernels.transpose import UNIT, transpose_result


def linear(
    x: Float[Array, "*N I"], kernel: Float[Array, "..."], precision: Precision, *, transposed: bool = False
) -> Float[Array, "*N O"]:
    """x times a kernel.

    Args:
      x: [..., I], any float dtype.
      kernel: [I, O] float32, or [O, I] if `transposed`.
      precision: of operands and result.
      transposed: contracts the kernel's last axis, as decoding with embeddings does.

    Returns:
      [..., O] in the dtype of activations.
    """
    if precision.rounds_products:
        return _rounded_product(x.astype(jnp.float32), kernel, transposed)
    x, kernel = x.astype(precision.activations), kernel.astype(precision.activations)
    return jnp.matmul(x, kernel.T if transposed else kernel, precision=precision.of_dot)


def add_bias(y: Float[Array, "*N O"], bias: Float[Array, " O"]) -> Float[Array, "*N O"]:
    """y plus a bias in float32, in y's dtype."""
    if y.dtype == bias.dtype:
        return y + bias
    # rounded after it is spread out: its gradient is then widened before it is summed over all vectors
    return y + jnp.broadcast_to(bias, y.shape).astype(y.dtype)


def linear_reference(x, kernel, *, transposed: bool = False):
    """What `linear` computes, but for the precision."""
    return jnp.einsum("...i,oi->...o" if transposed else "...i,io->...o", x, kernel)


def kernel_gradient(
    x: Float[Array, "*N I"], cotangent: Float[Array, "*N O"], precision: Precision, *, transposed: bool = False
) -> Float[Array, "..."]:
    """The gradient of `linear` by its kernel.

    Args:
      x: [..., I], any float dtype.
      cotangent: [..., O], the gradient by the result.
      precision, transposed: as in `linear`.

    Returns:
      [I, O] float32, or [O, I] if `transposed`.
    """
    if precision.rounds_products:
        return _rounded_kernel_gradient(x, cotangent, transposed)
    axes = "...i,...o->oi" if transposed else "...i,...o->io"
    return jnp.einsum(axes, x, cotangent, precision=precision.of_dot)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded_product(x, kernel, transposed: bool):
    """Operands rounded to bfloat16, sums in float32, here and in both gradients."""
    return rounded_dot(x, cast(kernel, jnp.bfloat16), ((x.ndim - 1,), (1 if transposed else 0,)))


def _forward(x, kernel, transposed: bool):
    # kept for the backward pass: x rounded, half the memory; and the kernel as it is, since it is a parameter. Rounded
    # kernels of all layers would live from the beginning of a step to its end
    kernel, x = delay_until(kernel, x.astype(jnp.bfloat16))
    return _rounded_product(x, kernel, transposed), (x, kernel)


def _backward(transposed: bool, residuals, cotangent):
    (x, kernel), cotangent = delay_until(residuals, cotangent.astype(jnp.bfloat16))
    kernel_axis = 0 if transposed else 1
    dx = rounded_dot(cotangent, cast(kernel, jnp.bfloat16), ((cotangent.ndim - 1,), (kernel_axis,)))
    return dx, _rounded_kernel_gradient(x, cotangent, transposed)


_rounded_product.defvjp(_forward, _backward)


def rounded_dot(a, b, contracted: tuple[tuple[int, ...], tuple[int, ...]], batch: tuple[int, ...] = ()):
    """`jax.lax.dot_general` of operands rounded to bfloat16, with float32 sums; the same batch axes in both."""
    operands = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jax.lax.dot_general(*operands, (contracted, (batch, batch)), preferred_element_type=jnp.float32)


def _rounded_kernel_gradient(x, cotangent, transposed: bool):
    left, right = (cotangent, x) if transposed else (x, cotangent)
    # XLA transposes the left operand. So it is the smaller one, where that saves more than transposing the result costs
    size = left.shape[-1] * right.shape[-1]
    if left.size - right.size <= size or right.shape[-1] % UNIT:
        return _sum_over_tokens(left, right)
    return transpose_result(_sum_over_tokens(right, left))


def _sum_over_tokens(a, b):
    """a^T b over all axes but the last. [..., I], [..., O] -> [I, O]."""
    product = rounded_dot(_with_two_leading_axes(a), _with_two_leading_axes(b), ((0, 1), (0, 1)))
    # a transposition of the result, folded in, would give a product that XLA cannot run
    return jax.lax.optimization_barrier(product)


def _with_two_leading_axes(x):
    """[..., I] -> [M, N, I]."""
    if x.ndim == 2:
        return x.reshape(UNIT if x.shape[0] % UNIT == 0 else 1, -1, x.shape[-1])
    return x.reshape(-1, x.shape[-2], x.shape[-1])
