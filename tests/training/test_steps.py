import functools
import itertools

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.training.groups import stacked
from textclf_jax.training.run import prepare_run
from textclf_jax.training.steps import train_step, train_steps
from textclf_jax.training.stream import training_stream


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def first_steps(config, count):
    """The states after each of the first steps of a run."""
    run = prepare_run(config, tiny.Path("/"))
    state = run.init_state(run.init_variables())
    step = jax.jit(functools.partial(train_step, settings=run.settings))
    states = [state]
    for host in training_stream(run.task, run.train, run.batching, run.length, 0):
        if host.step == count:
            break
        state, _ = step(state, host.arrays)
        states.append(state)
    return states


ATTENTION = {
    "mha": {},
    "lsh": {"kind": "lsh", "lsh": {"chunk_size": 4}},
    "favor": {"kind": "favor", "attn_dropout": 0.0, "favor": {"nb_features": 8}},
    "local": {"kind": "local", "local": {"window": 4}},
}


@pytest.mark.parametrize("kind", ATTENTION)
@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
def test_one_step_changes_every_parameter(data, kind, build):
    config = build(data, architecture=tiny.architecture(attention=ATTENTION[kind]), data={"num_length_buckets": 1})
    before, after = first_steps(config, 1)
    for path, (old, new) in jax.tree.leaves_with_path(
        jax.tree.map(lambda a, b: (a, b), before.params, after.params), is_leaf=lambda x: isinstance(x, tuple)
    ):
        assert not np.array_equal(old, new), jax.tree_util.keystr(path)


def test_an_empty_batch_changes_nothing_but_decay_and_step(data):
    run = prepare_run(tiny.pretraining(data, training={"weight_decay": 0.0}), tiny.Path("/"))
    state = run.init_state(run.init_variables())
    host = next(iter(training_stream(run.task, run.train, run.batching, run.length, 0)))
    empty = {name: np.zeros_like(array) for name, array in host.arrays.items()}
    after, sums = jax.jit(functools.partial(train_step, settings=run.settings))(state, empty)
    assert float(sums["loss"]) == float(sums["count"]) == float(sums["skipped"]) == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, after.params)
    assert int(after.step) == 1


def test_steps_do_not_depend_on_how_many_are_taken_at_once(data):
    """Equal to the bit in groups of any sizes, dropout and accumulation included; no step past the count is taken."""
    changes = {"training": {"grad_accum_steps": 2}, "data": {"num_length_buckets": 1}}
    run = prepare_run(tiny.pretraining(data, **changes), tiny.Path("/"))
    hosts = list(itertools.islice(training_stream(run.task, run.train, run.batching, run.length, 0), 7))
    steps = jax.jit(functools.partial(train_steps, settings=run.settings))

    def taken(*sizes):
        state, figures, left = run.init_state(run.init_variables()), [], iter(hosts)
        for size in sizes:
            batches = [host.arrays for host in itertools.islice(left, size)]
            state, found = steps(state, stacked(batches + batches[-1:] * (4 - size)), np.int32(size))
            assert all(not np.any(values[size:]) for values in found.values())
            figures.append({name: values[:size] for name, values in found.items()})
        return state, jax.tree.map(lambda *parts: np.concatenate(parts), *figures)

    one_by_one = taken(1, 1, 1, 1, 1, 1, 1)
    assert np.all(np.isfinite(one_by_one[1]["loss"]))
    assert list(one_by_one[1]["updates"]) == [0, 1, 1, 2, 2, 3, 3]
    for sizes in ((4, 3), (2, 4, 1)):
        jax.tree.map(np.testing.assert_array_equal, one_by_one, taken(*sizes))


def test_one_step_at_once_is_the_step_itself(data):
    run = prepare_run(tiny.pretraining(data), tiny.Path("/"))
    host = next(iter(training_stream(run.task, run.train, run.batching, run.length, 0)))
    state = run.init_state(run.init_variables())
    alone, figures = jax.jit(functools.partial(train_step, settings=run.settings))(state, host.arrays)
    group, of_group = jax.jit(functools.partial(train_steps, settings=run.settings))(state, stacked([host.arrays]), 1)
    jax.tree.map(np.testing.assert_array_equal, alone, group)
    jax.tree.map(lambda figure, row: np.testing.assert_array_equal([figure], row), figures, of_group)


def test_features_are_redrawn_by_the_interval(data):
    favor = ATTENTION["favor"] | {"favor": {"nb_features": 8, "redraw_interval": 2}}
    config = tiny.pretraining(data, architecture=tiny.architecture(attention=favor), data={"num_length_buckets": 1})
    omegas = [jax.tree.leaves(state.collections["features"]) for state in first_steps(config, 5)]
    changed = [not np.array_equal(old[0], new[0]) for old, new in itertools.pairwise(omegas)]
    # steps 0 to 4: a new draw at steps 2 and 4
    assert changed == [False, False, True, False, True]
    assert not np.array_equal(omegas[3][0], omegas[3][1])
