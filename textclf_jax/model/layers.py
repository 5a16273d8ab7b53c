"""The layers that blocks are made of: linear, LayerNorm, dropout."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from textclf_jax.kernels.dropout import dropout
from textclf_jax.kernels.gelu import gelu_linear
from textclf_jax.kernels.layer_norm import layer_norm
from textclf_jax.kernels.linear import add_bias, linear
from textclf_jax.kernels.precision import FULL, Precision


class Linear(nn.Module):
    """x W + b. [..., I] -> [..., features].

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
    def __call__(self, x: Float[Array, "*N I"], part: slice = slice(None)) -> Float[Array, "*N O"]:
        """Computes all features, or a part of them."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = self.product(x, kernel[:, part])
        return add_bias(y, self.param("bias", self.bias_init, (self.features,))[part]) if self.use_bias else y

    def product(self, x, kernel):
        """x [..., I] and kernel [I, O] to [..., O]."""
        return linear(x, kernel, self.precision)


class GeluLinear(Linear):
    """gelu(x) W + b. [..., I] -> [..., features]; of x and gelu(x), x alone is kept for the gradient."""

    def product(self, x, kernel):
        """gelu(x) [..., I] and kernel [I, O] to [..., O]."""
        return gelu_linear(x, kernel, self.precision)


class Kernel(nn.Module):
    """The kernel of a linear layer that is applied elsewhere. () -> [I, O]."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self) -> Float[Array, "I O"]:
        return self.param("kernel", nn.initializers.xavier_uniform(), self.shape)


class LayerNorm(nn.Module):
    """Normalises each vector to mean 0 and variance 1, then scales and shifts it. [..., D] -> [..., D].

    Attributes:
      precision: the activations' dtype is the output's.

    Source: Ba et al. 2016, eq. 3.
    """

    precision: Precision = FULL

    @nn.compact
    def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return layer_norm(x, scale, bias, self.precision)


class Dropout(nn.Module):
    """Drops elements in training, with a key from the "dropout" stream; does nothing in evaluation. Shape is kept.

    Attributes:
      rate: probability that an element becomes 0, in [0, 1).
    """

    rate: float

    def __call__(self, x: Float[Array, "..."], *, train: bool) -> Float[Array, "..."]:
        key = self.make_rng("dropout") if train and self.rate > 0 else None
        return dropout(x, self.rate, key)
