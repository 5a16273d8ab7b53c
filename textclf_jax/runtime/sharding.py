"""How a run is divided among devices: the mesh, the rules, and where each array lies.

Rows of a batch are divided among all devices. Parameters, and what the optimizer keeps of each, are divided among those
of the axis `fsdp`, by the rules below; a step puts them together where it needs them, so it computes what one device
would. Along the axis `data` they are repeated.

Source: Rajbhandari et al. 2020, ZeRO, stage 3; Xu et al. 2021, GSPMD.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from textclf_jax.config.training import MeshSizes
from textclf_jax.errors import UserError
from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.shards import put_shards_together
from textclf_jax.runtime.processes import are_several

DATA, FSDP = "data", "fsdp"
WHOLE = PartitionSpec()

# Of the first pattern that is in an array's path the axis that divides it, along its largest dimension that it can be
# divided along; None: it is whole on each device. The optimizer's paths end as those of the parameters.
RULES = (
    (r"/(kernel|embedding)$", FSDP),
    (r"", None),
)


def spec_of(path: tuple[Any, ...], shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """How the array at a path of variables or of a train state is divided.

    Args:
      path: the keys of a tree, as JAX gives them.
      shape: of the array.
      mesh: a mesh, for the sizes of its axes.
    """
    name = "/" + jax.tree_util.keystr(path, simple=True, separator="/")
    axis = next(axis for pattern, axis in RULES if re.search(pattern, name))
    fitting = [size for size in shape if axis and size % mesh.shape[axis] == 0]
    if not fitting or mesh.shape[axis] == 1:
        return WHOLE
    return PartitionSpec(*(None for _ in range(shape.index(max(fitting)))), axis)


@dataclass(frozen=True)
class Placement:
    """Where the arrays of a run lie.

    Attributes:
      mesh: the devices, along the axes DATA and FSDP; None: there is one, and nothing is divided.
    """

    mesh: Mesh | None = None

    @property
    def num_devices(self) -> int:
        """How many devices there are."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def is_divided(self) -> bool:
        """Whether there are several devices."""
        return self.mesh is not None

    def __str__(self) -> str:
        sizes = {} if self.mesh is None else self.mesh.shape
        axes = " x ".join(f"{axis} {size}" for axis, size in sizes.items())
        return f"{self.num_devices}: {axes}" + f", in {jax.process_count()} processes" * are_several()

    @property
    def everywhere(self) -> NamedSharding | None:
        """Of what is whole on each device; None where nothing is divided."""
        return None if self.mesh is None else NamedSharding(self.mesh, WHOLE)

    def of_state(self, shapes: PyTree) -> PyTree:
        """Shapes and dtypes of variables or of a train state, with where they lie."""
        if self.mesh is None:
            return shapes
        mesh = self.mesh

        def placed(path, leaf):
            sharding = NamedSharding(mesh, spec_of(path, np.shape(leaf), mesh))
            return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)

        return jax.tree_util.tree_map_with_path(placed, shapes)

    def put_state(self, tree: PyTree) -> PyTree[Array]:
        """Variables or a train state where they lie. Each process has all of it, or its devices' part already."""
        if not are_several():
            return jax.device_put(tree, self.shardings(tree))
        return jax.tree.map(_put, tree, self.shardings(tree))

    def shardings(self, shapes: PyTree) -> PyTree | None:
        """Where the arrays of variables or of a train state lie; None where nothing is divided."""
        return None if self.mesh is None else jax.tree.map(lambda leaf: leaf.sharding, self.of_state(shapes))

    def of_batch(self, shapes: dict[str, Any]) -> dict[str, Any]:
        """Shapes and dtypes of the arrays of a batch, with where they lie, as `put_batch` puts them."""
        if self.mesh is None:
            return shapes
        return {
            name: jax.ShapeDtypeStruct(self._filled_up(leaf.shape), leaf.dtype, sharding=self._of_rows(leaf))
            for name, leaf in shapes.items()
        }

    def put_batch(self, arrays: dict[str, Any]) -> dict[str, Array]:
        """The arrays of a batch where they lie. Rows are filled up to a multiple of the devices with empty ones."""
        if self.mesh is None:
            return jax.device_put(arrays)
        filled_up = {name: _with_rows(array, self._filled_up(array.shape)) for name, array in arrays.items()}
        shardings = {name: self._of_rows(array) for name, array in filled_up.items()}
        return jax.tree.map(_put, filled_up, shardings) if are_several() else jax.device_put(filled_up, shardings)

    def notes(self, shapes: Sequence[tuple[int, int]]) -> Iterator[str]:
        """What there is to say where batches of some of these shapes (B, L) have to be filled up."""
        rows = max((rows for rows, _ in shapes), key=self._empty_share)
        if share := self._empty_share(rows):
            yield (
                f"note: {rows} rows of a batch cannot be divided equally among {self.num_devices} devices, so it is "
                f"filled up with empty rows: {share:.0%} of the arithmetic."
            )

    def _empty_share(self, rows: int) -> float:
        return 1 - rows / self._filled_up((rows,))[0]

    def _filled_up(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(size + -size % self.num_devices if axis == 0 else size for axis, size in enumerate(shape))

    def _of_rows(self, array: Any) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names) if array.ndim else WHOLE)


ONE_DEVICE = Placement()


def _with_rows(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array with more rows: zeros, which stand for PAD, no token and no weight."""
    if array.shape == shape:
        return array
    return np.concatenate([array, np.zeros((shape[0] - len(array), *shape[1:]), array.dtype)])


def _put(array: Any, sharding: NamedSharding) -> Array:
    """An array on the devices of several processes, each of which has all of it, or its devices' part already."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        assert array.sharding == sharding
        return array
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])


def put_together(variables: PyTree) -> PyTree:
    """Variables whole on each device, within a program; their gradients are divided as the variables are."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape[FSDP] == 1:
        return variables

    def whole(path, leaf):
        spec = spec_of(path, leaf.shape, mesh)
        return leaf if spec == WHOLE else put_shards_together(leaf, spec)

    return jax.tree_util.tree_map_with_path(whole, variables)


def place_on(sizes: MeshSizes) -> Placement:
    """Divides a run among all devices that JAX has.

    Args:
      sizes: the `training.mesh` section.

    Raises:
      UserError: the sizes are not those of the devices.
    """
    devices = jax.devices()
    data, fsdp = _resolved(sizes, len(devices))
    if len(devices) == 1:
        return Placement()
    axis_types = (AxisType.Auto,) * 2
    return Placement(jax.make_mesh((data, fsdp), (DATA, FSDP), axis_types, devices=devices))


def _resolved(sizes: MeshSizes, count: int) -> tuple[int, int]:
    """The sizes of both axes, where -1 is what is left of `count` devices."""
    given = math.prod(size for size in (sizes.data, sizes.fsdp) if size != -1)
    has_rest = -1 in (sizes.data, sizes.fsdp)
    if given == count or (has_rest and count % given == 0):
        data, fsdp = (count // given if size == -1 else size for size in (sizes.data, sizes.fsdp))
        return data, fsdp
    asked = f"training.mesh is data {sizes.data} x fsdp {sizes.fsdp}"
    have = f"JAX has {count} {platform().upper()} device{'s' * (count > 1)}"
    fitting = [size for size in range(1, count + 1) if count % size == 0]
    choices = ", ".join(f"{count // size} x {size}" for size in fitting)
    fewer = f"; CUDA_VISIBLE_DEVICES chooses fewer GPUs, such as {','.join(map(str, range(given)))}"
    raise UserError(
        f"{asked}, which is not all devices: {have}. Set training.mesh.data to -1 and training.mesh.fsdp to 1, or both "
        f"to one of {choices}{fewer * (platform() == 'gpu' and given < count)}."
    )
