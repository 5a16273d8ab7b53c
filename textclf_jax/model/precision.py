"""Which numbers the model computes with, and matrix products that follow it."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Precision(NamedTuple):
    """The dtypes of a model's computation. Parameters, softmax, LayerNorm statistics and losses are float32 always.

    Attributes:
      activations: of what flows between layers.
      products: what the operands of matrix products are rounded to; sums are float32.
    """

    activations: Any = jnp.float32
    products: Any = jnp.float32


FULL = Precision()


def _product(a, b, contracted: tuple[int, int], dtype: Any):
    dimensions = (((contracted[0],), (contracted[1],)), ((), ()))
    return jax.lax.dot_general(a.astype(dtype), b.astype(dtype), dimensions, preferred_element_type=jnp.float32)


@jax.custom_vjp
def bf16_matmul(x, kernel):
    """x [..., I] times kernel [I, O] with bfloat16 operands and float32 sums, here and in both gradients.

    For CPUs with bfloat16 instructions, where activations in bfloat16 would cost more than they save.
    """
    return _product(x, kernel, (x.ndim - 1, 0), jnp.bfloat16)


def _forward(x, kernel):
    # what is kept for the backward pass is the rounded operands: half the memory
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return bf16_matmul(x, kernel), (x, kernel)


def _backward(residuals, cotangent):
    x, kernel = residuals
    cotangent = cotangent.astype(jnp.bfloat16)
    dx = _product(cotangent, kernel, (cotangent.ndim - 1, 1), jnp.bfloat16)
    flat_x, flat_cotangent = x.reshape(-1, x.shape[-1]), cotangent.reshape(-1, cotangent.shape[-1])
    return dx, _product(flat_x, flat_cotangent, (0, 0), jnp.bfloat16)


bf16_matmul.defvjp(_forward, _backward)


def matmul(x, kernel, precision: Precision):
    """x [..., I] times kernel [I, O] in the given precision; the result has the activations' dtype."""
    if precision.products == jnp.bfloat16 and precision.activations == jnp.float32:
        return bf16_matmul(x, kernel)
    x, kernel = x.astype(precision.activations), kernel.astype(precision.activations)
    return jnp.matmul(x, kernel)


class Linear(nn.Module):
    """x [..., I] -> [..., features]: a matrix product and a bias.

    Attributes:
      features: O.
      precision: of the product and the output.
      kernel_init, bias_init: initializers.
      use_bias: whether there is a bias.
    """

    features: int
    precision: Precision = FULL
    kernel_init: Any = nn.initializers.xavier_uniform()
    bias_init: Any = nn.initializers.zeros
    use_bias: bool = True

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = matmul(x, kernel, self.precision)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,)).astype(y.dtype)
        return y
