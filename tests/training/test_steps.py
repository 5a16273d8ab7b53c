import functools
import itertools

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.training.batches import training_batches
from textclf_jax.training.plan import make_plan
from textclf_jax.training.steps import train_step


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def first_steps(config, count):
    """The states after each of the first steps of a plan."""
    plan = make_plan(config, tiny.Path("/"))
    state = plan.initial_state(plan.draw_variables())
    step = jax.jit(functools.partial(train_step, settings=plan.settings))
    states = [state]
    for batch in training_batches(plan.task, plan.train, plan.batching, plan.length, 0):
        if batch.step == count:
            break
        state, _ = step(state, batch.arrays)
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


def test_the_names_of_a_state_are_those_that_checkpoints_have(data):
    """Renamed fields would make checkpoints of before unreadable."""
    frozen = {"freeze_epochs": 1, "freeze_n_layers": 1, "grad_accum_steps": 2}
    shapes = make_plan(tiny.finetuning(data, training=frozen), tiny.Path("/")).state_shapes
    names = {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(shapes)}
    groups = {name.split("/")[4] for name in names if "/inner_states/" in name}
    assert groups == {
        f"Group(decays={decays}, is_head={is_head}, is_frozen_first={frozen})"
        for decays in (True, False)
        for is_head, frozen in ((False, False), (False, True), (True, False))
    }
    state = {name for name in names if not name.startswith("params/") and "/inner_states/" not in name}
    assert {name for name in state if "/acc_grads/" not in name} == {
        "step",
        "opt_state/gradient_step",
        "opt_state/mini_step",
        "opt_state/inner_opt_state/0/grad_norm",
        "opt_state/skip_state/num_not_finite",
        "opt_state/skip_state/should_skip",
    }
    single = make_plan(tiny.pretraining(data), tiny.Path("/")).state_shapes
    names = {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(single)}
    assert {name for name in names if name.startswith("opt_state/") and "/inner_states/" not in name} == {
        "opt_state/gradient_step",
        "opt_state/inner_opt_state/0/grad_norm",
        "opt_state/skip_state/should_skip",
    }


def test_an_empty_batch_changes_nothing_but_decay_and_step(data):
    plan = make_plan(tiny.pretraining(data, training={"weight_decay": 0.0}), tiny.Path("/"))
    state = plan.initial_state(plan.draw_variables())
    batch = next(iter(training_batches(plan.task, plan.train, plan.batching, plan.length, 0)))
    empty = {name: np.zeros_like(array) for name, array in batch.arrays.items()}
    after, sums = jax.jit(functools.partial(train_step, settings=plan.settings))(state, empty)
    assert float(sums["loss"]) == float(sums["count"]) == float(sums["skipped"]) == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, after.params)
    assert int(after.step) == 1


def test_features_are_redrawn_by_the_interval(data):
    favor = ATTENTION["favor"] | {"favor": {"nb_features": 8, "redraw_interval": 2}}
    config = tiny.pretraining(data, architecture=tiny.architecture(attention=favor), data={"num_length_buckets": 1})
    omegas = [jax.tree.leaves(state.collections["features"]) for state in first_steps(config, 5)]
    changed = [not np.array_equal(old[0], new[0]) for old, new in itertools.pairwise(omegas)]
    # steps 0 to 4: a new draw at steps 2 and 4
    assert changed == [False, False, True, False, True]
    assert not np.array_equal(omegas[3][0], omegas[3][1])
