"""What is kept with each run of all that its result depends on."""

import json
import subprocess

from tests import tiny
from tests.trained import run
from textclf_jax.runs import record
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.record import git_commit


def test_a_run_keeps_what_it_depends_on(tmp_path):
    data = tiny.write_data(tmp_path / "data")
    folder = run(tiny.pretraining(data, training={"epochs": 1}, data={"num_length_buckets": 1}), tmp_path / "run")
    kept = json.loads((folder / "record.json").read_text())
    assert kept["config"]["experiment"]["seed"] == 1
    assert set(kept["data"]) == {"train", "val", "test"}
    assert {"python", "jax", "jaxlib", "numpy", "textclf-jax"} <= set(kept["versions"])
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
