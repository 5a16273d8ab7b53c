"""A profiled run: the trace is there, and what is printed names the parts of the model."""

import gzip
import json
from pathlib import Path

import pytest

from tests import tiny
from textclf_jax.runs.metrics_files import THROUGHPUT_PATH, read_metrics
from textclf_jax.training.fit import fit

ONE_BUCKET = {"num_length_buckets": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def test_a_profile_shows_scopes_and_leaves_a_trace(data, tmp_path, capsys):
    assert fit(tiny.pretraining(data, training={"profile": 3}, data=ONE_BUCKET), tmp_path / "run") == 0
    shown = capsys.readouterr().out
    lines = shown[shown.index("profile of 3 steps") :].splitlines()
    scopes = [line.split()[0] for line in lines[3:13]]
    assert any("attention" in scope for scope in scopes)
    assert any("mlp" in scope for scope in scopes)
    assert not any("losses" in scope for scope in scopes)
    assert "the device waited for the host" in lines[13]
    (trace,) = (tmp_path / "run" / "profile").rglob("*.trace.json.gz")
    assert f"{trace.name} in {trace.parent}" in shown
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    # one annotation a step, with its number
    steps = {event["args"]["step_num"] for event in events if event.get("name") == "train"}
    assert steps == {"5", "6", "7"}
    for row in read_metrics(tmp_path / "run" / THROUGHPUT_PATH):
        assert row["throughput/mfu"] > 0
        assert 0 <= row["throughput/padding_waste"] < 1


def test_a_run_that_ends_before_the_profile_begins_says_so(data, tmp_path, capsys):
    config = tiny.pretraining(data, training={"profile": 3, "epochs": 1, "batch_size": 25}, data=ONE_BUCKET)
    assert fit(config, tmp_path / "run") == 0
    assert "no profile: the run ended within the 5 steps of warm-up" in capsys.readouterr().out


def test_a_run_that_ends_in_the_middle_shows_what_there_is(data, tmp_path, capsys):
    config = tiny.pretraining(data, training={"profile": 100, "epochs": 1}, data=ONE_BUCKET)
    assert fit(config, tmp_path / "run") == 0
    assert "profile of 2 steps" in capsys.readouterr().out
