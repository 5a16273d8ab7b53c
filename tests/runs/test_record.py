"""What is kept with each run of all that its result depends on."""

import json
import subprocess

import jax
import pytest

from tests import tiny
from tests.trained import run
from textclf_jax.errors import UserError
from textclf_jax.runs import record
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.record import git_commit, renamed_classes


def test_a_run_keeps_what_it_depends_on(tmp_path):
    data = tiny.write_data(tmp_path / "data")
    folder = run(tiny.pretraining(data, training={"epochs": 1}, data={"num_length_buckets": 1}), tmp_path / "run")
    kept = json.loads((folder / "record.json").read_text())
    assert kept["config"]["experiment"]["seed"] == 1
    assert set(kept["data"]) == {"train", "val", "test"}
    assert {"python", "jax", "jaxlib", "numpy", "textclf-jax"} <= set(kept["versions"])
    assert kept["versions"]["jax"] == jax.__version__
    assert kept["device"]
    assert kept.items() <= load_model(folder / "model.ckpt").metadata.items()


def test_the_commit_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "GIT_SECONDS", 600.0)

    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert git_commit(tmp_path / "missing") is None
    git("init", "--quiet")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "--quiet", "-m", "one")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


@pytest.mark.parametrize("record", [None, "{", "{}", '{"labels": null}', '{"labels": ["a", "b", "c"]}'])
def test_classes_that_nothing_tells_or_that_are_the_same(tmp_path, record):
    if record is not None:
        (tmp_path / "record.json").write_text(record)
    assert renamed_classes(tmp_path, ["a", "b", "c"]) is None
    assert renamed_classes(tmp_path, None) is None


def test_classes_with_other_names_are_told_and_with_other_numbers_refused(tmp_path):
    (tmp_path / "record.json").write_text('{"labels": ["a", "b", "c"]}')
    assert "are a, b, x now; when this run was last begun they were a, b, c" in str(
        renamed_classes(tmp_path, ["a", "b", "x"])
    )
    for names in (["b", "a", "c"], ["x", "a", "b"]):
        with pytest.raises(UserError, match="numbers of classes have changed their meaning"):
            renamed_classes(tmp_path, names)
