"""Whole runs on the device: the same bits twice, also where a run was killed, and losses of bfloat16."""

import os
import signal
from pathlib import Path

import jax
import pytest

from tests import tiny
from tests.faults.harness import end_of, process
from tests.model.cases import HALF
from tests.trained import check_same_run, read_column, run
from textclf_jax.config.file import dump_config
from textclf_jax.kernels.precision import FULL
from textclf_jax.runtime.device import compute_precision
from textclf_jax.training import plan

pytestmark = pytest.mark.gpu

# heads of 8 without dropout of weights: with flash attention, where there is one
ARCHITECTURE = tiny.architecture(attention={"attn_dropout": 0.0})
DETERMINISTIC = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=400)


@pytest.fixture(scope="module")
def deterministic():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip())
        yield


def project(root: Path, data: Path) -> Path:
    """A folder with a run of 100 updates; returns the run's."""
    folder = root / "experiments/pretraining/tiny"
    folder.mkdir(parents=True)
    config = tiny.pretraining(data, architecture=ARCHITECTURE, training={"device": "auto"})
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


def train(root: Path, *flags: str, fault: str = "") -> tuple[int, str]:
    with process(root, "pretrain", "tiny", *flags, fault=fault) as child:
        return end_of(child)


@pytest.fixture(scope="module")
def whole(data, deterministic, tmp_path_factory) -> Path:
    """A run that was never stopped."""
    root = tmp_path_factory.mktemp("whole")
    folder = project(root, data)
    code, said = train(root)
    assert code == 0, said
    return folder


def test_two_runs_have_the_same_bits(data, whole, tmp_path):
    folder = project(tmp_path, data)
    code, said = train(tmp_path)
    assert code == 0, said
    check_same_run(whole, folder)


def test_a_killed_run_goes_on_to_the_same_bits(data, whole, tmp_path):
    folder = project(tmp_path, data)
    code, said = train(tmp_path, "--set", "training.checkpoint_interval_updates=1", fault="killed:5:0.02")
    assert code == -signal.SIGKILL, said
    code, said = train(tmp_path)
    assert code == 0, said
    assert "resuming after step" in said
    check_same_run(whole, folder)


def test_losses_of_200_steps_in_bfloat16_are_those_of_float32(data, tmp_path, monkeypatch):
    on_gpu = jax.default_backend() == "gpu"
    if not on_gpu:
        monkeypatch.setattr(plan, "compute_precision", lambda training: HALF if training.use_amp else FULL)
    losses = {}
    for use_amp in (True, False):
        config = tiny.pretraining(
            data,
            architecture=ARCHITECTURE,
            training={"use_amp": use_amp, "device": "auto", "epochs": 4},
            logging={"log_interval_updates": 20},
        )
        assert not on_gpu or compute_precision(config.training) == (HALF if use_amp else FULL)
        losses[use_amp] = read_column(run(config, tmp_path / str(use_amp)), "train/loss")
    assert len(losses[True]) == 10
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.03)
    assert losses[True][-1] < 0.9 * losses[True][0]
