"""Batches that are divided by their rows among several devices: what each of them computes by itself.

A program for several devices is written for whole arrays, and XLA divides it. Where it would bring whole arrays to each
device, or a kernel is one call that it cannot divide, a function is given to `on_each_shard` instead. In a program for
one device, these functions do nothing.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, UInt32


def is_divided() -> bool:
    """Whether the program that is traced is for several devices, and not for what one of them computes by itself."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1 and not mesh.manual_axes


def on_each_shard(function: Callable[..., Any], divided: tuple[Any, ...], whole: tuple[Any, ...] = ()) -> Any:
    """function(*divided, *whole), where each device computes the rows that it has.

    Args:
      function: of arrays; a row of its results depends on the same row of the divided arguments alone.
      divided: trees of arrays whose first axis the devices divide among them.
      whole: trees of arrays that each device gets as they are.

    Returns:
      What the function returns, divided in the same way.
    """
    if not is_divided():
        return function(*divided, *whole)
    rows = PartitionSpec(jax.sharding.get_abstract_mesh().axis_names)
    arrays, structure = jax.tree.flatten((*divided, *whole))
    num_divided = len(jax.tree.leaves(divided))
    specs = tuple(rows if i < num_divided else PartitionSpec() for i in range(len(arrays)))

    def of_shard(*arrays):
        return function(*jax.tree.unflatten(structure, arrays))

    return jax.shard_map(of_shard, in_specs=specs, out_specs=rows, check_vma=False)(*arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def put_shards_together(x: Float[Array, "..."], spec: PartitionSpec) -> Any:
    """An array that is divided by `spec`, whole on each device; its gradient is divided by `spec` again.

    The gradient of JAX's own constraint would be whole on each device, too.
    """
    del spec
    return jax.lax.with_sharding_constraint(x, PartitionSpec())


def _forward(x, spec: PartitionSpec):
    return put_shards_together(x, spec), None


def _backward(spec: PartitionSpec, _, cotangent):
    return (jax.lax.with_sharding_constraint(cotangent, spec),)


put_shards_together.defvjp(_forward, _backward)


def shard_number() -> Int[Array, ""] | None:
    """The number of the shard, from 0, within `on_each_shard` on several devices; otherwise None."""
    mesh = jax.sharding.get_abstract_mesh()
    return jax.lax.axis_index(mesh.axis_names) if mesh.manual_axes else None


def first_element(size: int) -> UInt32[Array, ""] | None:
    """The number of a shard's first element in an array of which each has `size` elements; None without shards."""
    number = shard_number()
    return None if number is None else number.astype(jnp.uint32) * jnp.uint32(size)


def keys_of_parts(key: Array, count: int) -> Array:
    """Splits a random key into `count` keys; those of a shard are its part of the keys of all shards."""
    number = shard_number()
    if number is None:
        return jax.random.split(key, count)
    keys = jax.random.split(key, count * jax.sharding.get_abstract_mesh().size)
    return jax.lax.dynamic_slice_in_dim(keys, number * count, count)


def sum_to_shards(x: Float[Array, "N *D"]) -> Float[Array, "M *D"]:
    """Adds up what all shards have for all rows of [N, ...]; each gets the sums of its own part of the rows."""
    return jax.lax.psum_scatter(x, jax.sharding.get_abstract_mesh().axis_names, scatter_dimension=0, tiled=True)
