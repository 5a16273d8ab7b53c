"""Loops that compute one part after the other, so that what a part needs exists once and not for all parts."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from textclf_jax.kernels.barriers import buffer_after, from_bits, to_bits

Shape = tuple[int, ...]


def loop_over_parts(
    compute: Callable[..., tuple[Any, ...]],
    arguments: tuple[Any, ...],
    parts: Shape,
    leading: tuple[Shape, ...],
    *,
    at_once: int,
) -> tuple[Any, ...]:
    """Calls `compute` for one part of its arguments after the other. Has no gradient.

    Args:
      compute: takes a part of each argument, without the first axes; returns some trees of arrays.
      arguments: trees of arrays whose first axes broadcast to `parts`.
      parts: sizes of the first axes, which tell parts apart.
      leading: for each result the sizes of its first axes, which broadcast to `parts`. Results of parts with the same
        place are added up.
      at_once: how many parts an iteration computes, so that one works where another waits.

    Returns:
      What `compute` returns, with first axes.
    """
    arguments = jax.tree.map(to_bits, arguments)

    def compute_part(place):
        return compute(*jax.tree.map(lambda x: from_bits(_part(x, place)), arguments))

    shapes = jax.eval_shape(compute_part, (0,) * len(parts))
    known = jax.tree.leaves(arguments)[0]
    results = tuple(
        jax.tree.map(lambda part, sizes=sizes: buffer_after((*sizes, *part.shape), part.dtype, known), tree)
        for tree, sizes in zip(shapes, leading, strict=True)
    )

    def visit(number, results):
        place = jnp.unravel_index(number, parts)
        found = compute_part(place)
        return jax.tree.map(lambda whole, part: _with_part(whole, part, place, parts), results, found)

    return jax.lax.fori_loop(0, math.prod(parts), visit, results, unroll=at_once)


def _start(x, place) -> list[Any]:
    """The first index of a part in x, whose first axes may have one element."""
    return [i if size > 1 else 0 for i, size in zip(place, x.shape, strict=False)] + [0] * (x.ndim - len(place))


def _part(x, place):
    rest = x.shape[len(place) :]
    return jax.lax.dynamic_slice(x, _start(x, place), (1,) * len(place) + rest).reshape(rest)


def _with_part(whole, part, place, parts: Shape):
    part, sizes = part.reshape((1,) * len(parts) + part.shape), whole.shape[: len(parts)]
    if summed := [i for i, size, count in zip(place, sizes, parts, strict=True) if size < count]:
        # the first one takes the place of what the buffer was filled with
        is_first = jnp.stack(summed).sum() == 0
        part += jnp.where(is_first, 0, jax.lax.dynamic_slice(whole, _start(whole, place), part.shape))
    return jax.lax.dynamic_update_slice(whole, part, _start(whole, place))
