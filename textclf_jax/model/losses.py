"""Cross-entropy: of logits, and over a vocabulary whose logits are too many to be held at once."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.precision import Precision, kernel_gradient, matmul
from textclf_jax.model.residuals import empty_now, from_bits, kept, taken_up, to_bits

# 4 MB of float32, which stay in a CPU's cache
LOGITS_AT_ONCE = {"cpu": 2**20}

Losses = tuple[Float[Array, " N"], Float[Array, " N"]]


def cross_entropy(logits: Float[Array, "N C"], targets: Int[Array, " N"]) -> Losses:
    """Computes -log softmax(logits)[target] and whether the target has the largest logit.

    Args:
      logits: [N, C], any float dtype; computed in float32.
      targets: [N] in [0, C).

    Returns:
      losses [N] in nats and hits [N], 1.0 or 0.0.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return _cross_entropy(logits, targets)


@jax.custom_vjp
def _cross_entropy(logits, targets) -> Any:
    return _cross_entropy_forward(logits, targets)[0]


def _cross_entropy_forward(logits, targets):
    largest = logits.max(axis=-1)
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    partition = jnp.log(jnp.exp(logits - largest[:, None]).sum(axis=-1)) + largest
    return (partition - chosen, (chosen >= largest).astype(jnp.float32)), (logits, targets, partition)


def _cross_entropy_backward(residuals, cotangents):
    # of a gather's gradient XLA would make a scatter, which nothing fuses with
    logits, targets, partition = residuals
    is_target = jnp.arange(logits.shape[-1]) == targets[:, None]
    return (jnp.exp(logits - partition[:, None]) - is_target) * cotangents[0][:, None], None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


class Decoder(NamedTuple):
    """What logits over a vocabulary are made with; the fields without defaults are arrays.

    Attributes:
      kernel: [D, V], or [V, D] if `transposed`.
      bias: [V], or None.
      precision: of the product.
      transposed: whether the kernel is one of embeddings.
      sink: from `with_late_gradient`.
    """

    kernel: Float[Array, "..."]
    bias: Float[Array, " V"] | None
    precision: Precision
    transposed: bool
    sink: Any = None

    @property
    def vocab_axes(self) -> tuple[int, int]:
        """The vocabulary's axis in kernel and bias."""
        return (0 if self.transposed else 1), 0

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.kernel.shape[self.vocab_axes[0]]

    def part(self, start: Any, size: int) -> "Decoder":
        """The decoder of `size` tokens of the vocabulary."""
        kernel, bias = (
            whole if whole is None else jax.lax.dynamic_slice_in_dim(whole, start, size, axis)
            for whole, axis in zip(self[:2], self.vocab_axes, strict=True)
        )
        return self._replace(kernel=kernel, bias=bias)

    def logits(self, x: Float[Array, "*N D"]) -> Float[Array, "*N V"]:
        """x [..., D] -> [..., V]."""
        logits = matmul(x, self.kernel, self.precision, transposed=self.transposed)
        return logits if self.bias is None else logits + self.bias


def decoded_cross_entropy(x: Float[Array, "N D"], decoder: Decoder, targets: Int[Array, " N"]) -> Losses:
    """`cross_entropy` of the logits of x. Where they are many, few are held at a time.

    Args:
      x: [N, D].
      decoder: gives the logits.
      targets: [N] in [0, V).

    Returns:
      As `cross_entropy`.

    Source: Milakov & Gimelshein 2018, algorithm 3 (the sum over parts).
    """
    count = len(targets)
    if decoder.sink is None:
        if not _are_many(count, decoder.vocab_size):
            return cross_entropy(decoder.logits(x), targets)
        x, decoder = _sinking(x, decoder, count)
    size = min(max(int(_logits_at_once()) // count // 128, 1) * 128, decoder.vocab_size)
    how = decoder.precision, decoder.transposed
    return _in_parts(x, decoder.kernel, decoder.bias, targets, decoder.sink, size, how)


def with_late_gradient(early: Float[Array, "..."], decoder: Decoder, count: int) -> tuple[Float[Array, "..."], Decoder]:
    """Lets the gradient of a decoder's kernel wait for that of `early`, where logits are many and that saves memory.

    The kernel is the largest of all, and its gradient the first that could be computed: it would be held through all
    of the backward pass, which needs memory for what the layers have kept. Of few vectors, the gradients of logits,
    from which it is computed, are smaller.

    Args:
      early: what the vectors that are decoded are computed from.
      decoder: for `decoded_cross_entropy` of these vectors.
      count: N, how many they are.

    Returns:
      Both, to be used instead, or as they are.
    """
    kernel = decoder.kernel
    is_smaller = count * decoder.vocab_size * decoder.precision.rounded(kernel).itemsize < kernel.size * kernel.itemsize
    if not (is_smaller and _are_many(count, decoder.vocab_size)):
        return early, decoder
    return _sinking(early, decoder, count)


def _sinking(early, decoder: Decoder, count: int) -> tuple[Any, Decoder]:
    with_sink: Any = _with_sink(early, decoder.kernel, count, (decoder.precision, decoder.transposed))
    early, sink = with_sink
    return early, decoder._replace(kernel=jax.lax.stop_gradient(decoder.kernel), sink=sink)


def _logits_at_once() -> float:
    return LOGITS_AT_ONCE.get(jax.default_backend(), math.inf)


def _are_many(count: int, vocab_size: int) -> bool:
    return count * vocab_size > _logits_at_once()


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _with_sink(early, kernel, count: int, how: tuple[Precision, bool]) -> Any:
    """`early`, and what nobody reads; the gradient of it is what that of the kernel is computed from."""
    vocab_size, width = kernel.shape if how[1] else kernel.shape[::-1]
    dtype = how[0].rounded(kernel).dtype
    return early, (jnp.zeros((count, width), dtype), jnp.zeros((count, vocab_size), dtype))


def _with_sink_forward(early, kernel, count: int, how: tuple[Precision, bool]):
    return _with_sink(early, kernel, count, how), None


def _with_sink_backward(count: int, how: tuple[Precision, bool], residuals, cotangents):
    del count, residuals
    dearly, (x, dlogits) = cotangents
    # as the bits that they come from: XLA on CPU would copy them before the barrier, and once more to turn them
    (x, dlogits), dearly = taken_up((x, to_bits(dlogits)), dearly)
    with jax.named_scope("decode"):
        return dearly, kernel_gradient(x, from_bits(dlogits), how[0], transposed=how[1])


_with_sink.defvjp(_with_sink_forward, _with_sink_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _in_parts(x, kernel, bias, targets, sink, size: int, how: tuple[Precision, bool]) -> Any:
    return _in_parts_forward(x, kernel, bias, targets, sink, size, how)[0]


def _in_parts_forward(x, kernel, bias, targets, sink, size: int, how: tuple[Precision, bool]):
    del sink
    decoder = Decoder(kernel, bias, *how)

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

    count, vocab_size, nothing = len(targets), decoder.vocab_size, jnp.zeros(targets.shape, jnp.float32)
    bits = jnp.uint16 if decoder.precision.rounds_products else jnp.float32
    stored = empty_now((count, vocab_size), bits, x), empty_now((-(-vocab_size // size), count), jnp.float32, x)
    carry, stored = _visit_parts(visit, ((nothing - jnp.inf, nothing, nothing), stored), decoder, size)
    largest, total, chosen = carry
    partition = jnp.log(total) + largest
    losses = partition - chosen
    return (losses, (chosen >= largest).astype(jnp.float32)), (x, kernel, bias, targets, losses, partition, stored)


def _in_parts_backward(size: int, how: tuple[Precision, bool], residuals, cotangents):
    residuals, (dlosses, _) = taken_up(residuals, cotangents)
    x, kernel, bias, targets, losses, partition, (exponentials, scales) = residuals
    decoder = Decoder(kernel, bias, *how)

    def visit(carry, number, part: Decoder, start):
        dx, dbias, stored = carry
        scaled = jax.lax.dynamic_slice_in_dim(stored, start, part.vocab_size, 1)
        probabilities = from_bits(scaled).astype(x.dtype) * jnp.exp(scales[number] - partition)[:, None]
        is_target = jnp.arange(part.vocab_size) == (targets - start)[:, None]
        # with the target's logit as it was: p - 1 of a rounded p would have no digits left where p is almost 1
        dlogits = jnp.where(is_target, jnp.expm1(-losses)[:, None], probabilities) * dlosses[:, None]
        if dbias is not None:
            dbias = jax.lax.dynamic_update_slice_in_dim(dbias, dlogits.sum(axis=0), start, 0)
        # once, for both that follow; the second one overwrites what this is computed from
        dlogits = kept(decoder.precision.rounded(dlogits, in_integers=True))
        dx += matmul(dlogits, part.kernel, decoder.precision, transposed=not decoder.transposed)
        # in the place of what it was computed from
        return dx, dbias, jax.lax.dynamic_update_slice_in_dim(stored, to_bits(dlogits), start, 1)

    carry = jnp.zeros_like(x), None if bias is None else jnp.zeros_like(bias), exponentials
    dx, dbias, dlogits = _visit_parts(visit, carry, decoder, size)
    return dx, None, dbias, None, (decoder.precision.rounded(x), from_bits(dlogits))


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
