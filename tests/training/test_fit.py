"""Whole runs in this process: repeated, interrupted, resumed, refused."""

import json
import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.config import RunConfig
from textclf_jax.errors import UserError
from textclf_jax.training import loop
from textclf_jax.training.checkpoint import Checkpoints, load_model
from textclf_jax.training.fit import fit
from textclf_jax.training.pretrained import load_pretrained


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def run(config: RunConfig, folder: Path, **options) -> Path:
    """Runs a configuration to its end in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    assert fit(config, folder, **options) == 0
    return folder


def interrupted(config: RunConfig, folder: Path, monkeypatch, *, at_update: int) -> None:
    """Runs until SIGINT arrives when an update is reported."""
    original, sent = loop.Progress.update, []

    def update(self, update, **figures):
        original(self, update, **figures)
        if update >= at_update and not sent:
            sent.append(update)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "update", update)
        folder.mkdir(parents=True, exist_ok=True)
        assert fit(config, folder) == 130


def last_state(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of the newest checkpoint by name: parameters, optimizer state, step."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointer().restore((newest / "state").resolve())
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def check_same_run(one: Path, other: Path) -> None:
    """Bitwise the same last state, best model and CSV files."""
    states = last_state(one), last_state(other)
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert value.tobytes() == states[1][name].tobytes(), name
    for split in ("train", "eval", "test"):
        file = f"metrics/{split}/metrics.csv"
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    for leaf, other_leaf in zip(
        *(jax.tree.leaves(load_model(folder / "model.ckpt").variables) for folder in (one, other)), strict=True
    ):
        assert leaf.tobytes() == other_leaf.tobytes()


ACCUMULATING = {"training": {"grad_accum_steps": 3, "epochs": 4}}


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
def test_the_same_run_twice_is_bitwise_the_same(data, tmp_path, build):
    check_same_run(run(build(data), tmp_path / "one"), run(build(data), tmp_path / "two"))


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
@pytest.mark.parametrize("at_update", [2, 5])
def test_an_interrupted_run_goes_on_bitwise(data, tmp_path, monkeypatch, build, at_update):
    config = build(data, **ACCUMULATING)
    whole = run(config, tmp_path / "whole")
    interrupted(config, tmp_path / "stopped", monkeypatch, at_update=at_update)
    check_same_run(whole, run(config, tmp_path / "stopped"))


def test_runs_learn(data, tmp_path):
    folder = run(tiny.finetuning(data, training={"epochs": 15}), tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["results"]["test"]["accuracy"] > 0.9
    assert (folder / "learning_curves.png").stat().st_size > 5000
    assert (folder / "config.resolved.yaml").is_file()


def test_the_model_folder_stands_alone(data, tmp_path):
    folder = run(tiny.pretraining(data), tmp_path / "run")
    moved = tmp_path / "elsewhere"
    shutil.move(folder / "model.ckpt", moved)
    saved = load_model(moved)
    assert saved.metadata["vocab_size"] == tiny.VOCAB_SIZE
    assert saved.metadata["which"] == "best"
    assert (saved.vocab_dir / "vocab.txt").is_file()


def test_finetuning_starts_from_the_pretrained_encoder(data, tmp_path, capsys):
    pretrained = load_pretrained(run(tiny.pretraining(data), tmp_path / "pre") / "model.ckpt")
    # at rate 0 nothing moves, so what was loaded is still there
    config = tiny.finetuning(data, training={"learning_rate": 1e-12, "weight_decay": 0.0})
    folder = run(config, tmp_path / "fine", pretrained=pretrained)
    ours = load_model(folder / "model.ckpt").variables["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        ours["encoder"],
        pretrained.variables["params"]["encoder"],
    )
    shown = capsys.readouterr().out
    assert "loaded 27 arrays of the encoder" in shown
    assert "new: classifier/bias, classifier/kernel, pooler/bias, pooler/kernel" in shown
    assert "not used: transform/dense/bias" in shown


def test_fault_21_architectures_differ(data, tmp_path):
    pretrained = load_pretrained(run(tiny.pretraining(data), tmp_path / "pre") / "model.ckpt")
    config = tiny.finetuning(data, architecture=tiny.architecture(mlp_size=48))
    (tmp_path / "fine").mkdir()
    with pytest.raises(UserError, match=r"architecture.mlp_size: 32 there, 48 here"):
        fit(config, tmp_path / "fine", pretrained=pretrained)


def test_fault_24_vocabularies_differ(data, tmp_path):
    pretrained = load_pretrained(run(tiny.pretraining(data), tmp_path / "pre") / "model.ckpt")
    other = tiny.write_vocabulary(tmp_path / "other", tiny.VOCAB_SIZE + 1)
    config = tiny.finetuning(data, tokenizer={"vocab_dir": str(other)})
    with pytest.raises(UserError, match="vocabulary"):
        fit(config, tmp_path, pretrained=pretrained, dry_run=True)


def test_fault_20_checkpoint_missing(tmp_path):
    (tmp_path / "something").touch()
    with pytest.raises(UserError, match="holds: something"):
        load_pretrained(tmp_path / "model.ckpt")


def test_fault_27_a_flipped_byte_is_noticed(data, tmp_path, monkeypatch, capsys):
    config = tiny.pretraining(data, training={"epochs": 3})
    whole = run(config, tmp_path / "whole")
    interrupted(config, tmp_path / "damaged", monkeypatch, at_update=16)
    newest = max((tmp_path / "damaged" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for file in newest.rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    check_same_run(whole, run(config, tmp_path / "damaged"))
    assert f"the checkpoint of step {newest.name}" in capsys.readouterr().out


def test_a_finished_run_is_not_started_over(data, tmp_path):
    config = tiny.pretraining(data)
    run(config, tmp_path / "run")
    with pytest.raises(UserError, match="finished"):
        fit(config, tmp_path / "run")
    run(config, tmp_path / "run", fresh=True)


def test_fault_14_changed_settings_are_refused_on_resume(data, tmp_path, monkeypatch):
    interrupted(tiny.pretraining(data), tmp_path / "run", monkeypatch, at_update=2)
    with pytest.raises(UserError, match=r"config.training.learning_rate: 0.003 before, 0.001 now"):
        fit(tiny.pretraining(data, training={"learning_rate": 1e-3}), tmp_path / "run")


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


def test_fault_32_non_finite_gradients_stop_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MAX_SKIPPED_IN_A_ROW", 3)
    # logits overflow at once
    config = tiny.pretraining(data, training={"learning_rate": 1e30, "max_grad_norm": 0.0})
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="not finite 3 times in a row"):
        fit(config, tmp_path / "run")


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
