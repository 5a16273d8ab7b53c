"""What a run says of itself."""

from pathlib import Path

import pytest

from tests import tiny
from textclf_jax.training.summary import more_epochs


def said(*losses, name="my run"):
    rows = [{"step": i, "update": i, "eval/loss": loss} for i, loss in enumerate(losses, start=1)]
    config = tiny.finetuning(Path("data"), training={"epochs": 5, "learning_rate": 1e-4})
    return more_epochs(config, name, rows)


def test_a_run_that_ends_while_it_improves_says_how_to_go_on():
    assert said(1.25, 1.00, 0.80, 0.75, 0.74) == (
        "note: the validation loss was still falling when the run ended (1.0000 half-way, 0.7400 at the end). More "
        "epochs may help: textclf finetune 'my run' --fresh --set training.epochs=10; or a higher "
        "training.learning_rate than 0.0001."
    )
    assert "(2.0000 half-way, 1.0000 at the end)" in said(2.0, 1.0)
    assert "(3.0000 half-way, 2.0000 at the end)" in said(4.0, 3.0, 2.5, 2.0)


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
