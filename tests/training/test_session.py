"""What starting over leaves of an earlier run."""

import shutil
from pathlib import Path

import pytest

from tests import tiny
from tests.trained import interrupted, poison, run
from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.pretrained import load_pretrained
from textclf_jax.training import log
from textclf_jax.training.fit import fit
from textclf_jax.training.session import RESULTS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=40)


def config(data, **training):
    return tiny.pretraining(data, training={"epochs": 1, **training}, data={"num_length_buckets": 1})


@pytest.fixture(scope="module")
def old(data, tmp_path_factory):
    folder = run(config(data), tmp_path_factory.mktemp("old") / "run")
    (folder / "profile").mkdir()
    (folder / "profile" / "old.trace").touch()
    return folder


@pytest.fixture
def folder(old, tmp_path):
    """A finished run."""
    return Path(shutil.copytree(old, tmp_path / "run"))


def left(folder):
    return [name for name in (*RESULTS, "summary.json") if (folder / name).exists()]


def test_a_fresh_run_that_ends_early_has_no_results_of_the_old_one(data, folder, monkeypatch):
    """The old model would be taken for the new one by whatever reads it next."""
    assert len(left(folder)) == 4
    with monkeypatch.context() as patch:
        patch.setattr(log, "MAX_SKIPPED_IN_A_ROW", 3)
        poison(patch, range(99))
        with pytest.raises(UserError, match="not finite 3 times"):
            fit(config(data), folder, fresh=True)
    assert left(folder) == []
    with pytest.raises(UserError, match="there is no saved model"):
        load_pretrained(folder / "model.ckpt")
    assert not (folder / "metrics/eval/metrics.csv").exists()


def test_a_fresh_run_that_is_stopped_goes_on_as_itself(data, folder, monkeypatch):
    before = (folder / "summary.json").read_bytes()
    interrupted(config(data, learning_rate=1e-3), folder, monkeypatch, at_update=2, fresh=True)
    assert left(folder) == []
    run(config(data, learning_rate=1e-3), folder)
    assert left(folder) == ["model.ckpt", "learning_curves.png", "summary.json"]
    assert (folder / "summary.json").read_bytes() != before


def test_a_start_that_is_refused_leaves_everything(data, folder):
    wrong = config(data).model_copy(update={"tokenizer": config(data).tokenizer.model_copy(update={"vocab_dir": "no"})})
    with pytest.raises(UserError):
        fit(wrong, folder, fresh=True)
    assert len(left(folder)) == 4


def test_the_model_that_a_run_starts_from_stays_until_there_is_a_new_one(data, folder, monkeypatch):
    weights = load_pretrained(folder / "model.ckpt")
    interrupted(config(data), folder, monkeypatch, at_update=2, fresh=True, pretrained=weights)
    assert left(folder) == ["model.ckpt"]
    load_model(folder / "model.ckpt")
