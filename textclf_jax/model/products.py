"""Matrix products with operands rounded to bfloat16 and float32 sums, in shapes that XLA's CPU compiler makes fast.

For CPUs with bfloat16 instructions. XLA (jax 0.10) multiplies bfloat16 there only where the product reaches it with the
contracted axis of the left operand last, or with two leading axes contracted; anything else it computes in float32 at
half the speed. It also folds transpositions of operands and results into products, and decides afterwards: so operands
are brought into shape by a transposition followed by a reshape, which it cannot fold.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.model.casts import cast
from textclf_jax.model.residuals import taken_up

ROWS_APART = 8


def _product(a, b, contracted: tuple[tuple[int, ...], tuple[int, ...]], batch: tuple[int, ...] = ()):
    operands = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jax.lax.dot_general(*operands, (contracted, (batch, batch)), preferred_element_type=jnp.float32)


# --- one kernel for all rows ------------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def bf16_matmul(x: Float[Array, "*N I"], kernel: Float[Array, "..."], transposed: bool = False) -> Float[Array, "*N O"]:
    """x times kernel with bfloat16 operands and float32 sums, here and in both gradients.

    Args:
      x: [..., I] float32.
      kernel: [I, O] float32, or [O, I] if `transposed`.
      transposed: contracts the kernel's last axis, where a transposed copy would be slow.

    Returns:
      [..., O] float32.
    """
    return _product(x, cast(kernel, jnp.bfloat16), ((x.ndim - 1,), (1 if transposed else 0,)))


def _matmul_forward(x, kernel, transposed):
    # what is kept for the backward pass is x rounded, half the memory, and the kernel as it is, a parameter: rounded
    # ones of all layers would live from the beginning of a step to its end
    kernel, x = taken_up(kernel, x.astype(jnp.bfloat16))
    return bf16_matmul(x, kernel, transposed), (x, kernel)


def _matmul_backward(transposed, residuals, cotangent):
    (x, kernel), cotangent = taken_up(residuals, cotangent.astype(jnp.bfloat16))
    dx = _product(cotangent, cast(kernel, jnp.bfloat16), ((cotangent.ndim - 1,), (0 if transposed else 1,)))
    return dx, bf16_kernel_gradient(x, cotangent, transposed)


def bf16_kernel_gradient(x: Float[Array, "*N I"], cotangent: Float[Array, "*N O"], transposed: bool):
    """The gradient of `bf16_matmul` by its kernel, from that by its result.

    Args:
      x: [..., I] float32 or bfloat16.
      cotangent: [..., O] float32 or bfloat16.
      transposed: as in `bf16_matmul`.

    Returns:
      [I, O] float32, or [O, I] if `transposed`.
    """
    left, right = (cotangent, x) if transposed else (x, cotangent)
    # XLA turns the left operand: the smaller one, where that saves more than turning the result costs
    size = left.shape[-1] * right.shape[-1]
    if left.size - right.size <= size or right.shape[-1] % ROWS_APART:
        return _product_over_tokens(left, right)
    return turned_once(_product_over_tokens(right, left))


def _product_over_tokens(a, b):
    """a^T b over all axes but the last. [..., I], [..., O] -> [I, O]."""
    product = _product(_with_two_leading_axes(a), _with_two_leading_axes(b), ((0, 1), (0, 1)))
    # a transposition of the result, folded in, would give a product that XLA cannot run
    return jax.lax.optimization_barrier(product)


def _with_two_leading_axes(x):
    """[..., I] -> [M, N, I]."""
    if x.ndim == 2:
        size = x.shape[0]
        return x.reshape(ROWS_APART if size % ROWS_APART == 0 else 1, -1, x.shape[-1])
    return x.reshape(-1, x.shape[-2], x.shape[-1])


bf16_matmul.defvjp(_matmul_forward, _matmul_backward)


# --- a matrix of its own for each of many ----------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def bf16_batched_matmul(
    a: Float[Array, "*N L K"], b: Float[Array, "..."], transposed: bool = False
) -> Float[Array, "*N L S"]:
    """a times b, matrix by matrix, with bfloat16 operands and float32 sums, here and in both gradients.

    Args:
      a: [..., L, K] float32 or bfloat16, with at least one leading axis.
      b: [..., K, S], or [..., S, K] if `transposed`; the same leading axes.
      transposed: contracts the last axis of b.

    Returns:
      [..., L, S] float32.
    """
    y = _product(_flat(a), _flat(b), ((2,), (2 if transposed else 1,)), (0,))
    return y.reshape(*a.shape[:-2], *y.shape[1:])


def _batched_forward(a, b, transposed):
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return bf16_batched_matmul(a, b, transposed), (a, b)


def _batched_backward(transposed, residuals, cotangent):
    a, b = residuals
    cotangent = cotangent.astype(jnp.bfloat16)
    da = bf16_batched_matmul(cotangent, b, not transposed)
    small, large = (a, cotangent) if transposed else (cotangent, a)
    return da, bf16_product_over_rows(small, large).swapaxes(-1, -2)


def bf16_product_over_rows(a: Float[Array, "*N L K"], b: Float[Array, "*N L S"]) -> Float[Array, "*N K S"]:
    """a^T b, matrix by matrix, with bfloat16 operands and float32 sums; a is the smaller one, and is turned.

    Args:
      a: [..., L, K] float32 or bfloat16, with at least one leading axis.
      b: [..., L, S]; the same leading axes.

    Returns:
      [..., K, S] float32.
    """
    if missing := -a.shape[-2] % ROWS_APART:
        a, b = (jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, missing), (0, 0)]) for x in (a, b))
    # without the barrier XLA would fold the turning of the result into the product
    return jax.lax.optimization_barrier(bf16_batched_matmul(_turned(a), b, False))


def turned_once(x: Float[Array, "*N L K"]) -> Float[Array, "*N K L"]:
    """Turns the result of a product for all who read it: XLA on CPU would turn it for each, at a fifth of the speed."""
    if x.shape[-2] % ROWS_APART:
        return x.swapaxes(-1, -2)
    return jax.lax.optimization_barrier(_turned(x))


def _flat(x):
    """[..., L, K] -> [N, L, K]."""
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def _turned(x):
    """[..., L, K] -> [..., K, L] in memory, L a multiple of ROWS_APART.

    A transposition that a reshape follows cannot be folded into a product.
    """
    *lead, rows, columns = x.shape
    return jnp.moveaxis(x.reshape(*lead, ROWS_APART, -1, columns), -1, -3).reshape(*lead, columns, rows)


bf16_batched_matmul.defvjp(_batched_forward, _batched_backward)
