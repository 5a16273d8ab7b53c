"""Scores that are too many to be held at once: computed for one head, or one block of queries, after the other."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from textclf_jax.model.residuals import empty_now, from_bits, to_bits

Shape = tuple[int, ...]


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


def turns_side_by_side(num_scores: int) -> int:
    """How many turns of so many scores are one: two, if both are few enough, so that one fills the other's pauses."""
    return min(max(blocks_of_scores().scores // num_scores, 1), 2)


def takes_heads_in_turns(num_scores: int) -> bool:
    """Whether so many scores are computed for one head after the other."""
    blocks = blocks_of_scores()
    return blocks.single_heads and num_scores > blocks.from_scores


def in_turns(
    compute: Callable[..., tuple[Any, ...]],
    arguments: tuple[Any, ...],
    turns: Shape,
    leading: tuple[Shape, ...],
    *,
    side_by_side: int,
) -> tuple[Any, ...]:
    """Calls `compute` for one part of its arguments after the other, so that what it computes exists for few at a time.

    Has no gradient.

    Args:
      compute: takes a part of each argument, without the first axes; returns some trees of arrays.
      arguments: trees of arrays whose first axes broadcast to `turns`.
      turns: sizes of the first axes, which tell parts apart.
      leading: for each result the sizes of its first axes, which broadcast to `turns`. Parts with the same place are
        added up.
      side_by_side: how many parts are computed at the same time.

    Returns:
      What `compute` returns, with first axes.
    """
    # XLA on CPU gives loops float32 for bfloat16
    arguments = jax.tree.map(to_bits, arguments)

    def compute_part(place):
        return compute(*jax.tree.map(lambda x: from_bits(_part(x, place)), arguments))

    parts = jax.eval_shape(compute_part, (0,) * len(turns))
    known = jax.tree.leaves(arguments)[0]
    results = tuple(
        jax.tree.map(lambda part, sizes=sizes: empty_now((*sizes, *part.shape), part.dtype, known), tree)
        for tree, sizes in zip(parts, leading, strict=True)
    )

    def visit(turn, results):
        place = jnp.unravel_index(turn, turns)
        found = compute_part(place)
        return jax.tree.map(lambda whole, part: _with_part(whole, part, place, turns), results, found)

    return jax.lax.fori_loop(0, math.prod(turns), visit, results, unroll=side_by_side)


def _start(x, place) -> list[Any]:
    """The first place of a part in x, whose first axes may have one element."""
    return [i if size > 1 else 0 for i, size in zip(place, x.shape, strict=False)] + [0] * (x.ndim - len(place))


def _part(x, place):
    rest = x.shape[len(place) :]
    return jax.lax.dynamic_slice(x, _start(x, place), (1,) * len(place) + rest).reshape(rest)


def _with_part(whole, part, place, turns: Shape):
    part, sizes = part.reshape((1,) * len(turns) + part.shape), whole.shape[: len(turns)]
    if summed := [i for i, size, all_turns in zip(place, sizes, turns, strict=True) if size < all_turns]:
        # the first one takes the place of what it was filled with
        is_first = jnp.stack(summed).sum() == 0
        part += jnp.where(is_first, 0, jax.lax.dynamic_slice(whole, _start(whole, place), part.shape))
    return jax.lax.dynamic_update_slice(whole, part, _start(whole, place))
