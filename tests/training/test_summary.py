"""The facts that a run tells before it starts."""

import jax
import pytest

from tests import tiny
from textclf_jax.training.plan import make_plan
from textclf_jax.training.summary import describe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=40)


def frozen(config):
    plan = make_plan(config, tiny.Path("/"))
    parts = plan.variable_shapes["params"]["encoder"]
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in parts.items()}
    return dict(describe(plan)).get("frozen"), sizes


def config(data, build=tiny.finetuning, start="somewhere", **training):
    changes = {"pretrained_experiment": {"path": start}} if build is tiny.finetuning else {}
    return build(data, training={"epochs": 4, **training}, data={"num_length_buckets": 1}, **changes)


def test_what_is_frozen_is_told_and_until_when(data):
    text, sizes = frozen(config(data, freeze_epochs=2, freeze_n_layers=1, freeze_embeddings=True, grad_accum_steps=3))
    size = sizes["embeddings"] + sizes["layers_0"]
    # five steps an epoch: the window of steps 9 to 11, update 4, holds the first step that is not frozen
    what = f"the embeddings and the lowest 1 of 2 layers, {size:,} parameters"
    assert text == f"{what}, for the first 2 of 4 epochs (until update 3)"


def test_freezing_for_all_epochs_and_nothing_frozen(data):
    text, sizes = frozen(config(data, freeze_epochs=9, freeze_n_layers=2))
    assert text == f"all 2 layers, {sizes['layers_0'] + sizes['layers_1']:,} parameters, for the whole run"
    assert frozen(config(data)) == (None, sizes)


@pytest.mark.parametrize("build", [tiny.finetuning, tiny.pretraining])
def test_frozen_weights_that_were_never_trained_are_pointed_out(data, build):
    text, _ = frozen(config(data, build, start=None, freeze_epochs=1, freeze_embeddings=True))
    assert text.endswith("for the first 1 of 4 epochs (until update 5), as drawn: nothing was pretrained")
