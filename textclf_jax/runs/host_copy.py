"""The copy of a state in the host's memory that is saved, while the state itself changes on one device or several."""

import jax
import numpy as np
from jaxtyping import PyTree

from textclf_jax.runtime.agreement import gathered


def host_memory(like: PyTree) -> PyTree[np.ndarray]:
    """Host memory for trees of these shapes and dtypes. It is used again: fresh memory costs ten times the copy."""
    # filled, so that the kernel has given the pages when the first copy comes
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 0, leaf.dtype), like)


def copy_to_host(host: PyTree[np.ndarray], state: PyTree) -> None:
    """Copies the arrays of a state into `host_memory` for it."""
    jax.tree.map(_copy, host, state)


def _copy(array: np.ndarray, leaf: jax.Array | np.ndarray) -> None:
    if isinstance(leaf, jax.Array) and leaf.is_fully_addressable and len(leaf.sharding.device_set) > 1:
        # shard by shard: numpy would put them together in memory of its own first
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                array[shard.index] = np.asarray(shard.data)
    else:
        whole = gathered(leaf)
        assert whole is not None  # of several processes the first one saves
        np.copyto(array, whole)
