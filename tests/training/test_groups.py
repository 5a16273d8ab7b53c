import itertools

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.training.groups import SECONDS_AT_ONCE, grouped
from textclf_jax.training.run import prepare_run
from textclf_jax.training.stream import training_stream


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Steps on batches of several shapes."""
    data = tiny.write_data(tmp_path_factory.mktemp("data"))
    run = prepare_run(tiny.pretraining(data, data={"num_length_buckets": 3, "packing": False}), tiny.Path("/"))
    return list(training_stream(run.task, run.train, run.batching, run.length, 0))


def never(_):
    return False


def test_groups_hold_all_steps_in_order_and_end_where_they_must(hosts):
    assert len({host.shape for host in hosts}) > 1
    groups = list(grouped(iter(hosts), lambda shape: 0.0, lambda host: host.step % 5 == 2 or host.ends_epoch))
    flat = [host for group in groups for host in group.hosts]
    assert [host.step for host in flat] == [host.step for host in hosts]
    for group in groups:
        assert 1 <= group.count == len(group.hosts) <= 4
        assert len({host.shape for host in group.hosts}) == 1
        assert not any(host.step % 5 == 2 or host.ends_epoch for host in group.hosts[:-1])
        for i in range(4):
            expected = group.hosts[min(i, len(group.hosts) - 1)].arrays
            for name, array in group.arrays.items():
                np.testing.assert_array_equal(array[i], expected[name])
    # as large as they can be
    for one, after in itertools.pairwise(groups):
        ends = one.hosts[-1].step % 5 == 2 or one.hosts[-1].ends_epoch
        assert ends or len(one.hosts) == 4 or one.hosts[0].shape != after.hosts[0].shape


@pytest.mark.parametrize(("seconds", "at_once"), [(0.25, 4), (0.26, 4), (0.4, 3), (0.5, 3), (0.76, 1), (9.0, 1)])
def test_long_steps_are_taken_in_smaller_groups(hosts, seconds, at_once):
    """No group is longer than the limit unless it is one step."""
    sizes = [int(group.count) for group in grouped(iter(hosts[:1] * 9), lambda shape: seconds, never)]
    assert sum(sizes) == 9
    assert set(sizes[:-1]) == {at_once}
    assert max(sizes) * seconds <= max(SECONDS_AT_ONCE, seconds)


def test_a_gpu_takes_one_step_at_once(hosts, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    groups = list(grouped(iter(hosts), lambda shape: 0.0, never))
    assert [len(group.arrays["scale"]) for group in groups] == [1] * len(hosts)
