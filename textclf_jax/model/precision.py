"""Which numbers the model computes with, and matrix products that follow it."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from textclf_jax.model.casts import cast
from textclf_jax.model.products import (
    bf16_batched_matmul,
    bf16_kernel_gradient,
    bf16_matmul,
    bf16_product_over_rows,
    turned_once,
)
from textclf_jax.model.residuals import from_bits, to_bits


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

    def rounded(self, x: Any, *, in_integers: bool = False) -> Any:
        """x as the operand of a product that rounds, and x itself elsewhere.

        `in_integers`: by `cast`, which is faster where it reads memory, or long computations that nothing else needs.
        """
        if not self.rounds_products:
            return x
        return cast(x, self.products) if in_integers else x.astype(self.products)


FULL = Precision()


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def split(x, count: int, precision: Precision) -> Any:
    """`jnp.split` along the last axis. Where products round, so do the parts of its gradient, before they are one."""
    del precision
    return jnp.split(x, count, axis=-1)


def _split_forward(x, count: int, precision: Precision):
    return split(x, count, precision), None


def _split_backward(count: int, precision: Precision, residuals, cotangents):
    del count, residuals
    # as bits: XLA on CPU puts parts together in float32
    whole = from_bits(jnp.concatenate([to_bits(precision.rounded(part)) for part in cotangents], axis=-1))
    return (whole.astype(cotangents[0].dtype),)


split.defvjp(_split_forward, _split_backward)


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


def turned(x, precision: Precision) -> Any:
    """The result of a product [..., L, K] as [..., K, L]; where products round, written out."""
    return turned_once(x) if precision.rounds_products else x.swapaxes(-1, -2)


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
        y = self.product(x, kernel[:, part])
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,))[part].astype(y.dtype)
        return y

    def product(self, x, kernel):
        """x [..., I] and kernel [I, O] to [..., O]."""
        return matmul(x, kernel, self.precision)
