"""Softmax attention: softmax(q k^T / sqrt(K) + bias) v, with a gradient that keeps little.

Few scores are computed at once, and their weights kept for the backward pass where products round. Many are computed
for one head, or one block of queries, after the other, in both passes: nothing of size L x S is kept, and memory is
linear in the length.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.barriers import delay_until, materialize
from textclf_jax.kernels.batched import batched_matmul, sum_over_rows
from textclf_jax.kernels.blocks import loop_over_parts
from textclf_jax.kernels.casts import scaled
from textclf_jax.kernels.dropout import dropout
from textclf_jax.kernels.precision import Precision
from textclf_jax.kernels.reductions import sum_of_products
from textclf_jax.kernels.shards import first_element, keys_of_parts
from textclf_jax.kernels.transpose import transpose_result

# Added, not selected: a row without any real key then averages all values, and gradients match the reference's
MASKED_SCORE = -1e9


class Blocks(NamedTuple):
    """How scores are computed that are too many to be held at once.

    Attributes:
      scores: that are held at once, of a block of queries with all keys.
      single_heads: one head after the other. XLA's products on CPU are faster for one matrix than for several.
      from_scores: the number of scores of a layer above which this is done; fewer are held whole.
      at_once: how many blocks an iteration computes.
    """

    scores: int
    single_heads: bool
    from_scores: int
    at_once: int = 2


# on a CPU a block stays in the cache, on a GPU it fills the device
BLOCKS = {
    "cpu": Blocks(scores=2**20, single_heads=True, from_scores=2**22),
    "gpu": Blocks(scores=2**28, single_heads=False, from_scores=2**28, at_once=1),
}


def _blocks() -> Blocks:
    return BLOCKS["gpu" if platform() == "gpu" else "cpu"]


class Bias(Protocol):
    """What is added to scores, as little as it takes to compute it, so that it need not be kept; a tree of arrays."""

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


def attention_reference(q, k, v, bias):
    """What `attention` computes, without dropout; q [..., L, K], k and v [..., S, K], bias an array."""
    scores = jnp.einsum("...lk,...sk->...ls", q, k) * q.shape[-1] ** -0.5 + bias
    return jnp.einsum("...ls,...sk->...lk", jax.nn.softmax(scores), v), jax.nn.logsumexp(scores, axis=-1)


def _unchanged(x: Any) -> Any:
    return x


def attention(
    q: Float[Array, "*N L K"],
    k: Float[Array, "*N S K"] | Any,
    v: Float[Array, "*N S K"] | Any,
    bias: Float[Array, "..."] | Bias,
    *,
    precision: Precision,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
    head_axes: int = 2,
    expand: Callable[[Any], Float[Array, "*N S K"]] = _unchanged,
) -> tuple[Float[Array, "*N L K"], Float[Array, "*N L"]]:
    """Averages values with the weights softmax(q k^T / sqrt(K) + bias).

    Args:
      q, k, v: [..., L or S, K], any float dtype; scores and softmax are float32 or wider.
      bias: broadcasts to [..., L, S], or what it is computed from; gets no gradient. Without `expand` it is
        `Segments`, or an array whose L axis is 1: others are not cut into blocks of queries.
      precision: of the products.
      dropout_rate: of the weights.
      dropout_key: None in evaluation.
      head_axes: how many of the first axes tell heads apart.
      expand: makes the k and v above of those that are given, in both passes, so that the results are not kept; linear.

    Returns:
      [..., L, K] float32 or wider, and [..., L] the logarithm of each query's sum of exponentiated scores.

    Source: Vaswani et al. 2017, eq. 1; Dao et al. 2022, FlashAttention, appendix B.2 (the gradient).
    """
    # scaled before the product: XLA would write out an array of the scores' size with nothing but this number
    q = scaled(q, q.shape[-1] ** -0.5)
    blocks = _blocks()
    num_keys = jax.eval_shape(expand, k).shape[-2]
    is_whole = math.prod(q.shape[:-1]) * num_keys <= blocks.from_scores
    options = Options(dropout_rate, precision, expand, loop_axes=0)
    if expand is _unchanged and not is_whole:
        return _attend_in_blocks(q, k, v, bias, dropout_key, options, blocks)
    if not is_whole and blocks.single_heads:
        options = options._replace(loop_axes=head_axes)
    return _attend(q, k, v, bias, dropout_key, options)


def _attend_in_blocks(q, k, v, bias, dropout_key, options: "Options", blocks: Blocks):
    """One block of queries after the other, and one head where that is faster. q is [B, H, L, K]."""
    length = q.shape[2]
    scores_of_query = k.shape[2] * (1 if blocks.single_heads else math.prod(q.shape[:2]))
    size = min(max(blocks.scores // scores_of_query // 64 * 64, 64), length)
    # where the axis of blocks goes: the loop is over it and the axes before it
    axis = 2 if blocks.single_heads else 0

    def cut_queries(x):
        widths = [(0, -length % size if i == 2 else 0) for i in range(x.ndim)]
        cut = jnp.pad(x, widths).reshape(*x.shape[:2], -1, size, *x.shape[3:])
        return jnp.moveaxis(cut, 2, axis)

    keys: Any = bias.keys if isinstance(bias, Segments) else bias
    k, v, keys = (jnp.expand_dims(x, axis) for x in (k, v, keys))
    bias = Segments(cut_queries(bias.queries), keys) if isinstance(bias, Segments) else keys
    options = options._replace(loop_axes=axis + 1)
    parts: Any = _attend(cut_queries(q), k, v, bias, dropout_key, options)
    context, partition = parts
    context = jnp.moveaxis(context, axis, 2).reshape(*q.shape[:2], -1, q.shape[3])
    return context[:, :, :length], jnp.moveaxis(partition, axis, 2).reshape(*q.shape[:2], -1)[:, :, :length]


class Options(NamedTuple):
    """The arguments of `_attend` that are not arrays.

    Attributes:
      dropout_rate, precision, expand: see `attention`.
      loop_axes: how many of the first axes are looped over; k, v and bias broadcast there.
    """

    dropout_rate: float
    precision: Precision
    expand: Callable[[Any], Any]
    loop_axes: int

    @property
    def keeps_weights(self) -> bool:
        """Whether the weights are kept for the backward pass, which saves computing them again."""
        return self.precision.rounds_products and self.loop_axes == 0 and self.expand is _unchanged

    @property
    def loops_over_rows(self) -> bool:
        """Whether each row of a batch is a part of its own, or several."""
        return self.loop_axes > 1

    def dropped(self, weights, dropout_key: Array | None):
        """Dropout of the weights of a part, or of their gradient."""
        start = None if self.loops_over_rows else first_element(weights.size)
        return dropout(weights, self.dropout_rate, dropout_key, start)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attend(q, k, v, bias, dropout_key, options: Options) -> Any:
    return _forward(q, k, v, bias, dropout_key, options)[0]


def _forward(q, k, v, bias, dropout_key, options: Options):
    parts = q.shape[: options.loop_axes]
    if parts and dropout_key is not None:
        split = keys_of_parts if options.loops_over_rows else jax.random.split
        dropout_key = split(dropout_key, math.prod(parts)).reshape(parts)
    q, k, v = jax.tree.map(options.precision.rounded, (q, k, v))
    context, partition, of_weights = _by_parts(
        _forward_part, options, (q, k, v, bias, dropout_key), parts, (parts,) * 3
    )
    kept = (q, k, v, of_weights, None if options.keeps_weights else options.precision.rounded(context))
    return (context, partition), (materialize(kept), bias, dropout_key)


def _by_parts(compute, options: Options, arguments, parts, leading) -> Any:
    """compute(options, *arguments), for one part after the other where there are parts."""
    compute = functools.partial(compute, options)
    if not parts:
        return compute(*arguments)
    return loop_over_parts(compute, arguments, parts, leading, at_once=_blocks().at_once)


def _forward_part(options: Options, q, k, v, bias, dropout_key):
    """The context, the logarithm of the partition function, and what the weights are made of again."""
    keys, values = options.expand(k), options.expand(v)
    scores = _scores(q, keys, bias, options.precision)
    # largest and total are returned apart: where every key is masked (1e9), their sum has no digits of log(total) left
    largest = scores.max(axis=-1, keepdims=True)
    exponentials = jnp.exp(scores - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    weights = exponentials / total
    dropped = options.dropped(weights, dropout_key).astype(values.dtype)
    context = batched_matmul(dropped, values, options.precision)
    partition = (largest + jnp.log(total))[..., 0]
    return context, partition, options.precision.rounded(weights) if options.keeps_weights else (largest, total)


def _scores(q, k, bias, precision: Precision):
    # XLA on CPU would otherwise make one bias of the scores' size, and hold it for all layers
    bias, q = delay_until(bias, q)
    added = bias if isinstance(bias, jax.Array) else bias.bias()
    return batched_matmul(q, k, precision, transposed=True) + added


def _backward(options: Options, residuals, cotangents):
    residuals, bias, dropout_key = residuals
    residuals, cotangents = delay_until(residuals, cotangents)
    q, k, v, *_ = residuals
    parts = q.shape[: options.loop_axes]
    leading = tuple(jax.tree.leaves(x)[0].shape[: options.loop_axes] for x in (q, k, v))
    arguments = (*cotangents, *residuals, bias, dropout_key)
    dq, *of_kv = _by_parts(_backward_part, options, arguments, parts, leading)
    if options.expand is _unchanged:
        # transposed after the sum over parts: XLA on CPU adds up transposed parts at a fifth of the speed
        of_kv = [_transposed(gradient, options.precision) for gradient in of_kv]
    gradients = (dq, *of_kv)
    if not options.precision.rounds_products:
        gradients = jax.tree.map(lambda gradient, x: gradient.astype(x.dtype), gradients, (q, k, v))
    return *gradients, None, None


def _transposed(gradient, precision: Precision):
    return transpose_result(gradient) if precision.rounds_products else gradient.swapaxes(-1, -2)


def _backward_part(options: Options, dcontext, dpartition, q, k, v, of_weights, context, bias, dropout_key):
    """The gradients of q, k and v; those of k and v transposed, [..., K, S], where nothing expands them."""
    precision = options.precision
    keys, values = options.expand(k), options.expand(v)
    weights = of_weights if options.keeps_weights else _weights_again(q, keys, bias, of_weights, precision)
    weights = weights.astype(dcontext.dtype)
    dweights = batched_matmul(dcontext.astype(values.dtype), values, precision, transposed=True)
    dweights = options.dropped(dweights, dropout_key)
    # sum_s P dP and dO . O are the same number; the second needs no sum over keys
    factors = (weights, dweights) if options.keeps_weights else (dcontext, context.astype(dcontext.dtype))
    offset = sum_of_products(*factors, axis=-1) - dpartition[..., None]
    dscores = (weights * (dweights - offset)).astype(q.dtype)
    dcontext, weights = dcontext.astype(values.dtype), options.dropped(weights, dropout_key).astype(values.dtype)
    dq = batched_matmul(dscores, keys, precision)
    dkeys, dvalues = (sum_over_rows(x, y, precision) for x, y in ((q, dscores), (dcontext, weights)))
    return dq, _before_expansion(dkeys, k, options), _before_expansion(dvalues, v, options)


def _weights_again(q, keys, bias, largest_and_total, precision: Precision):
    largest, total = largest_and_total
    return jnp.exp(_scores(q, keys, bias, precision) - largest) / total


def _before_expansion(gradient, x, options: Options):
    """The gradient of x from that of `expand(x)`, [..., K, S]; where nothing is expanded that gradient itself."""
    if options.expand is _unchanged:
        return gradient
    gradient = gradient.swapaxes(-1, -2)
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, gradient.dtype), x)
    return jax.linear_transpose(options.expand, wide)(gradient)[0]


_attend.defvjp(_forward, _backward)
