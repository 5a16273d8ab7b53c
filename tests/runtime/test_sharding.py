import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from tests import tiny
from textclf_jax.config.training import MeshSizes
from textclf_jax.errors import UserError
from textclf_jax.runtime import sharding
from textclf_jax.runtime.sharding import ONE_DEVICE, place_on, put_together, spec_of

MESH = AbstractMesh((2, 4), ("data", "fsdp"))


def spec(names, shape, mesh=MESH):
    return spec_of(tuple(map(jax.tree_util.DictKey, names)), shape, mesh)


def test_kernels_and_embeddings_are_divided_along_the_largest_dimension_that_can_be():
    assert spec(("encoder", "layers_0", "mlp", "up", "kernel"), (8, 32)) == PartitionSpec(None, "fsdp")
    assert spec(("encoder", "layers_0", "mlp", "down", "kernel"), (32, 8)) == PartitionSpec("fsdp")
    # BERT's vocabulary of 30,522 cannot be divided by 4
    assert spec(("encoder", "embeddings", "word", "embedding"), (30_522, 768)) == PartitionSpec(None, "fsdp")


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("encoder", "layers_0", "mlp", "up", "bias"), (32,)),
        (("classifier", "kernel"), (7, 3)),
        (("linear", "linear_path", "table"), (64, 4)),
        (("step",), ()),
    ],
)
def test_all_else_is_whole_on_each_device(names, shape):
    assert spec(names, shape) == PartitionSpec()


def test_along_data_nothing_of_the_model_is_divided():
    assert spec(("classifier", "kernel"), (8, 4), AbstractMesh((8, 1), ("data", "fsdp"))) == PartitionSpec()


def test_the_optimizer_divides_what_it_keeps_as_the_parameters(tmp_path):
    from textclf_jax.training.plan import make_plan

    config = tiny.finetuning(tiny.write_data(tmp_path), training={"grad_accum_steps": 2, "layer_lr_decay": 0.5})
    state = make_plan(config, tiny.Path("/")).state_shapes
    params = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state.params)}
    kept = [(jax.tree_util.keystr(path), path, leaf) for path, leaf in jax.tree.leaves_with_path(state.opt_state)]
    for name, leaf in params.items():
        path = next(path for path, _ in jax.tree.leaves_with_path(state.params) if jax.tree_util.keystr(path) == name)
        of_it = [(path, other.shape) for other_name, path, other in kept if other_name.endswith(name)]
        assert [spec_of(path, shape, MESH) for path, shape in of_it] == [spec_of(path, leaf.shape, MESH)] * 3


def devices(monkeypatch, count):
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:1] * count)


@pytest.mark.parametrize(
    ("data", "fsdp", "found"), [(-1, 1, (8, 1)), (1, -1, (1, 8)), (-1, 2, (4, 2)), (2, -1, (2, 4)), (2, 4, (2, 4))]
)
def test_what_is_not_given_is_what_is_left(data, fsdp, found):
    assert sharding._resolved(MeshSizes(data=data, fsdp=fsdp), 8) == found


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (-1, 3), (2, 2), (16, -1)])
def test_sizes_that_are_not_those_of_the_devices_are_refused_with_those_that_are(monkeypatch, data, fsdp):
    devices(monkeypatch, 4 if (data, fsdp) != (2, 2) else 8)
    with pytest.raises(UserError, match=f"training.mesh is data {data} x fsdp {fsdp}, which is not all") as caught:
        place_on(MeshSizes(data=data, fsdp=fsdp))
    offered = str(caught.value).split("one of ")[1].rstrip(".").split(", ")
    for choice in offered:
        data, fsdp = map(int, choice.split(" x "))
        assert sharding._resolved(MeshSizes(data=data, fsdp=fsdp), len(jax.devices())) == (data, fsdp)


def test_on_one_device_nothing_is_divided():
    assert place_on(MeshSizes()) == ONE_DEVICE
    arrays = {"lengths": np.ones(3, np.int32), "scale": np.float32(1)}
    assert ONE_DEVICE.put_batch(arrays)["lengths"].shape == (3,)
    assert list(ONE_DEVICE.notes([(3, 8)])) == []
    variables = {"params": {"kernel": np.ones((4, 4))}}
    assert put_together(variables) is variables
