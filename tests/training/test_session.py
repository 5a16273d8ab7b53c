"""What a start that failed leaves in the folder of its run."""

from pathlib import Path

import pytest

from tests import tiny
from textclf_jax.errors import UserError
from textclf_jax.runs.signals import Stopped
from textclf_jax.runtime.programs import Programs
from textclf_jax.training.fit import fit
from textclf_jax.training.loop import TrainingLoop


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=8, val=4, test=4)


def failing(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


def test_a_start_that_fails_leaves_nothing(data, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("the user's")
    for error, expected in ((UserError("no"), UserError), (ZeroDivisionError(), ZeroDivisionError)):
        monkeypatch.setattr(Programs, "compile", failing(error))
        with pytest.raises(expected):
            fit(tiny.finetuning(data), folder)
        assert sorted(path.name for path in folder.rglob("*")) == ["config.yaml"]


def test_a_start_that_is_stopped_while_compiling_leaves_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Programs, "compile", failing(Stopped()))
    fit(tiny.finetuning(data), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_trained_stays_when_the_run_fails_later(data, tmp_path, monkeypatch):
    config = tiny.finetuning(data, training={"epochs": 1}, data={"num_length_buckets": 1})
    monkeypatch.setattr(TrainingLoop, "after_step", failing(UserError("later")))
    with pytest.raises(UserError, match="later"):
        fit(config, tmp_path)
    assert (tmp_path / "record.json").is_file()
    assert (tmp_path / "config.resolved.yaml").is_file()
