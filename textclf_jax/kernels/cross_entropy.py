"""Cross-entropy: of logits, of yes or no for each class, and over a vocabulary with too many logits to hold at once."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.barriers import buffer_after, delay_until, from_bits, materialize, to_bits
from textclf_jax.kernels.linear import kernel_gradient, linear
from textclf_jax.kernels.precision import Precision

# 4 MB of float32, which stay in a CPU's cache
LOGITS_AT_ONCE = {"cpu": 2**20}
# where products of another size are slow
VOCABULARY_MULTIPLE = {"gpu": 128}

Losses = tuple[Float[Array, " N"], Float[Array, " N"]]


def cross_entropy_reference(logits, targets) -> Losses:
    """What `cross_entropy` computes of logits [N, C] and targets [N]."""
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen, (chosen >= logits.max(axis=-1)).astype(jnp.float32)


def cross_entropy(logits: Float[Array, "N C"], targets: Int[Array, " N"], num_classes: int | None = None) -> Losses:
    """Computes -log softmax(logits)[target] and whether the target has the largest logit.

    Args:
      logits: [N, C], any float dtype; computed in float32.
      targets: [N] in [0, num_classes).
      num_classes: the logits from there on stand for nothing; C by default.

    Returns:
      losses [N] in nats and hits [N], 1.0 or 0.0.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return _cross_entropy(logits, targets, logits.shape[-1] if num_classes is None else num_classes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cross_entropy(logits, targets, num_classes: int) -> Any:
    return _forward(logits, targets, num_classes)[0]


def _forward(logits, targets, num_classes: int):
    # what is taken here is not masked: to take it from what is computed, XLA would seem to read all logits once more
    largest, total = _largest_and_total(_of_classes(logits, num_classes, jnp.finfo(logits.dtype).min))
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    partition = jnp.log(total) + largest
    return (partition - chosen, (chosen >= largest).astype(jnp.float32)), (logits, targets, partition)


def _of_classes(x, num_classes: int, otherwise):
    """x [N, C], with a number in place of what stands for no class."""
    return x if num_classes == x.shape[-1] else jnp.where(jnp.arange(x.shape[-1]) < num_classes, x, otherwise)


def _largest_and_total(logits):
    """The largest of logits [N, C] and the sum of exponentials of the logits less it, each [N].

    On a GPU in one pass over memory (Milakov & Gimelshein 2018, algorithm 3); on a CPU they stay in its cache.
    """
    if platform() != "gpu":
        largest = logits.max(axis=-1)
        return largest, jnp.exp(logits - largest[:, None]).sum(axis=-1)

    def combine(one, other):
        (largest_1, total_1), (largest_2, total_2) = one, other
        largest = jnp.maximum(largest_1, largest_2)
        return largest, total_1 * jnp.exp(largest_1 - largest) + total_2 * jnp.exp(largest_2 - largest)

    # not minus infinity, of which two have no difference
    start = jnp.finfo(logits.dtype).min, jnp.zeros((), logits.dtype)
    return jax.lax.reduce((logits, jnp.ones_like(logits)), start, combine, (logits.ndim - 1,))


def _backward(num_classes: int, residuals, cotangents):
    # of the gradient of taking along an axis XLA would make a scatter, which nothing fuses with
    logits, targets, partition = residuals
    is_target = jnp.arange(logits.shape[-1]) == targets[:, None]
    probabilities = _of_classes(jnp.exp(logits - partition[:, None]), num_classes, 0.0)
    return (probabilities - is_target) * cotangents[0][:, None], None


_cross_entropy.defvjp(_forward, _backward)


def smoothed_cross_entropy(
    logits: Float[Array, "N C"], targets: Int[Array, " N"], class_weights: Float[Array, " C"], smoothing: float
) -> Float[Array, " N"]:
    """Cross-entropy with label smoothing, in which each class has a weight.

    Args:
      logits: [N, C], finite, any float dtype; computed in float32.
      targets: [N] in [0, C).
      class_weights: [C].
      smoothing: the share of each target that all classes divide equally.

    Returns:
      losses [N] in nats, weighted: torch's CrossEntropyLoss before the mean, which is over the weights of the targets.

    Source: Szegedy et al. 2016, section 7 (smoothing).
    """
    log_probs = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    # a sum over all classes, not a gather, whose gradient would be a scatter
    is_target = jnp.arange(logits.shape[-1]) == targets[:, None]
    shares = (1 - smoothing) * is_target + smoothing / logits.shape[-1]
    return -(shares * class_weights * log_probs).sum(axis=-1)


def binary_cross_entropy(logits: Float[Array, "N C"], targets: Float[Array, "N C"]) -> Losses:
    """Computes the cross-entropy of sigmoid(logits) with targets, where each class is a question of its own.

    The mean of its losses over texts equals torch's BCEWithLogitsLoss(reduction="mean"): every text has C classes.

    Args:
      logits: [N, C], any float dtype; computed in float32.
      targets: [N, C] in [0, 1].

    Returns:
      losses [N] in nats, each the mean over the text's classes; and hits [N]: 1.0 where all classes are right, those
      of logits from 0 on being predicted, otherwise 0.0.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # -y log s(x) - (1 - y) log s(-x) without the sigmoid s, which is 1 in float32 from 17 on
    losses = targets * jax.nn.softplus(-logits) + (1.0 - targets) * jax.nn.softplus(logits)
    hits = ((logits >= 0.0) == (targets >= 0.5)).all(axis=-1)
    return losses.mean(axis=-1), hits.astype(jnp.float32)


class Decoder(NamedTuple):
    """The linear layer that makes logits over a vocabulary.

    Attributes:
      kernel: [D, V], or [V, D] if `transposed`.
      bias: [V], or None.
      precision: of the product.
      transposed: whether the kernel is one of embeddings.
    """

    kernel: Float[Array, "..."]
    bias: Float[Array, " V"] | None
    precision: Precision
    transposed: bool

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.kernel.shape[0 if self.transposed else 1]

    def part(self, start: Any, size: int) -> "Decoder":
        """The decoder of `size` tokens of the vocabulary, from `start` on."""
        kernel = jax.lax.dynamic_slice_in_dim(self.kernel, start, size, 0 if self.transposed else 1)
        bias = None if self.bias is None else jax.lax.dynamic_slice_in_dim(self.bias, start, size)
        return self._replace(kernel=kernel, bias=bias)

    def filled_up(self, multiple: int) -> "Decoder":
        """The decoder of a vocabulary whose size is a multiple of this; the tokens that it adds stand for nothing."""
        missing = -self.vocab_size % multiple
        if not missing:
            return self
        kernel = jnp.pad(self.kernel, [(0, missing), (0, 0)] if self.transposed else [(0, 0), (0, missing)])
        bias = None if self.bias is None else jnp.pad(self.bias, (0, missing))
        return self._replace(kernel=kernel, bias=bias)

    def logits(self, x: Float[Array, "*N D"]) -> Float[Array, "*N V"]:
        """x [..., D] -> [..., V]."""
        logits = linear(x, self.kernel, self.precision, transposed=self.transposed)
        return logits if self.bias is None else logits + self.bias


def decoder_cross_entropy(x: Float[Array, "N D"], decoder: Decoder, targets: Int[Array, " N"]) -> Losses:
    """`cross_entropy` of the logits of x. Where they are many, they are made for a part of the vocabulary at a time.

    Args:
      x: [N, D].
      decoder: gives the logits.
      targets: [N] in [0, V).

    Returns:
      As `cross_entropy`.

    Source: Milakov & Gimelshein 2018, algorithm 3 (the sum over parts).
    """
    at_once = LOGITS_AT_ONCE.get(platform(), math.inf)
    if len(targets) * decoder.vocab_size <= at_once:
        filled_up = decoder.filled_up(VOCABULARY_MULTIPLE.get(platform(), 1))
        return cross_entropy(filled_up.logits(x), targets, decoder.vocab_size)
    size = min(max(int(at_once) // len(targets) // 128, 1) * 128, decoder.vocab_size)
    return _in_parts(x, decoder.kernel, decoder.bias, targets, size, (decoder.precision, decoder.transposed))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _in_parts(x, kernel, bias, targets, size: int, options: tuple[Precision, bool]) -> Any:
    return _in_parts_forward(x, kernel, bias, targets, size, options)[0]


def _in_parts_forward(x, kernel, bias, targets, size: int, options: tuple[Precision, bool]):
    """Keeps, of all logits, exponentials in the products' dtype, each part's less the largest logit up to it."""
    decoder = Decoder(kernel, bias, *options)

    def visit(carry, number, part: Decoder, start):
        (largest, total, chosen), (exponentials, scales) = carry
        logits = part.logits(x)
        before, largest = largest, jnp.maximum(largest, logits.max(axis=-1))
        scaled = jnp.exp(logits - largest[:, None])
        total = total * jnp.exp(before - largest) + scaled.sum(axis=-1)
        column = targets - start
        here = jnp.take_along_axis(logits, jnp.clip(column, 0, logits.shape[1] - 1)[:, None], axis=-1)[:, 0]
        chosen = jnp.where((column >= 0) & (column < logits.shape[1]), here, chosen)
        scaled = to_bits(decoder.precision.rounded(scaled, in_integers=True))
        exponentials = jax.lax.dynamic_update_slice_in_dim(exponentials, scaled, start, 1)
        scales = jax.lax.dynamic_update_index_in_dim(scales, largest, number, 0)
        return (largest, total, chosen), (exponentials, scales)

    count, vocab_size, zeros = len(targets), decoder.vocab_size, jnp.zeros(targets.shape, jnp.float32)
    bits = jnp.uint16 if decoder.precision.rounds_products else jnp.float32
    stored = buffer_after((count, vocab_size), bits, x), buffer_after((-(-vocab_size // size), count), jnp.float32, x)
    carry, stored = _visit_parts(visit, ((zeros - jnp.inf, zeros, zeros), stored), decoder, size)
    largest, total, chosen = carry
    partition = jnp.log(total) + largest
    losses = partition - chosen
    return (losses, (chosen >= largest).astype(jnp.float32)), (x, kernel, bias, targets, losses, partition, stored)


def _in_parts_backward(size: int, options: tuple[Precision, bool], residuals, cotangents):
    residuals, (dlosses, _) = delay_until(residuals, cotangents)
    x, kernel, bias, targets, losses, partition, (exponentials, scales) = residuals
    decoder = Decoder(kernel, bias, *options)
    precision = decoder.precision

    def visit(carry, number, part: Decoder, start):
        dx, dbias, stored = carry
        scaled = jax.lax.dynamic_slice_in_dim(stored, start, part.vocab_size, 1)
        probabilities = from_bits(scaled).astype(x.dtype) * jnp.exp(scales[number] - partition)[:, None]
        is_target = jnp.arange(part.vocab_size) == (targets - start)[:, None]
        # with the target's logit as it was: p - 1 of a rounded p would have no digits left where p is almost 1
        dlogits = jnp.where(is_target, jnp.expm1(-losses)[:, None], probabilities) * dlosses[:, None]
        if dbias is not None:
            dbias = jax.lax.dynamic_update_slice_in_dim(dbias, dlogits.sum(axis=0), start, 0)
        # written out once, for both readers; the second one overwrites what it is computed from
        dlogits = materialize(precision.rounded(dlogits, in_integers=True))
        dx += linear(dlogits, part.kernel, precision, transposed=not decoder.transposed)
        return dx, dbias, jax.lax.dynamic_update_slice_in_dim(stored, to_bits(dlogits), start, 1)

    carry = jnp.zeros_like(x), None if bias is None else jnp.zeros_like(bias), exponentials
    dx, dbias, dlogits = _visit_parts(visit, carry, decoder, size)
    dkernel = kernel_gradient(precision.rounded(x), from_bits(dlogits), precision, transposed=decoder.transposed)
    return dx, dkernel, dbias, None


_in_parts.defvjp(_in_parts_forward, _in_parts_backward)


def _visit_parts(visit: Callable[..., Any], carry: Any, decoder: Decoder, size: int) -> Any:
    """carry = visit(carry, number, part, start) for all parts of the vocabulary; the last one may be smaller."""
    whole_parts, rest = divmod(decoder.vocab_size, size)

    def visit_next(number, carry):
        return visit(carry, number, decoder.part(number * size, size), number * size)

    # two at a time: XLA on CPU then works on one where the other waits
    carry = jax.lax.fori_loop(0, whole_parts, visit_next, carry, unroll=2)
    start = whole_parts * size
    return visit(carry, whole_parts, decoder.part(start, rest), start) if rest else carry
