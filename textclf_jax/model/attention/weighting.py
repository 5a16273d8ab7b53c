"""Softmax-weighted means of values: what the kinds `mha`, `local` and `lsh` have in common, with its gradient."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.dropout import dropout
from textclf_jax.model.precision import Precision, batched_matmul, product_over_rows
from textclf_jax.model.reductions import sum_of_products
from textclf_jax.model.residuals import kept, taken_up

# Added, not selected: a row without any real key then averages all values, and gradients match the reference's
MASKED_SCORE = -1e9


class Blocks(NamedTuple):
    """How scores are computed that are too many to be held at once.

    Attributes:
      scores: that are held at once: of a block of queries, with all keys.
      single_heads: one head after the other. XLA's products on CPU are faster for one matrix than for several.
      from_scores: the number of scores of a layer above which this is done; fewer are held whole.
    """

    scores: int
    single_heads: bool
    from_scores: int


# on a CPU a block stays in the cache, on a GPU it fills the device
BLOCKS = {
    "cpu": Blocks(scores=2**20, single_heads=True, from_scores=2**22),
    "gpu": Blocks(scores=2**28, single_heads=False, from_scores=2**28),
}


def blocks_of_scores() -> Blocks:
    """Those of the platform."""
    return BLOCKS["gpu" if jax.default_backend() == "gpu" else "cpu"]


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
    keeps_weights: bool


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
    keeps_weights: bool = False,
) -> tuple[Float[Array, "*N L K"], Float[Array, "*N L"]]:
    """Weights values by softmax(q k^T / sqrt(K) + bias).

    The gradient needs no sum over keys: sum_s P dP = dO . O. Nothing of size L x S needs to be kept for it.

    Args:
      q, k, v: [..., L or S, K], any float dtype; scores and softmax are float32 or wider.
      bias: broadcasts to [..., L, S]; gets no gradient. Or what it is computed from, in both passes; so it is not kept.
      dropout_key: None in evaluation.
      dropout_rate: of the weights.
      precision: of the products.
      spread: makes k and v of what is given for them, in both passes, so that the results are not kept.
      keeps_weights: where products round, the weights are kept in their dtype, which saves computing them again. Not
        with `spread`.

    Returns:
      [..., L, K] float32 or wider, and [..., L] the logarithm of each query's sum of exponentiated scores.

    Source: Dao et al. 2022, FlashAttention, appendix B.2 (the gradient).
    """
    # before the product: XLA would give it an array of the scores' size with nothing but this number
    # the backward pass would not gather
    assert not keeps_weights or spread is _unchanged
    how = Weighting(dropout_rate, precision, spread, keeps_weights and precision.rounds_products)
    return _weighted(q * q.shape[-1] ** -0.5, k, v, bias, dropout_key, how)


def in_turns(
    attend: Callable[..., Any],
    arguments: tuple[Any, ...],
    dropout_key: Array | None,
    *,
    heads: tuple[int, ...],
    num_scores: int,
) -> Any:
    """Calls `attend`; for one head after the other where scores are many and the platform gains by it.

    What `attend` computes then exists for one head at a time, in both passes.

    Args:
      attend: takes the arguments and a key.
      arguments: trees of arrays whose first axes broadcast to `heads`.
      dropout_key: None in evaluation; each head gets one of its own.
      heads: the first axes of what `attend` returns, which tell heads apart.
      num_scores: of all heads.

    Returns:
      What `attend` returns.
    """
    blocks = blocks_of_scores()
    if not blocks.single_heads or num_scores <= blocks.from_scores:
        return attend(*arguments, dropout_key)

    def flat(x):
        return jnp.broadcast_to(x, (*heads, *x.shape[len(heads) :])).reshape(-1, *x.shape[len(heads) :])

    keys = None if dropout_key is None else jax.random.split(dropout_key, math.prod(heads))
    results = jax.lax.map(lambda head: attend(*head[0], head[1]), (jax.tree.map(flat, arguments), keys))
    return jax.tree.map(lambda x: x.reshape(*heads, *x.shape[1:]), results)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _weighted(q, k, v, bias, dropout_key, how: Weighting) -> Any:
    return _forward(q, k, v, bias, dropout_key, how)[0]


def _scores(q, k, bias, precision: Precision):
    added = bias if isinstance(bias, jax.Array) else bias.bias()
    return batched_matmul(q, k, precision, transposed=True) + added


def _forward(q, k, v, bias, dropout_key, how: Weighting):
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
    if how.keeps_weights:
        residuals = kept(jax.tree.map(how.precision.rounded, (q, k, v, weights, context)))
    else:
        residuals = q, k, v, (largest, total), context
    return (context, partition), (residuals, bias, dropout_key)


def _backward(how: Weighting, residuals, cotangents):
    precision, (residuals, bias, dropout_key) = how.precision, residuals
    if how.keeps_weights:
        residuals, cotangents = taken_up(residuals, cotangents)
    (q, k, v, of_weights, context), (dcontext, dpartition) = residuals, cotangents
    (keys, gather_keys), (values, gather_values) = (_spread(x, how) for x in (k, v))
    offset = sum_of_products(dcontext, context.astype(dcontext.dtype), axis=-1) - dpartition[..., None]
    weights = of_weights if how.keeps_weights else _weights(q, keys, bias, of_weights, precision)
    weights, dcontext = weights.astype(dcontext.dtype), dcontext.astype(values.dtype)
    dweights = batched_matmul(dcontext, values, precision, transposed=True)
    dweights = dropout(dweights, how.dropout_rate, dropout_key)
    dscores = (weights * (dweights - offset)).astype(q.dtype)
    weights = dropout(weights, how.dropout_rate, dropout_key).astype(values.dtype)
    dq = batched_matmul(dscores, keys, precision)
    dkeys, dvalues = (
        product_over_rows(x, y, precision).swapaxes(-1, -2) for x, y in ((q, dscores), (dcontext, weights))
    )
    if not how.keeps_weights:
        dq, dkeys, dvalues = (gradient.astype(x.dtype) for gradient, x in ((dq, q), (dkeys, keys), (dvalues, values)))
    return dq, *gather_keys(dkeys), *gather_values(dvalues), None, None


def _weights(q, keys, bias, largest_and_total, precision: Precision):
    largest, total = largest_and_total
    return jnp.exp(_scores(q, keys, bias, precision) - largest) / total


def _spread(x, how: Weighting):
    """What `spread` makes of x, and the function from its gradient to that of x."""
    return (x, lambda gradient: (gradient,)) if how.keeps_weights else jax.vjp(how.spread, x)


_weighted.defvjp(_forward, _backward)
