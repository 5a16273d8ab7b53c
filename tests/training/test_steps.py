import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import several_labels, tiny
from textclf_jax.kernels.cross_entropy import binary_cross_entropy
from textclf_jax.model.heads import forward
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


class Table(nn.Module):
    """A model whose logits are the sums of its tokens' rows in a table; so torch computes the same in two lines."""

    @nn.compact
    def losses(self, batch, *, train: bool):
        del train
        table = self.param("table", nn.initializers.normal(0.3), (tiny.VOCAB_SIZE, len(several_labels.CLASSES)))
        real = (jnp.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None])[..., None]
        logits = (table[batch["input_ids"]] * real).sum(axis=1)
        return binary_cross_entropy(logits, batch["targets"]), logits


@pytest.mark.parametrize("accumulation", [1, 3])
def test_updates_of_several_labels_have_the_gradient_of_the_whole_window(tmp_path, accumulation):
    """21 texts in batches of 8: the last batch, and with 3 in an update its last one, has 5; against torch's mean."""
    torch = pytest.importorskip("torch")
    data = several_labels.write_data(tmp_path, train=21, val=3, test=3)
    training = {"batch_size": 8, "grad_accum_steps": accumulation, "epochs": 1}
    plan = make_plan(several_labels.finetuning(data, training=training), tiny.Path("/"))
    batches = list(training_batches(plan.task, plan.train, plan.batching, plan.length, 0))
    variables = Table().init(jax.random.key(0), batches[0].arrays, train=False, method="losses")

    def loss(params, batch):
        return forward(Table(), params, batch, train=True)[0]["loss"] * batch["scale"] / accumulation

    assert len(batches) == 3
    for window in (batches[i : i + accumulation] for i in range(0, 3, accumulation)):
        found = sum(jax.grad(loss)(variables, batch.arrays)["params"]["table"] for batch in window)
        table = torch.tensor(np.asarray(variables["params"]["table"]), dtype=torch.float64, requires_grad=True)
        logits, targets = [], []
        for arrays in (batch.arrays for batch in window):
            for ids, length, target in zip(arrays["input_ids"], arrays["lengths"], arrays["targets"], strict=True):
                if length:
                    logits.append(table[torch.tensor(ids[:length]).long()].sum(dim=0))
                    targets.append(torch.tensor(target, dtype=torch.float64))
        assert len(logits) == sum(batch.arrays["weights"].sum() for batch in window)
        torch.nn.BCEWithLogitsLoss()(torch.stack(logits), torch.stack(targets)).backward()
        np.testing.assert_allclose(found, table.grad, rtol=1e-4, atol=1e-7)
