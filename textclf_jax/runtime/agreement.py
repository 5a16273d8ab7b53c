"""What the processes of a run tell each other, beside what their programs exchange.

With one process everything here answers at once what it was given. With several all must call it, in the same order.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from textclf_jax.errors import UserError, listed
from textclf_jax.runtime.processes import CommonError, are_several, is_first

DIGEST_BYTES = 16

T = TypeVar("T")


def by_first(work: Callable[[], Any]) -> Any:
    """Does something in the first process alone.

    Args:
      work: gives what JSON can hold.

    Returns:
      What it gave, in all processes.

    Raises:
      UserError: it raised one; of several processes all raise CommonError then.
    """
    if not are_several():
        return work()
    error, value = None, None
    if is_first():
        try:
            value = work()
        except UserError as raised:
            error = raised
    found = _from_first({"error": None if error is None else str(error), "value": value})
    if error is not None:
        raise CommonError(str(error)) from error
    if found["error"] is not None:
        raise CommonError(f"the first process could not go on: {found['error'].partition(chr(10))[0]}")
    return value if is_first() else found["value"]


def made_by_first(make: Callable[[], T], tell: Callable[[T], Any]) -> tuple[T | None, Any]:
    """Makes something in the first process alone.

    Args:
      make: makes it.
      tell: gives what the other processes are to know of it, JSON-able.

    Returns:
      What was made, None in the other processes; and what `tell` gave, in all of them.

    Raises:
      UserError: as `by_first`.
    """
    made: list[T] = []

    def work() -> Any:
        made.append(make())
        return tell(made[0])

    told = by_first(work)
    return (made[0] if made else None), told


def _from_first(value: Any) -> Any:
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = text if is_first() else np.zeros(size, np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(sent).tobytes())


def arrays_by_first(work: Callable[[], PyTree[Any]], like: PyTree) -> PyTree[np.ndarray]:
    """Arrays that the first process has, in the host's memory of all processes.

    Args:
      work: gives the arrays; it is called in the first process alone.
      like: their shapes and dtypes.
    """
    if not are_several():
        return work()
    arrays = work() if is_first() else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    # one at a time: what is sent needs memory of its own
    return jax.tree.map(_array_from_first, arrays)


def _array_from_first(array: Any) -> np.ndarray:
    array = np.asarray(array)
    # as whole numbers: what is sent is a sum over processes, in which -0.0 would become 0.0. JAX has none of 8 bytes
    plain = np.ascontiguousarray(array).reshape(-1).view(f"u{min(array.dtype.itemsize, 4)}")
    return np.asarray(multihost_utils.broadcast_one_to_all(plain)).view(array.dtype).reshape(array.shape)


def require_same(facts: Callable[[], Mapping[str, Any]]) -> None:
    """Raises CommonError where processes differ in something.

    Args:
      facts: gives what must be the same, JSON-able, by the names that the message has for it. One process calls it not.
    """
    if not are_several():
        return
    digests = {name: _digest(value) for name, value in facts().items()}
    of_all = multihost_utils.process_allgather(np.stack(list(digests.values())))
    differs = (of_all != of_all[0]).any(axis=-1)
    names = [name for name, is_other in zip(digests, differs.any(axis=0), strict=True) if is_other]
    if names:
        others = listed([str(index) for index in np.flatnonzero(differs.any(axis=1))])
        raise CommonError(
            f"the processes of this run have not the same {listed(names)}: compare process 0 with {others}. Start all "
            "with the same command and files; with --num-processes 1 each runs alone."
        )


def _digest(value: Any) -> np.ndarray:
    text = json.dumps(value, sort_keys=True, default=str).encode()
    return np.frombuffer(hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest(), np.uint8)


def gathered(array: Any) -> np.ndarray | None:
    """An array of a program, whole in the host's memory; None in processes that have not got all, and need not.

    Only where devices of other processes have parts of it is anything sent.
    """
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if not array.is_fully_replicated:
        assert isinstance(array.sharding, NamedSharding)
        array = _gathering(array.sharding.mesh)(array)
    if is_first():
        return np.asarray(array.addressable_data(0))
    # a process that runs ahead would have many of them in its memory; a CPU has been seen to wait for ever then
    jax.block_until_ready(array)
    return None


@functools.cache
def _gathering(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    """A program that makes an array whole on each device; one function, so that JAX compiles it once for a shape."""
    return jax.jit(lambda parts: parts, out_shardings=NamedSharding(mesh, PartitionSpec()))
