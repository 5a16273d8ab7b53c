"""Going on under a new name: with everything of an earlier run, or with its weights."""

import copy
import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.config.schema import PretrainingConfig
from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import Checkpoints, load_model
from textclf_jax.runs.pretrained import checkpoint_in, load_pretrained
from textclf_jax.runs.resuming import fingerprint_of, resume
from textclf_jax.training.fit import fit
from textclf_jax.training.schedule import make_schedule

STEPS = 7  # an epoch


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def earlier(data, tmp_path_factory) -> Path:
    """A finished run of two epochs, with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("earlier")
    assert fit(pretraining(data), folder) == 0
    return folder


@pytest.fixture
def stopped(earlier, tmp_path) -> Path:
    """The same run, stopped after its first epoch."""
    folder = tmp_path / "stopped"
    shutil.copytree(earlier, folder)
    shutil.rmtree(folder / "checkpoints" / str(2 * STEPS))
    return folder


def pretraining(data: Path, /, **changes) -> PretrainingConfig:
    """A tiny run with one program to compile."""
    return tiny.pretraining(data, data={"num_length_buckets": 1}, **changes)


def continuing(data: Path, path: Path, /, **training) -> PretrainingConfig:
    """A run that takes over everything of an earlier one."""
    resume = {"path": str(path), "weights_only": False}
    return pretraining(data, name="new", training={"resume": resume, **training})


def state_in(folder: Path):
    """The newest train state of a run, and its position."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    restored = checkpoints.restore(None, [])
    checkpoints.close()
    assert restored is not None
    return restored


def assert_same(tree, other) -> None:
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def rows(folder: Path, split: str = "train") -> list[dict[str, str]]:
    with (folder / "metrics" / split / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_everything_goes_on_bitwise_under_a_new_name(data, earlier, stopped, tmp_path):
    (tmp_path / "new").mkdir()
    assert fit(continuing(data, stopped), tmp_path / "new") == 0
    assert_same(state_in(tmp_path / "new")[0], state_in(earlier)[0])
    after = [row for row in rows(earlier) if int(row["step"]) > STEPS]
    assert [row["train/loss"] for row in rows(tmp_path / "new")] == [row["train/loss"] for row in after]
    assert sorted(path.name for path in (stopped / "checkpoints").iterdir()) == [str(STEPS)]


def test_a_finished_run_goes_on_with_more_epochs_on_their_schedule(data, earlier, tmp_path, capsys):
    config = continuing(data, earlier / "checkpoints", epochs=3)
    (tmp_path / "new").mkdir()
    assert fit(config, tmp_path / "new") == 0
    assert f"after step {2 * STEPS} of now {3 * STEPS}" in capsys.readouterr().out
    schedule = make_schedule(config.training, 3 * STEPS, 1.0)
    written = rows(tmp_path / "new")
    assert [int(row["step"]) for row in written] == [15, 18, 21]
    np.testing.assert_allclose(
        [float(row["train/lr"]) for row in written], [schedule(int(row["update"]) - 1) for row in written], rtol=1e-5
    )
    saved = load_model(tmp_path / "new" / "model.ckpt").metadata
    assert (saved["which"], saved["step"]) == ("best", 3 * STEPS)
    # once it has checkpoints of its own, it goes on from those
    with pytest.raises(UserError, match="finished"):
        fit(config, tmp_path / "new")


def test_more_updates_continue_a_run_bitwise(data, tmp_path):
    """At a rate that does not depend on the length; the earlier run ended within an epoch."""
    constant = {"min_lr_ratio": 1.0, "warmup_ratio": 0.0, "epochs": 2}
    folders = {name: tmp_path / name for name in ("earlier", "new", "whole")}
    for folder in folders.values():
        folder.mkdir()
    assert fit(pretraining(data, training={**constant, "max_updates": 4}), folders["earlier"]) == 0
    config = continuing(data, folders["earlier"], **constant, max_updates=9)
    assert fit(config, folders["new"]) == 0
    assert fit(pretraining(data, training={**constant, "max_updates": 9}), folders["whole"]) == 0
    assert_same(state_in(folders["new"])[0], state_in(folders["whole"])[0])
    same = continuing(data, folders["earlier"], **constant, max_updates=4)
    with pytest.raises(UserError, match=r"at step 4.* end at step 4\. Set training\.max_updates to more than 4\."):
        fit(same, tmp_path / "other", dry_run=True)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_that_is_no_longer_is_refused(data, earlier, tmp_path, dry_run):
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match=r"at step 14, but this run would end at step 14\. Set training\.epochs to"):
        fit(continuing(data, earlier), tmp_path / "new", dry_run=dry_run)
    assert not (tmp_path / "new" / "model.ckpt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 16}, r"config\.training\.batch_size: 8 before, 16 now"),
        ({"weight_decay": 0.0}, r"config\.training\.weight_decay: 0\.01 before, 0\.0 now"),
        ({"grad_accum_steps": 2}, r"config\.training\.grad_accum_steps: 1 before, 2 now"),
    ],
)
def test_settings_that_must_agree_are_named(data, earlier, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        fit(continuing(data, earlier, epochs=9, **change), tmp_path / "new", dry_run=True)


def test_a_checkpoint_from_before_a_key_goes_on_where_the_key_has_its_default(data):
    """As one whose key was removed by hand; a value that is not the default is named."""
    config = tiny.finetuning(data)
    now = fingerprint_of(config, {"train": "0"}, "1", packed=False)
    before = copy.deepcopy(now)
    del before["config"]["training"]["resume"], before["config"]["architecture"]["mlp_dropout"]

    def restore(like, notes, check):
        check({"fingerprint": before})
        return {}, {"step": 3, "fingerprint": before}

    checkpoints: Any = SimpleNamespace(restore=restore)
    resumption = resume(checkpoints, None, now, changed_data=False)
    assert resumption is not None
    assert resumption.position.step == 3
    now["config"]["architecture"]["mlp_dropout"] = 0.3
    with pytest.raises(UserError, match=r"with these:\n  config\.architecture\.mlp_dropout: 0\.1 before, 0\.3 now\n"):
        resume(checkpoints, None, now, changed_data=False)
    del before["config"]["training"]["learning_rate"]  # it has no default
    with pytest.raises(UserError, match=r"training\.learning_rate: None before, 0\.003 now"):
        resume(checkpoints, None, now, changed_data=False)


def test_nothing_to_continue(data, earlier, tmp_path):
    (tmp_path / "other.txt").touch()
    torch_file = tmp_path / "best-model.ckpt"
    torch_file.touch()
    for path, message in {
        tmp_path / "missing": "holds no optimizer state.*holds: best-model.ckpt, other.txt",
        earlier / "model.ckpt": "holds no optimizer state.*holds: metadata.json, variables, vocab",
        torch_file: "is a file: optimizer state of PyTorch",
    }.items():
        with pytest.raises(UserError, match=f"{message}.*weights_only to true"):
            fit(continuing(data, path), tmp_path / "new", dry_run=True)


def test_a_damaged_checkpoint_is_passed_over(data, earlier, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(earlier, folder)
    for file in (folder / "checkpoints" / str(2 * STEPS)).rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert fit(continuing(data, folder, epochs=3), tmp_path / "new", dry_run=True) == 0
    shown = capsys.readouterr().out
    assert "checkpoint of step 14" in shown
    assert f"after step {STEPS} of now {3 * STEPS}" in shown


# --- weights only ---------------------------------------------------------------------------------------------


def test_weights_alone_start_afresh(data, earlier, tmp_path, capsys):
    """At rate 1e-12 nothing moves, so what was loaded, head and all, is still there."""
    config = pretraining(data, training={"learning_rate": 1e-12, "weight_decay": 0.0, "epochs": 1})
    (tmp_path / "new").mkdir()
    pretrained = load_pretrained(checkpoint_in(earlier))
    assert fit(config, tmp_path / "new", pretrained=pretrained) == 0
    shown = capsys.readouterr().out
    assert f"loaded 31 arrays of encoder and head from {earlier / 'model.ckpt'}" in shown
    assert "new: nothing\nin the checkpoint but not used: nothing" in shown
    state, position = state_in(tmp_path / "new")
    assert (int(state["step"]), position["step"]) == (STEPS, STEPS)
    close = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), state["params"], pretrained.variables["params"])
    assert all(jax.tree.leaves(close))


def test_where_weights_may_come_from(earlier, tmp_path):
    assert checkpoint_in(earlier) == checkpoint_in(earlier / "model.ckpt") == earlier / "model.ckpt"
    assert checkpoint_in(earlier / "checkpoints") == earlier / "checkpoints"
    begun = tmp_path / "begun"
    shutil.copytree(earlier / "checkpoints", begun / "checkpoints")
    newest = load_pretrained(checkpoint_in(begun))
    assert_same(newest.variables["params"], state_in(earlier)[0]["params"])
    saved = load_pretrained(earlier / "model.ckpt")
    assert (newest.architecture, newest.vocabulary) == (saved.architecture, saved.vocabulary)


def test_the_reference_s_best_model_comes_before_its_last(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("model.ckpt", "best-model.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
    best = tmp_path / "checkpoints" / "best-model.ckpt"
    assert checkpoint_in(tmp_path) == checkpoint_in(tmp_path / "checkpoints") == checkpoint_in(best) == best


def test_no_checkpoint_there(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"holds: config\.json\. Turn a Hugging Face folder into a run"):
        checkpoint_in(tmp_path)
    with pytest.raises(UserError, match=r"there is no checkpoint.*holds: config\.json\.$"):
        checkpoint_in(tmp_path / "model.ckpt")


def test_a_head_that_does_not_fit_is_refused(data, earlier, tmp_path):
    config = pretraining(data, mlm_head={"decoder_bias": True})
    with pytest.raises(UserError, match=r"decoder_bias: absent in the checkpoint, \(60,\) here"):
        fit(config, tmp_path, pretrained=load_pretrained(earlier / "model.ckpt"), dry_run=True)


def test_a_dry_run_refuses_what_the_run_would_refuse(data, stopped, capsys):
    before = sorted(stopped.rglob("*"))
    with pytest.raises(UserError, match=r"begun with other settings(.|\n)*training\.learning_rate"):
        fit(pretraining(data, training={"learning_rate": 0.5}), stopped, dry_run=True)
    assert f"note: {stopped}: this run is finished." in capsys.readouterr().out
    assert sorted(stopped.rglob("*")) == before
