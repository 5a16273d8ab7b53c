"""What an update on many GPUs takes, on paper: a model's operations, and its bytes over links. Nothing is run.

docs/scaling.md says what this is worth; `benchmarks/scaling.py` makes its tables.
"""

import functools
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from benchmarks.cases import SIZES, VOCAB_SIZE
from benchmarks.gpu_program import PEAK
from textclf_jax.config.schema import Architecture, MlmHead
from textclf_jax.data.masking import max_predictions
from textclf_jax.model.flops import mlm_flops
from textclf_jax.model.heads import MaskedLanguageModel

LENGTH = 512
ROWS = 64  # of a device and step, at most: with more, a step has to be split
FLOAT_BYTES = 4
GATHERS = 2  # of parameters in a step: for the forward pass, and once more for the backward pass
MOMENTS = 2  # of AdamW
MOST_DEVICES = 2**16


@dataclass(frozen=True)
class Cluster:
    """Nodes of GPUs: how fast a GPU computes, and what its links carry.

    Attributes:
      node_size: GPUs of a node, which NVLink joins.
      nvlink: bytes per second of a GPU within its node, in each direction.
      network: bytes per second of a GPU between nodes, in each direction.
      reached: the share of both that collectives reach.
      peak: FLOP/s of a GPU, in bfloat16.
      mfu: the share of them that a step on one GPU reaches.
    """

    node_size: int = 8
    nvlink: float = 450e9
    network: float = 50e9
    reached: float = 0.8
    peak: float = PEAK
    mfu: float = 0.41

    def compute_seconds(self, flops: float) -> float:
        """The time of a model's operations on one GPU."""
        return flops / (self.peak * self.mfu)

    def link_seconds(self, traffic: "Traffic") -> float:
        """The time of bytes over both links, one after the other."""
        return (traffic.nvlink / self.nvlink + traffic.network / self.network) / self.reached


@dataclass(frozen=True)
class Model:
    """A model that is pretrained.

    Attributes:
      name: as tables have it.
      architecture: of the encoder.
      parameters: their number.
    """

    name: str
    architecture: Architecture
    parameters: int

    @property
    def bytes(self) -> int:
        """Of all parameters, or of a gradient by them: float32."""
        return FLOAT_BYTES * self.parameters

    def flops(self, rows: int) -> int:
        """The operations of a training step on `rows` full rows, as runs count them."""
        places = max_predictions(rows, LENGTH, MlmHead().mask_p)
        return mlm_flops(self.architecture, VOCAB_SIZE, rows, LENGTH, places, train=True)

    def state_bytes(self, fsdp: int = 1, *, accumulates: bool = False) -> float:
        """What a device holds between steps: parameters, moments, and an accumulated gradient where there is one."""
        return self.bytes * (1 + MOMENTS + accumulates) / fsdp


@functools.cache
def model_of(size: str) -> Model:
    """The masked language model of a size of the benchmark, its parameters counted in the module itself."""
    width, layers, heads, mlp_size = SIZES[size]
    sections = {"embedding_dim": width, "num_layers": layers, "mlp_size": mlp_size, "attention": {"num_heads": heads}}
    architecture = Architecture.model_validate({**sections, "max_sequence_length": LENGTH})
    module = MaskedLanguageModel(architecture, MlmHead(), VOCAB_SIZE)
    arguments = jax.random.key(0), jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32)
    parameters = jax.tree.leaves(jax.eval_shape(module.init, *arguments)["params"])
    return Model(f"BERT-{size}", architecture, sum(leaf.size for leaf in parameters))


@dataclass(frozen=True)
class Mesh:
    """How devices divide the work; batches are divided over all of them.

    Attributes:
      data: devices, or groups of them, that hold the same parameters.
      fsdp: devices of such a group, next to each other, each of which holds its share of parameters and moments.
    """

    data: int
    fsdp: int = 1

    @property
    def devices(self) -> int:
        """Their number."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        return f"data: {self.data}, fsdp: {self.fsdp}"


@dataclass(frozen=True)
class Traffic:
    """Bytes that a GPU takes in; it sends as many, at the same time.

    Attributes:
      nvlink: within its node.
      network: from other nodes.
    """

    nvlink: float = 0.0
    network: float = 0.0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.nvlink + other.nvlink, self.network + other.network)

    def __mul__(self, times: float) -> "Traffic":
        return Traffic(self.nvlink * times, self.network * times)

    @property
    def bytes(self) -> float:
        """Over both links."""
        return self.nvlink + self.network


def gather_traffic(size: float, count: int, stride: int = 1, node_size: int = 8) -> Traffic:
    """The traffic of an all-gather, or of a reduce-scatter, which is the same the other way round.

    Between nodes each GPU exchanges parts with those of its place in other nodes, within nodes with all: (count - 1) /
    count of `size` bytes in all, as in a ring.

    Args:
      size: bytes of the whole.
      count: devices that have a part each.
      stride: places from one of these devices to the next.
      node_size: devices of a node.

    Raises:
      ValueError: the devices do not fill their nodes evenly.

    Source: Patarasuk & Yuan 2009, section 3 (the bytes).
    """
    inside = min(count, max(1, node_size // stride))
    nodes, rest = divmod(count, inside)
    if rest:
        raise ValueError(f"{count} devices, {inside} in a node: one node has fewer than the others")
    in_node = size / inside
    return Traffic(nvlink=size - in_node, network=in_node - in_node / nodes)


def all_reduce_traffic(size: float, count: int, stride: int = 1, node_size: int = 8) -> Traffic:
    """The traffic of an all-reduce of `size` bytes: a reduce-scatter and an all-gather. Arguments as above."""
    return gather_traffic(size, count, stride, node_size) * 2


def update_traffic(
    model: Model, mesh: Mesh, node_size: int = 8, *, steps: int = 1, reduces_each_step: bool = True
) -> Traffic:
    """The traffic of an update.

    Args:
      model: what is trained.
      mesh: how.
      node_size: devices of a node.
      steps: those of the update.
      reduces_each_step: whether each step's gradient is summed over devices; else the accumulated one is.

    Source: Rajbhandari et al. 2020 (ZeRO), section 7 (what FSDP exchanges).
    """
    gathers = gather_traffic(model.bytes, mesh.fsdp, node_size=node_size) * GATHERS
    scatter = gather_traffic(model.bytes, mesh.fsdp, node_size=node_size)
    sums = scatter + all_reduce_traffic(model.bytes / mesh.fsdp, mesh.data, mesh.fsdp, node_size)
    return gathers * steps + sums * (steps if reduces_each_step else 1)


@dataclass(frozen=True)
class Update:
    """The time of an update.

    Attributes:
      compute: seconds of operations.
      links: seconds of communication.
    """

    compute: float
    links: float

    def seconds(self, *, overlaps: bool) -> float:
        """All of it: one after the other, or, as the other bound, both at the same time."""
        return max(self.compute, self.links) if overlaps else self.compute + self.links

    def efficiency(self, *, overlaps: bool) -> float:
        """The speed of a device as a share of that of one device alone with as many rows: links take the rest."""
        return self.compute / self.seconds(overlaps=overlaps)


def update(
    model: Model, mesh: Mesh, cluster: Cluster, rows: int, *, steps: int = 1, reduces_each_step: bool = True
) -> Update:
    """The time of an update of so many steps on `rows` rows of each device; other arguments as in `update_traffic`."""
    traffic = update_traffic(model, mesh, cluster.node_size, steps=steps, reduces_each_step=reduces_each_step)
    return Update(steps * cluster.compute_seconds(model.flops(rows)), cluster.link_seconds(traffic))


def rows_at_limit(model: Model, mesh: Mesh, cluster: Cluster) -> int:
    """The fewest rows of a device and step whose operations take as long as the communication."""

    def is_enough(rows: int) -> bool:
        times = update(model, mesh, cluster, rows)
        return times.compute >= times.links

    return next(rows for rows in itertools.count(1) if is_enough(rows))


def devices_at_limit(model: Model, batch_rows: int, cluster: Cluster) -> int | None:
    """The fewest devices, in doublings, on which an update's communication takes longer than its operations.

    Args:
      model: what is trained, data parallel.
      batch_rows: rows of all devices together in an update; a power of two.
      cluster: on what.

    Returns:
      Their number; None if it does not come to that with a row for each device, or on MOST_DEVICES.
    """
    doublings = itertools.takewhile(lambda n: n <= min(batch_rows, MOST_DEVICES), (2**i for i in itertools.count()))
    for devices in doublings:
        rows, steps = divided(batch_rows, devices)
        times = update(model, Mesh(devices), cluster, rows, steps=steps)
        if times.links > times.compute:
            return devices
    return None


def divided(batch_rows: int, devices: int) -> tuple[int, int]:
    """Rows of a device in a step, ROWS at most, and the steps of an update on `batch_rows`; powers of two."""
    rows = min(batch_rows // devices, ROWS)
    return rows, batch_rows // (devices * rows)
