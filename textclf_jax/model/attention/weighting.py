"""Softmax-weighted means of values: what the kinds `mha`, `local` and `lsh` have in common, with its gradient."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.attention.blocks import in_turns, turns_side_by_side
from textclf_jax.model.dropout import dropout
from textclf_jax.model.precision import Precision, batched_matmul, product_over_rows, turned
from textclf_jax.model.reductions import sum_of_products
from textclf_jax.model.residuals import kept, taken_up

# Added, not selected: a row without any real key then averages all values, and gradients match the reference's
MASKED_SCORE = -1e9


class Bias(Protocol):
    """What is added to scores, as little as it takes to compute it; a tree of arrays."""

    def bias(self) -> Float[Array, "*N L S"]:
        """Computes it: float32, broadcasts to the scores."""
        ...


class Segments(NamedTuple):
    """The text that each query and each key belongs to; queries see the keys of their own.

    Attributes:
      queries: [..., L].
      keys: [..., S].
    """

    queries: Int[Array, "*N L"]
    keys: Int[Array, "*N S"]

    def bias(self) -> Float[Array, "*N L S"]:
        """-1e9 between two texts."""
        together = self.queries[..., :, None] == self.keys[..., None, :]
        return jnp.where(together, 0.0, MASKED_SCORE).astype(jnp.float32)


def _unchanged(x: Any) -> Any:
    return x


class Weighting(NamedTuple):
    """The arguments of `weighted_values` that are not arrays."""

    dropout_rate: float
    precision: Precision
    spread: Callable[[Any], Any]
    turns: int

    @property
    def keeps_weights(self) -> bool:
        """Whether the weights are kept for the backward pass, which saves computing them again, and not their sums."""
        return self.precision.rounds_products and self.turns == 0 and self.spread is _unchanged


def weighted_values(
    q: Float[Array, "*N L K"],
    k: Float[Array, "*N S K"] | Any,
    v: Float[Array, "*N S K"] | Any,
    bias: Float[Array, "..."] | Bias,
    dropout_key: Array | None,
    dropout_rate: float,
    precision: Precision,
    spread: Callable[[Any], Float[Array, "*N S K"]] = _unchanged,
    *,
    turns: int = 0,
) -> tuple[Float[Array, "*N L K"], Float[Array, "*N L"]]:
    """Weights values by softmax(q k^T / sqrt(K) + bias).

    Where weights are few and products round, they are kept for the gradient in the products' dtype. Otherwise nothing
    of size L x S is, and it needs no sum over keys: sum_s P dP = dO . O.

    Args:
      q, k, v: [..., L or S, K], any float dtype; scores and softmax are float32 or wider.
      bias: broadcasts to [..., L, S]; gets no gradient. Or what it is computed from, in both passes; so it is not kept.
      dropout_key: None in evaluation.
      dropout_rate: of the weights.
      precision: of the products.
      spread: makes k and v of what is given for them, in both passes, so that the results are not kept; linear.
      turns: the number of first axes whose parts are computed one after the other. Those of k, v and bias broadcast to
        those of q.

    Returns:
      [..., L, K] float32 or wider, and [..., L] the logarithm of each query's sum of exponentiated scores.

    Source: Dao et al. 2022, FlashAttention, appendix B.2 (the gradient).
    """
    # before the product: XLA would give it an array of the scores' size with nothing but this number
    return _weighted(
        q * q.shape[-1] ** -0.5, k, v, bias, dropout_key, Weighting(dropout_rate, precision, spread, turns)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _weighted(q, k, v, bias, dropout_key, how: Weighting) -> Any:
    return _forward(q, k, v, bias, dropout_key, how)[0]


def _forward(q, k, v, bias, dropout_key, how: Weighting):
    turns = q.shape[: how.turns]
    if turns and dropout_key is not None:
        dropout_key = jax.random.split(dropout_key, math.prod(turns)).reshape(turns)
    q, k, v = jax.tree.map(how.precision.rounded, (q, k, v))
    context, partition, of_weights = _in_turns(how, _attend, (q, k, v, bias, dropout_key), (turns,) * 3, q, k)
    residuals = kept((q, k, v, of_weights, None if how.keeps_weights else how.precision.rounded(context)))
    return (context, partition), (residuals, bias, dropout_key)


def _in_turns(how: Weighting, compute, arguments, leading, q, k) -> Any:
    """compute(how, *arguments), of which q and k are two, in turns where there are some."""
    compute = functools.partial(compute, how)
    if not how.turns:
        return compute(*arguments)
    scores_of_turn = math.prod(q.shape[how.turns : -1]) * jax.eval_shape(how.spread, k).shape[-2]
    return in_turns(compute, arguments, q.shape[: how.turns], leading, side_by_side=turns_side_by_side(scores_of_turn))


def _attend(how: Weighting, q, k, v, bias, dropout_key):
    """The context, the logarithm of the sum of exponentiated scores, and what the weights are made of again."""
    keys, values = how.spread(k), how.spread(v)
    scores = _scores(q, keys, bias, how.precision)
    # apart: the logarithm of their product has no digits left where everything is masked (1e9)
    largest = scores.max(axis=-1, keepdims=True)
    exponentials = jnp.exp(scores - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    weights = exponentials / total
    dropped = dropout(weights, how.dropout_rate, dropout_key).astype(values.dtype)
    context = batched_matmul(dropped, values, how.precision)
    partition = (largest + jnp.log(total))[..., 0]
    return context, partition, how.precision.rounded(weights) if how.keeps_weights else (largest, total)


def _scores(q, k, bias, precision: Precision):
    # as it is given, and for each layer: XLA on CPU would make one of the scores' size, and hold it for all layers
    bias, q = taken_up(bias, q)
    added = bias if isinstance(bias, jax.Array) else bias.bias()
    return batched_matmul(q, k, precision, transposed=True) + added


def _backward(how: Weighting, residuals, cotangents):
    residuals, bias, dropout_key = residuals
    residuals, cotangents = taken_up(residuals, cotangents)
    q, k, v, *_ = residuals
    leading = tuple(jax.tree.leaves(x)[0].shape[: how.turns] for x in (q, k, v))
    gradients = _in_turns(how, _gradients, (*cotangents, *residuals, bias, dropout_key), leading, q, k)
    if how.spread is _unchanged:
        # here, not with each part: of turned parts XLA on CPU makes sums at a fifth of the speed
        dq, *of_kv = gradients
        gradients = dq, *(turned(gradient, how.precision) for gradient in of_kv)
    if not how.precision.rounds_products:
        gradients = jax.tree.map(lambda gradient, x: gradient.astype(x.dtype), gradients, (q, k, v))
    return *gradients, None, None


def _gradients(how: Weighting, dcontext, dpartition, q, k, v, of_weights, context, bias, dropout_key):
    """Those of q, k and v; of k and v turned, [..., K, S], where nothing spreads them."""
    precision = how.precision
    keys, values = how.spread(k), how.spread(v)
    weights = of_weights if how.keeps_weights else _weights(q, keys, bias, of_weights, precision)
    weights = weights.astype(dcontext.dtype)
    dweights = batched_matmul(dcontext.astype(values.dtype), values, precision, transposed=True)
    dweights = dropout(dweights, how.dropout_rate, dropout_key)
    # sum_s P dP and dO . O are the same number
    along = (weights, dweights) if how.keeps_weights else (dcontext, context.astype(dcontext.dtype))
    offset = sum_of_products(*along, axis=-1) - dpartition[..., None]
    dscores = (weights * (dweights - offset)).astype(q.dtype)
    dcontext = dcontext.astype(values.dtype)
    weights = dropout(weights, how.dropout_rate, dropout_key).astype(values.dtype)
    dq = batched_matmul(dscores, keys, precision)
    dkeys, dvalues = (product_over_rows(x, y, precision) for x, y in ((q, dscores), (dcontext, weights)))
    return dq, _gathered(dkeys, k, how), _gathered(dvalues, v, how)


def _weights(q, keys, bias, largest_and_total, precision: Precision):
    largest, total = largest_and_total
    return jnp.exp(_scores(q, keys, bias, precision) - largest) / total


def _gathered(gradient, x, how: Weighting):
    """The gradient of x from that of what `spread` makes of it, [..., K, S]. Without spreading it is that, as it is."""
    if how.spread is _unchanged:
        return gradient
    gradient = gradient.swapaxes(-1, -2)
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, gradient.dtype), x)
    return jax.linear_transpose(how.spread, wide)(gradient)[0]


_weighted.defvjp(_forward, _backward)
