import threading
import time

import numpy as np
import pytest

from tests import tiny
from textclf_jax.training.run import prepare_run
from textclf_jax.training.stream import prefetched, training_stream


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def steps(config, start=0):
    run = prepare_run(config, root=tiny.Path("/"))
    return run, list(training_stream(run.task, run.train, run.batching, run.length, start))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("start", [1, 7, 10])
def test_starting_later_gives_the_same_batches(data, k, start):
    config = tiny.pretraining(data, training={"grad_accum_steps": k, "epochs": 3})
    whole, rest = steps(config)[1], steps(config, start)[1]
    assert [host.step for host in rest] == list(range(start, len(whole)))
    for one, other in zip(whole[start:], rest, strict=True):
        assert one._replace(arrays={}) == other._replace(arrays={})
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def test_masks_differ_between_epochs_and_batches(data):
    run, hosts = steps(tiny.pretraining(data, data={"num_length_buckets": 1}))
    # batches of few tokens may well agree
    masked = [host.arrays["positions"].tobytes() for host in hosts if host.tokens > 50]
    assert len(set(masked)) == len(masked) > run.length.steps_per_epoch


def test_scales_add_up_to_the_mean_of_the_window(data):
    k = 4
    run, hosts = steps(tiny.pretraining(data, training={"grad_accum_steps": k, "epochs": 1}))
    assert len(hosts) == run.length.updates * k == 8
    for window in range(0, len(hosts), k):
        part = hosts[window : window + k]
        total = sum(host.arrays["weights"].sum() for host in part)
        assert [float(host.arrays["scale"]) for host in part] == [pytest.approx(k / total)] * k
    # 7 steps of data, and an empty one that completes the last window
    assert hosts[-1].tokens == 0
    assert [host.ends_epoch for host in hosts] == [False] * 7 + [True]


def test_reference_drops_the_last_window_and_averages_means(data):
    config = tiny.finetuning(data, training={"grad_accum_steps": 4, "epochs": 1, "variant": "reference"})
    run, hosts = steps(config)
    assert len(hosts) == 7
    assert run.length.updates == 1
    assert [float(h.arrays["scale"]) for h in hosts] == pytest.approx([1 / h.arrays["weights"].sum() for h in hosts])


def test_prefetching_keeps_order_and_raises_the_error_of_the_thread():
    def items():
        yield from range(5)
        raise ValueError("broken row")

    seen = []
    with pytest.raises(ValueError, match="broken row"):
        seen.extend(prefetched(items(), lambda x: x * x))
    seen = []
    stream = prefetched(items(), lambda x: x * x)
    for value in stream:
        seen.append(value)
        if value == 9:
            break
    assert seen == [0, 1, 4, 9]
    stream.close()


def test_closing_ends_the_thread():
    def endless():
        while True:
            yield time.monotonic()

    stream = prefetched(endless(), lambda x: x)
    next(stream)
    assert any(thread.name == "prefetch" for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
