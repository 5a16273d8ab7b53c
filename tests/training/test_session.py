"""What starting over leaves of an earlier run, and what a start that failed leaves in the folder of its run."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests import tiny
from tests.trained import interrupted, poison, run
from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.pretrained import load_pretrained
from textclf_jax.runs.signals import Stopped
from textclf_jax.runtime.programs import Programs
from textclf_jax.training import fit as fit_module
from textclf_jax.training import log
from textclf_jax.training.fit import fit
from textclf_jax.training.loop import TrainingLoop
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
    (folder / "report.html").touch()
    (folder / "report_figures").mkdir()
    return folder


@pytest.fixture
def folder(old, tmp_path):
    """A finished run."""
    return Path(shutil.copytree(old, tmp_path / "run"))


def left(folder):
    return [name for name in (*RESULTS, "summary.json") if (folder / name).exists()]


def test_a_fresh_run_that_ends_early_has_no_results_of_the_old_one(data, folder, monkeypatch):
    """The old model would be taken for the new one by whatever reads it next."""
    assert len(left(folder)) == 7
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
    assert left(folder) == ["model.ckpt", "test_report", "learning_curves.png", "summary.json"]
    assert (folder / "summary.json").read_bytes() != before


def test_a_start_that_is_refused_leaves_everything(data, folder):
    wrong = config(data).model_copy(update={"tokenizer": config(data).tokenizer.model_copy(update={"vocab_dir": "no"})})
    with pytest.raises(UserError):
        fit(wrong, folder, fresh=True)
    assert len(left(folder)) == 7


def test_the_model_that_a_run_starts_from_stays_until_there_is_a_new_one(data, folder, monkeypatch):
    weights = load_pretrained(folder / "model.ckpt")
    interrupted(config(data), folder, monkeypatch, at_update=2, fresh=True, pretrained=weights)
    assert left(folder) == ["model.ckpt"]
    load_model(folder / "model.ckpt")


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("few"), train=8, val=4, test=4)


def failing(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


def test_a_start_that_fails_leaves_nothing(few, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("the user's")
    for error, expected in ((UserError("no"), UserError), (ZeroDivisionError(), ZeroDivisionError)):
        monkeypatch.setattr(Programs, "compile", failing(error))
        with pytest.raises(expected):
            fit(tiny.finetuning(few), folder)
        assert sorted(path.name for path in folder.rglob("*")) == ["config.yaml"]


def test_a_start_that_is_stopped_while_compiling_leaves_nothing(few, tmp_path, monkeypatch):
    monkeypatch.setattr(Programs, "compile", failing(Stopped()))
    fit(tiny.finetuning(few), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_joined_others_is_stopped_alone_while_they_do_not_know(few, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "has_joined", lambda: True)
    monkeypatch.setattr(fit_module, "make_plan", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped) as stopped:
        fit(tiny.finetuning(few), tmp_path)
    assert stopped.value.args == (143,)


def test_what_was_trained_stays_when_the_run_fails_later(few, tmp_path, monkeypatch):
    config = tiny.finetuning(few, training={"epochs": 1}, data={"num_length_buckets": 1})
    monkeypatch.setattr(TrainingLoop, "after_step", failing(UserError("later")))
    with pytest.raises(UserError, match="later"):
        fit(config, tmp_path)
    assert (tmp_path / "record.json").is_file()
    assert (tmp_path / "config.resolved.yaml").is_file()
