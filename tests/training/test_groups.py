import itertools

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.training.groups import FLOPS_AT_ONCE, grouped, most_at_once
from textclf_jax.training.run import prepare_run
from textclf_jax.training.stream import training_stream


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Batches of several shapes."""
    data = tiny.write_data(tmp_path_factory.mktemp("data"))
    return prepare_run(tiny.pretraining(data, data={"num_length_buckets": 3, "packing": False}), tiny.Path("/"))


def test_groups_hold_all_steps_in_order_and_end_where_they_must(run):
    hosts = list(training_stream(run.task, run.train, run.batching, run.length, 0))
    assert len({host.shape for host in hosts}) > 1
    groups = list(grouped(run.task, iter(hosts), lambda host: host.step % 5 == 2 or host.ends_epoch))
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


def test_long_steps_are_taken_in_smaller_groups(run, monkeypatch):
    sizes = []
    for flops in (1, FLOPS_AT_ONCE // 4, FLOPS_AT_ONCE // 3, FLOPS_AT_ONCE // 2 + 1, 5 * FLOPS_AT_ONCE):
        monkeypatch.setattr(type(run.task), "flops", lambda self, shape, *, train, flops=flops: flops)
        sizes.append(most_at_once(run.task, (4, 24)))
    assert sizes == [4, 4, 3, 1, 1]


def test_a_gpu_takes_one_step_at_once(run, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert most_at_once(run.task, (4, 24)) == 1
