"""Runs on several devices: CPUs that JAX makes of one, in a process of their own."""

import functools
import json
import math
import shutil

import numpy as np
import pytest

from tests import devices, tiny
from tests.trained import last_state, read_column

pytestmark = pytest.mark.multi_device

MESHES = {"data": [8, 1], "fsdp": [1, 8], "both": [2, 4]}
STEPS = 50
# all dropout rates of the architecture are 0.1
ONE_SHAPE = {"data": {"num_length_buckets": 1, "packing": False}, "training": {"epochs": 40}}
KINDS = {
    "lsh": {"kind": "lsh", "lsh": {"chunk_size": 4}},
    "favor": {"kind": "favor", "attn_dropout": 0.0, "favor": {"nb_features": 8, "redraw_interval": 5}},
    "local": {"kind": "local", "local": {"window": 4}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    with devices.process(tmp_path_factory.mktemp("devices")) as process:
        yield process


@pytest.fixture(scope="module")
def train(data, eight):
    """Trains for some steps on devices; what was trained already is not trained again."""

    @functools.cache
    def cached(build, changes, mesh, steps, kernels):
        arguments = {"build": build, "changes": json.loads(changes), "mesh": json.loads(mesh), "steps": steps}
        return eight.ask("train", data=str(data), kernels=kernels, timeout_seconds=1200, **arguments)

    def train(build, changes, mesh, steps=STEPS, kernels=None):
        return cached(build, json.dumps(ONE_SHAPE | changes), json.dumps(mesh), steps, kernels)

    return train


def check_as_on_one(train, build, changes, mesh, **options):
    """The same losses and metrics as on one device; answers what was found on several."""
    one, several = (train(build, changes, sizes, **options) for sizes in ([1, 1], mesh))
    np.testing.assert_allclose(several["losses"], one["losses"], rtol=1e-5)
    for name, value in one["metrics"].items():
        assert several["metrics"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    return several


# the vectors of all tokens are pooled: of first tokens alone, one device drops other attention weights in the last
# layer, since it compares their queries with the keys of the whole batch
BUILDS = {
    "pretraining": {},
    "finetuning": {"classification_head": {"num_labels": 3, "pooling": "mean"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("build", BUILDS)
def test_losses_are_those_of_one_device(train, build, mesh):
    """12 rows are filled up to 16, and the last batch of each epoch has 2 texts; dropout is on."""
    found = check_as_on_one(train, build, BUILDS[build], mesh)
    assert len(found["losses"]) == STEPS
    assert {len(tokens) for tokens in found["tokens"]} == {8}
    assert all(len(set(tokens)) > 1 for tokens in found["tokens"])
    assert sum(min(tokens) == 0 for tokens in found["tokens"]) >= STEPS // 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_attention_computes_what_it_does_on_one_device(train, kind):
    check_as_on_one(train, "pretraining", {"architecture": tiny.architecture(attention=KINDS[kind])}, [2, 4])


@pytest.mark.slow
def test_rows_of_several_texts_are_divided_too(train):
    packed = {"data": {"num_length_buckets": 1, "packing": True}}
    found = check_as_on_one(train, "pretraining", packed, [2, 4])
    assert found["batching"] == "Packed"


@pytest.mark.slow
def test_accumulated_micro_batches_make_the_same_updates(train):
    changes = {
        "training": {"epochs": 40, "grad_accum_steps": 3, "class_weights": "balanced", "label_smoothing": 0.1},
        "architecture": tiny.architecture(attention={"attn_dropout": 0.0}),
    }
    check_as_on_one(train, "finetuning", changes, [2, 4])


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["gpu", "blocks"])
def test_other_kernels_are_divided_as_well(train, kernels):
    check_as_on_one(train, "pretraining", {}, [2, 4], kernels=kernels)


@pytest.mark.slow
def test_each_device_has_its_share_of_the_state(train):
    """Of a tiny model not much is in kernels and embeddings; the rest is whole on each device."""
    shares = {name: train("pretraining", {}, mesh)["share"] for name, mesh in MESHES.items()}
    assert shares["data"] == 1
    assert 1 / 8 < shares["fsdp"] < 1 / 4 < shares["both"] < 0.4


def elements(found, *operations):
    return [math.prod(shape) for operation, shape in found["collectives"] if operation in operations]


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [None, "gpu"])
def test_no_device_gets_the_vectors_of_all_tokens(data, eight, kernels):
    """Texts are long here, so that the vectors of a batch are larger than any parameter."""
    found = eight.ask(
        "collectives",
        build="pretraining",
        data=str(data),
        changes={**ONE_SHAPE, "training": {"batch_size": 64}},
        mesh=[8, 1],
        kernels=kernels,
    )
    rows, length = found["rows"]
    largest = max(elements(found, "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"))
    assert largest < rows * length * 16 / 2


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(data, eight, tmp_path):
    changes = {**ONE_SHAPE, "training": {"epochs": 3, "grad_accum_steps": 2, "checkpoint_interval_updates": 1}}

    def run(mesh, folder, stop_at=None):
        options = {"data": str(data), "changes": changes, "mesh": mesh, "folder": str(folder), "stop_at": stop_at}
        eight.ask("run", build="pretraining", timeout_seconds=1200, **options)

    run([1, 1], tmp_path / "whole")
    run([2, 2], tmp_path / "stopped", stop_at=4)
    for name, mesh in {"one": [1, 1], "two": [1, 2], "eight": [4, 2]}.items():
        shutil.copytree(tmp_path / "stopped", tmp_path / name)
        run(mesh, tmp_path / name)
        for column in ("train/loss", "eval/loss", "test/loss"):
            values = [read_column(tmp_path / folder, column) for folder in (name, "whole")]
            np.testing.assert_allclose(*values, rtol=1e-5)
        states = [last_state(tmp_path / folder) for folder in (name, "whole")]
        for key, array in states[0].items():
            np.testing.assert_allclose(array, states[1][key], rtol=1e-3, atol=1e-6, err_msg=key)
