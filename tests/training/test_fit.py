"""Whole runs in this process: repeated, interrupted, resumed, refused."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import tiny
from tests.trained import FEATURES, check_same_run, interrupted, last_state, run, saved_steps
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.runs.checkpoint import Checkpoints, load_model
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.runs.pretrained import load_pretrained
from textclf_jax.runtime.programs import Programs
from textclf_jax.training.fit import fit
from textclf_jax.training.plan import make_plan
from textclf_jax.training.schedule import make_schedule


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory) -> Path:
    """A finished run, for tests that only read it."""
    return run(tiny.pretraining(data), tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def finetuned(data, tmp_path_factory) -> Path:
    """A finished run, for tests that only read it."""
    return run(tiny.finetuning(data), tmp_path_factory.mktemp("finetuned"))


# masks by code that draws from torch's global generator
WRAPPER = """
import torch
class Mine:
    vocab_size, pad_id = 60, 0
    def load(self, vocab_dir): ...
    def mask_input_for_mlm(self, input_ids, attention_mask, mask_p):
        chosen = (torch.rand(input_ids.shape) < mask_p) & ~attention_mask
        return torch.where(chosen, 4, input_ids), torch.where(chosen, input_ids, -100)
"""


def test_the_same_run_twice_is_bitwise_the_same(data, tmp_path, pretrained, finetuned):
    check_same_run(pretrained, run(tiny.pretraining(data), tmp_path / "pretraining"))
    check_same_run(finetuned, run(tiny.finetuning(data), tmp_path / "finetuning"))


@pytest.mark.parametrize("kind", ["pretraining", "finetuning"])
def test_an_interrupted_run_goes_on_bitwise(data, tmp_path, monkeypatch, kind):
    pytest.importorskip("torch")
    (tmp_path / "mine.py").write_text(WRAPPER)
    sections = {**FEATURES[kind], "data": {"num_length_buckets": 1}}
    sections["training"] = {**sections["training"], "epochs": 4}
    if kind == "pretraining":
        sections["tokenizer"] = {"wrapper_path": str(tmp_path / "mine.py")}
    config = {"pretraining": tiny.pretraining, "finetuning": tiny.finetuning}[kind](data, **sections)
    whole = run(config, tmp_path / "whole")
    for at_update in (2, 5):
        stopped = interrupted(config, tmp_path / "stopped", monkeypatch, at_update=at_update)
    check_same_run(whole, run(config, stopped))


def test_a_run_of_so_many_updates_ends_there_and_goes_on_bitwise(data, tmp_path, monkeypatch):
    """Within its third epoch of 7 steps; with windows of 3 steps that cross the epochs' ends."""
    keys = {"grad_accum_steps": 3, "epochs": 9, "max_updates": 6, "min_lr_ratio": 0.5}
    config = tiny.finetuning(data, training=keys, data={"num_length_buckets": 1}, logging={"log_interval_updates": 1})
    whole = run(config, tmp_path / "whole")
    rows = read_metrics(whole / "metrics/eval/metrics.csv")
    assert [(row["step"], row["update"], row["epoch"]) for row in rows] == [(7, 2, 1), (14, 4, 2), (18, 6, 3)]
    rates = [row["train/lr"] for row in read_metrics(whole / "metrics/train/metrics.csv")]
    schedule = make_schedule(config.training, 6, 1.0)
    np.testing.assert_allclose(rates, [float(schedule(update)) for update in range(6)], rtol=1e-6)
    stopped = interrupted(config, tmp_path / "stopped", monkeypatch, at_update=5)
    check_same_run(whole, run(config, stopped))


def test_evaluations_and_checkpoints_come_where_they_are_due(data, tmp_path):
    """Within an epoch too."""
    intervals = {"eval_interval_updates": 3, "checkpoint_interval_updates": 5, "epochs": 2}
    config = tiny.pretraining(
        data, training=intervals, data={"num_length_buckets": 1}, logging={"log_interval_updates": 1}
    )
    folder = run(config, tmp_path / "run")
    evaluations = read_metrics(folder / "metrics/eval/metrics.csv")
    assert [row["update"] for row in evaluations] == [3, 6, 7, 9, 12, 14]
    assert saved_steps(folder) == [12, 14]


def test_runs_learn(data, tmp_path):
    folder = run(tiny.finetuning(data, training={"epochs": 15}), tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["results"]["test"]["accuracy"] > 0.9
    assert (folder / "learning_curves.png").stat().st_size > 5000
    assert (folder / "config.resolved.yaml").is_file()


def test_the_model_folder_stands_alone(pretrained, tmp_path):
    saved = load_model(Path(shutil.copytree(pretrained / "model.ckpt", tmp_path / "elsewhere")))
    assert saved.metadata["vocab_size"] == tiny.VOCAB_SIZE
    assert saved.metadata["which"] == "best"
    assert (saved.vocab_dir / "vocab.txt").is_file()


def test_finetuning_starts_from_the_pretrained_encoder(data, pretrained, tmp_path, capsys):
    start = load_pretrained(pretrained / "model.ckpt")
    # at rate 0 nothing moves, so what was loaded is still there
    config = tiny.finetuning(data, training={"learning_rate": 1e-12, "weight_decay": 0.0})
    folder = run(config, tmp_path / "fine", pretrained=start)
    ours = load_model(folder / "model.ckpt").variables["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours["encoder"], start.variables["params"]["encoder"]
    )
    shown = capsys.readouterr().out
    assert "loaded 27 arrays of the encoder" in shown
    assert "new: classifier/bias, classifier/kernel, pooler/bias, pooler/kernel" in shown
    assert "not used: transform/dense/bias" in shown


def test_a_resumed_run_does_not_claim_to_start_from_other_weights(data, pretrained, tmp_path, capsys, monkeypatch):
    config = tiny.finetuning(data)
    interrupted(config, tmp_path / "fine", monkeypatch, at_update=2)
    capsys.readouterr()
    run(config, tmp_path / "fine", pretrained=load_pretrained(pretrained / "model.ckpt"))
    shown = capsys.readouterr().out
    assert "resuming after step" in shown
    assert "loaded" not in shown


def test_the_summary_has_the_figures_of_the_saved_model(data, finetuned):
    """Those of validation come from the loop."""
    plan, saved = make_plan(tiny.finetuning(data), tiny.Path("/")), load_model(finetuned / "model.ckpt")
    programs = Programs("evaluation", plan.evaluation_program)
    metrics = Evaluator(plan.task, programs, plan.eval_batching)(saved.variables, plan.val)
    assert json.loads((finetuned / "summary.json").read_text())["results"]["val"] == metrics


def test_a_folder_without_a_checkpoint_in_it_is_no_start(data, tmp_path, capsys):
    """A stray file with a number for its name."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "3").touch()
    run(tiny.pretraining(data, training={"epochs": 1}), tmp_path / "run")
    assert "resuming" not in capsys.readouterr().out


def test_a_finished_run_is_not_started_over(data, pretrained, tmp_path):
    config, folder = tiny.pretraining(data), Path(shutil.copytree(pretrained, tmp_path / "run"))
    with pytest.raises(UserError, match="finished"):
        fit(config, folder)
    run(config, folder, fresh=True)


def test_dry_run_writes_nothing(data, tmp_path, capsys):
    assert fit(tiny.pretraining(data), tmp_path / "run", dry_run=True) == 0
    assert not (tmp_path / "run").exists()
    shown = capsys.readouterr().out
    for word in ("parameters", "padding", "programs to compile", "memory", "real tokens"):
        assert word in shown


def test_no_validation_split_keeps_the_last_model(data, tmp_path):
    config = tiny.pretraining(data)
    config = config.model_copy(update={"data": config.data.model_copy(update={"val": type(config.data.val)()})})
    folder = run(config, tmp_path / "run")
    saved = load_model(folder / "model.ckpt")
    assert saved.metadata["which"] == "last"
    last = last_state(folder)
    for path, leaf in jax.tree.leaves_with_path(saved.variables["params"]):
        assert last[f"['params']{jax.tree_util.keystr(path)}"].tobytes() == leaf.tobytes()


def test_checkpoints_keep_two_and_skip_a_saved_step(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    state = {"w": np.arange(3.0)}
    for step in (1, 2, 3, 3):
        checkpoints.save(step, state, {"step": step})
    checkpoints.wait()
    restored = checkpoints.restore(state, [])
    checkpoints.close()
    assert restored is not None
    assert restored[1] == {"step": 3}
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]
