"""Softmax-weighted means of values: what the kinds `mha`, `local` and `lsh` have in common, with its gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.dropout import dropout
from textclf_jax.model.precision import Precision, batched_matmul, product_over_rows
from textclf_jax.model.reductions import sum_of_products

# Added, not selected: a row without any real key then averages all values, and gradients match the reference's
MASKED_SCORE = -1e9


class Segments(NamedTuple):
    """The text that each query and each key belongs to; queries see the keys of their own.

    Attributes:
      queries: [..., L].
      keys: [..., S].
    """

    queries: Int[Array, "*N L"]
    keys: Int[Array, "*N S"]


def weighted_values(
    q: Float[Array, "*N L K"],
    k: Float[Array, "*N S K"],
    v: Float[Array, "*N S K"],
    bias: Float[Array, "..."] | Segments,
    dropout_key: Array | None,
    dropout_rate: float,
    precision: Precision,
) -> tuple[Float[Array, "*N L K"], Float[Array, "*N L"]]:
    """Weights values by softmax(q k^T / sqrt(K) + bias).

    The gradient needs no sum over keys: sum_s P dP = dO . O. Nothing of size L x S is kept for it.

    Args:
      q, k, v: [..., L or S, K], any float dtype; scores and softmax are float32 or wider.
      bias: broadcasts to [..., L, S]; gets no gradient. Or segments that broadcast to [..., L] and [..., S]: then it
        is -1e9 between two texts, and never kept.
      dropout_key: None in evaluation.
      dropout_rate: of the weights.
      precision: of the products.

    Returns:
      [..., L, K] float32 or wider, and [..., L] the logarithm of each query's sum of exponentiated scores.

    Source: Dao et al. 2022, FlashAttention, appendix B.2 (the gradient).
    """
    # before the product: XLA would give it an array of the scores' size with nothing but this number
    return _weighted(q * q.shape[-1] ** -0.5, k, v, bias, dropout_key, dropout_rate, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _weighted(q, k, v, bias, dropout_key, dropout_rate, precision) -> Any:
    return _forward(q, k, v, bias, dropout_key, dropout_rate, precision)[0]


def _scores(q, k, bias, precision: Precision):
    if isinstance(bias, Segments):
        together = bias.queries[..., :, None] == bias.keys[..., None, :]
        bias = jnp.where(together, 0.0, MASKED_SCORE).astype(jnp.float32)
    return batched_matmul(q, k, precision, transposed=True) + bias


def _forward(q, k, v, bias, dropout_key, dropout_rate, precision):
    scores = _scores(q, k, bias, precision)
    # apart: the logarithm of their product has no digits left where everything is masked (1e9)
    largest = scores.max(axis=-1, keepdims=True)
    exponentials = jnp.exp(scores - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    weights = dropout(exponentials / total, dropout_rate, dropout_key).astype(v.dtype)
    context = batched_matmul(weights, v, precision)
    partition = (largest + jnp.log(total))[..., 0]
    return (context, partition), (q, k, v, bias, dropout_key, largest, total, context)


def _backward(dropout_rate, precision, residuals, cotangents):
    q, k, v, bias, dropout_key, largest, total, context = residuals
    dcontext, dpartition = cotangents
    weights = jnp.exp(_scores(q, k, bias, precision) - largest) / total
    offset = sum_of_products(dcontext, context, axis=-1) - dpartition[..., None]
    dcontext = dcontext.astype(v.dtype)
    dweights = dropout(batched_matmul(dcontext, v, precision, transposed=True), dropout_rate, dropout_key)
    dscores = (weights * (dweights - offset)).astype(q.dtype)
    weights = dropout(weights, dropout_rate, dropout_key).astype(v.dtype)
    dq = batched_matmul(dscores, k, precision)
    products = (product_over_rows(x, y, precision) for x, y in ((q, dscores), (dcontext, weights)))
    dk, dv = (product.swapaxes(-1, -2) for product in products)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, None


_weighted.defvjp(_forward, _backward)
