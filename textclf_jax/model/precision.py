"""Which numbers the model computes with, and matrix products that follow it."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from textclf_jax.model.products import (
    bf16_batched_matmul,
    bf16_kernel_gradient,
    bf16_matmul,
    bf16_product_over_rows,
)


class Precision(NamedTuple):
    """The dtypes of a model's computation. Parameters, softmax, LayerNorm statistics and losses are float32 always.

    Attributes:
      activations: of what flows between layers.
      products: what the operands of matrix products are rounded to; sums are float32.
    """

    activations: Any = jnp.float32
    products: Any = jnp.float32

    @property
    def rounds_products(self) -> bool:
        """Whether products round operands that flow in float32."""
        return self.products == jnp.bfloat16 and self.activations == jnp.float32

    def rounded(self, x: Any) -> Any:
        """x as the operand of a product that rounds, and x itself elsewhere."""
        return x.astype(self.products) if self.rounds_products else x


FULL = Precision()


def matmul(x, kernel, precision: Precision, *, transposed: bool = False) -> Any:
    """x [..., I] times kernel [I, O] ([O, I] if transposed) in a precision; the result has the activations' dtype."""
    if precision.rounds_products:
        return bf16_matmul(x.astype(jnp.float32), kernel, transposed)
    x, kernel = x.astype(precision.activations), kernel.astype(precision.activations)
    return jnp.matmul(x, kernel.T if transposed else kernel)


def kernel_gradient(x, cotangent, precision: Precision, *, transposed: bool = False) -> Any:
    """The gradient of `matmul` by its kernel, from x [..., I] and the gradient [..., O] by its result."""
    if precision.rounds_products:
        return bf16_kernel_gradient(x, cotangent, transposed)
    return jnp.einsum("...i,...o->oi" if transposed else "...i,...o->io", x, cotangent)


def batched_matmul(a, b, precision: Precision, *, transposed: bool = False) -> Any:
    """a [..., L, K] times b [..., K, S] ([..., S, K] if transposed), one by one; the result is float32 or wider."""
    if precision.rounds_products:
        return bf16_batched_matmul(a, b, transposed)
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum("...lk,...sk->...ls" if transposed else "...lk,...ks->...ls", a, b, preferred_element_type=wide)


def product_over_rows(a, b, precision: Precision) -> Any:
    """a [..., L, K] and b [..., L, S] to a^T b [..., K, S], one by one; the result is float32 or wider.

    Fastest where a is the smaller one. Not for what is differentiated.
    """
    if precision.rounds_products:
        return bf16_product_over_rows(a, b)
    return jnp.einsum("...lk,...ls->...ks", a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


class Kernel(nn.Module):
    """The matrix of a product that is computed elsewhere. () -> [I, O]."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self):
        return self.param("kernel", nn.initializers.xavier_uniform(), self.shape)


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
    def __call__(self, x, part: slice = slice(None)):
        """Computes all features, or a part of them."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = matmul(x, kernel[:, part], self.precision)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,))[part].astype(y.dtype)
        return y
