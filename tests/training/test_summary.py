"""What a run says of itself: its facts before it starts, and advice at its end."""

from pathlib import Path

import jax
import pytest

from tests import tiny
from textclf_jax.training.plan import make_plan
from textclf_jax.training.summary import describe, learning_warnings, more_epochs


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


def test_multipliers_of_0_are_told_as_what_never_learns(data):
    def plan(build=tiny.finetuning, **training):
        return make_plan(config(data, build, **training), tiny.Path("/"))

    def size(plan, *names):
        parts = plan.variable_shapes["params"]
        return sum(leaf.size for name in names for leaf in jax.tree.leaves(parts[name]))

    encoder = plan(backbone_lr_mult=0)
    what = f"all but the classifier, {size(encoder, 'encoder'):,} parameters"
    assert dict(describe(encoder))["frozen"] == f"{what}, for the whole run (training.backbone_lr_mult is 0)"
    assert list(learning_warnings(encoder)) == list(learning_warnings(plan(head_lr_mult=0.1))) == []

    head = plan(head_lr_mult=0)
    parameters = size(head, *({"classifier", "pooler"} & set(head.variable_shapes["params"])))
    (line,) = learning_warnings(head)
    assert line.startswith(
        f"warning: the classifier, {parameters:,} parameters, never learns: training.head_lr_mult is 0"
    )
    assert "frozen" not in dict(describe(head))

    (line,) = learning_warnings(plan(head_lr_mult=0, backbone_lr_mult=0))
    assert line.endswith("Set training.backbone_lr_mult and training.head_lr_mult above 0.")
    (line,) = learning_warnings(plan(tiny.pretraining, backbone_lr_mult=0))
    assert line.startswith("warning: nothing learns")
    assert list(learning_warnings(plan(tiny.pretraining, head_lr_mult=0))) == []


def said(*scores, name="my run", metric="loss"):
    rows = [{"step": i, "update": i, f"eval/{metric}": score} for i, score in enumerate(scores, start=1)]
    training = {"epochs": 5, "learning_rate": 1e-4, "early_stopping": {"metric": metric}}
    config = tiny.finetuning(Path("data"), training=training)
    return more_epochs(config, name, rows)


def test_a_run_that_ends_while_it_improves_says_how_to_go_on():
    assert said(1.25, 1.00, 0.80, 0.75, 0.74) == (
        "note: the validation loss was still falling when the run ended (1.0000 half-way, 0.7400 at the end). More "
        "epochs may help: textclf finetune 'my run' --fresh --set training.epochs=10; or a higher "
        "training.learning_rate than 0.0001."
    )
    assert "(2.0000 half-way, 1.0000 at the end)" in said(2.0, 1.0)
    assert "(3.0000 half-way, 2.0000 at the end)" in said(4.0, 3.0, 2.5, 2.0)


def test_another_score_than_the_loss_counts_by_what_it_lacks():
    rising = said(0.5, 0.6, 0.7, 0.75, metric="accuracy")
    assert rising.startswith(
        "note: the validation accuracy was still rising when the run ended (0.6000 half-way, 0.7500 at the end). More"
    )
    assert said(0.9900, 0.9904, metric="f1_macro") != ""
    # what lacks, 0.4, falls by less than 3%
    assert said(0.6, 0.605, metric="accuracy") == ""
    assert said(0.5, 0.7, 0.6, metric="accuracy") == said(0.5, 0.7, 0.7, metric="accuracy") == ""


def test_a_run_of_so_many_updates_is_told_of_more_updates():
    rows = [{"step": i, "update": i, "eval/loss": loss} for i, loss in enumerate((2.0, 1.5, 1.0), start=1)]
    config = tiny.finetuning(Path("data"), training={"epochs": 5, "max_updates": 30})
    assert "More updates may help" in more_epochs(config, "x", rows)
    assert "--set training.max_updates=60 training.epochs=10; or" in more_epochs(config, "x", rows)


@pytest.mark.parametrize(
    "losses",
    [(), (1.0,), (1.0, 0.5, 0.6), (1.0, 0.5, 0.5), (0.9, 0.500, 0.499, 0.498), (1.0, 0.9, float("nan"))],
    ids=str,
)
def test_other_runs_say_nothing(losses):
    assert said(*losses) == ""


def test_rows_without_a_loss_are_left_out():
    config = tiny.finetuning(Path("data"))
    assert more_epochs(config, "x", [{"update": 1.0}, {"update": 2.0}]) == ""
