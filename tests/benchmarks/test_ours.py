"""Our worker does all that a case can measure."""

import dataclasses
import shutil

import pytest

from benchmarks.bench import Bench, message
from benchmarks.cases import Case
from benchmarks.synthetic import MIN_LENGTH, write_data

TINY = Case("tiny", "training", "tiny", 2, 16, task="cls", median_length=10, spread=0.3, rows=32)


@pytest.mark.slow
def test_every_measure(tmp_path):
    """In one process: several would compile the same programs."""
    bench, tokens = Bench("cpu", tmp_path), {}
    write_data(TINY, tmp_path / "data")
    with bench.ours() as worker:
        epoch = worker.ask("epoch", **message(TINY, bench))
        assert min(epoch["tokens"], epoch["flops"], epoch["padding_waste"]) > 0
        assert 0 < epoch["compile_seconds"] < epoch["seconds"]
        shutil.rmtree(tmp_path / "data" / "run")
        for measure in ("loader", "training", "evaluation", "prediction"):
            facts = worker.ask("start", **message(dataclasses.replace(TINY, measure=measure), bench))
            assert ("padding_waste" in facts) == (measure != "prediction")
            once, twice = (worker.ask("take", count=count) for count in (1, 2))
            assert min(once["seconds"], once["tokens"]) > 0
            assert ("flops" in once) == (measure in ("training", "evaluation"))
            tokens[measure] = twice["tokens"]
            if measure == "training":
                assert 0 < once["batch_wait"] < once["seconds"]
                assert 0 < worker.ask("idle", count=2)["idle"] < 1
        assert twice["texts"] == 2 * TINY.texts
        in_one_call = dataclasses.replace(TINY, measure="prediction", texts=3, repetitions=2)
        shutil.rmtree(tmp_path / "data" / "run")
        worker.ask("start", **message(in_one_call, bench))
        assert worker.ask("take", count=in_one_call.repetitions)["texts"] == 6
    assert tokens["loader"] == tokens["training"]
    assert tokens["prediction"] >= 2 * TINY.texts * MIN_LENGTH


def test_a_device_is_named_after_its_processor(tmp_path):
    with Bench("cpu", tmp_path).ours() as worker:
        device = worker.ask("device")
    assert device["platform"] in ("cpu", "gpu")
    assert device["name"].startswith("CPU ") == (device["platform"] == "cpu")
