import numpy as np
import pytest

from tests import tiny
from textclf_jax.training.batches import training_batches
from textclf_jax.training.plan import make_plan


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def steps(config, start=0):
    plan = make_plan(config, root=tiny.Path("/"))
    return plan, list(training_batches(plan.task, plan.train, plan.batching, plan.length, start))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("start", [1, 7, 10])
def test_starting_later_gives_the_same_batches(data, k, start):
    config = tiny.pretraining(data, training={"grad_accum_steps": k, "epochs": 3})
    whole, rest = steps(config)[1], steps(config, start)[1]
    assert [batch.step for batch in rest] == list(range(start, len(whole)))
    for one, other in zip(whole[start:], rest, strict=True):
        assert one._replace(arrays={}) == other._replace(arrays={})
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def test_masks_differ_between_epochs_and_batches(data):
    plan, batches = steps(tiny.pretraining(data, data={"num_length_buckets": 1}))
    # batches of few tokens may well agree
    masked = [batch.arrays["positions"].tobytes() for batch in batches if batch.tokens > 50]
    assert len(set(masked)) == len(masked) > plan.length.steps_per_epoch


def test_scales_add_up_to_the_mean_of_the_window(data):
    k = 4
    plan, batches = steps(tiny.pretraining(data, training={"grad_accum_steps": k, "epochs": 1}))
    assert len(batches) == plan.length.updates * k == 8
    for window in range(0, len(batches), k):
        part = batches[window : window + k]
        total = sum(batch.arrays["weights"].sum() for batch in part)
        assert [float(batch.arrays["scale"]) for batch in part] == [pytest.approx(k / total)] * k
    # 7 steps of data, and an empty one that completes the last window
    assert batches[-1].tokens == 0
    assert [batch.ends_epoch for batch in batches] == [False] * 7 + [True]


def test_reference_drops_the_last_window_and_averages_means(data):
    config = tiny.finetuning(data, training={"grad_accum_steps": 4, "epochs": 1, "variant": "reference"})
    plan, batches = steps(config)
    assert len(batches) == 7
    assert plan.length.updates == 1
    assert [float(b.arrays["scale"]) for b in batches] == pytest.approx(
        [1 / b.arrays["weights"].sum() for b in batches]
    )
