"""Runs that several processes carry together, over gloo on this machine; each has two devices."""

import functools
import random
import re
import shutil
import signal

import numpy as np
import pytest

from tests import processes, tiny
from tests.trained import read_column

pytestmark = [pytest.mark.multi_device, pytest.mark.slow]

# A row of the log each update. No dropout of attention weights, of which a CPU draws others for few queries alone
COMMON = {
    "logging": {"log_interval_updates": 1},
    "data": {"num_length_buckets": 1, "packing": False},
    "architecture": tiny.architecture(attention={"attn_dropout": 0.0}),
}
BUILDS = {
    "pretraining": (tiny.pretraining, {}, {"data": 4, "fsdp": 1}),
    "finetuning": (
        tiny.finetuning,
        {"classification_head": {"num_labels": 3, "pooling": "mean"}},
        {"data": 1, "fsdp": -1},
    ),
}
EPOCHS = 6
FIGURES = ("train/loss", "train/grad_norm", "eval/loss", "test/loss")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of a project with data."""
    folder = tmp_path_factory.mktemp("project")
    tiny.write_data(folder / "data")
    return folder


@pytest.fixture(scope="module")
def make(project):
    def make(build, name, mesh=None, **changes):
        configure, of_build, _ = BUILDS[build]
        training = {
            "epochs": EPOCHS,
            "use_amp": False,
            "checkpoint_interval_updates": 2,
            **changes,
            **({"mesh": mesh} if mesh else {}),
        }
        return processes.write_run(
            project, configure(project / "data", name=name, **COMMON, **of_build, training=training)
        )

    return make


@pytest.fixture(scope="module")
def of_one(make):
    """The run as one process trains it on one device."""

    @functools.cache
    def of_one(build):
        return processes.train(make(build, "one"))

    return of_one


def check_same_figures(found, expected):
    for name in FIGURES:
        np.testing.assert_allclose(read_column(found, name), read_column(expected, name), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("build", BUILDS)
def test_two_processes_train_what_one_does(make, of_one, build):
    run = processes.train(make(build, "two", BUILDS[build][2]), processes=2, devices=2)
    check_same_figures(run, of_one(build))
    first, second = (processes.said(run, index) for index in range(2))
    assert "in 2 processes" in first
    # not by whole lines: those of gloo's threads run into each other
    told = re.compile(r"train data|compiling|\bloss\b|results of|summary")
    assert all(told.search(line) is None for line in second.splitlines())
    assert len(set(told.findall(first))) == 5
    finished = processes.ended(processes.start(run, processes=2, devices=2))
    assert finished == [2, 2]
    assert "this run is finished" in processes.said(run, 0)
    assert "process 1: the first process could not go on:" in processes.said(run, 1)


@pytest.mark.parametrize(("which", "build"), list(enumerate(BUILDS)))
def test_a_signal_to_one_saves_and_one_process_goes_on(make, of_one, build, which):
    run = make(build, f"stopped-{which}", BUILDS[build][2])
    codes = processes.signalled(run, which, signal.SIGTERM, rows=5, processes=2, devices=2)
    told = processes.said(run)
    assert codes == [143, 143], [told, processes.said(run, 1)]
    step = int(re.search(r"stopped and saved after step (\d+)", told)[1])
    assert 5 <= step < EPOCHS * 7
    processes.train(run, "--set", "training.mesh.data=-1", "training.mesh.fsdp=1")
    assert f"resuming after step {step} of" in processes.said(run)
    check_same_figures(run, of_one(build))


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_dies_ends_all(make, which):
    run = make("pretraining", f"died-{which}")
    codes = processes.signalled(run, which, signal.SIGKILL, rows=3, processes=2, devices=2)
    assert codes[which] == -signal.SIGKILL
    assert codes[1 - which] not in (0, -signal.SIGKILL), processes.said(run, 1 - which)
    assert re.search(
        r"Another process of the run has probably ended|another task died|heartbeat|unavailable|UNAVAILABLE",
        processes.said(run, 1 - which),
    )


def test_ten_kills_change_nothing(make, of_one, project):
    run, rng = make("pretraining", "killed"), random.Random(5)
    topologies = [(2, 2), (1, 4), (2, 1), (1, 1), (1, 2)]
    for number in range(10):
        count, devices = topologies[number % len(topologies)]
        done = len(read_column(run, "train/loss")) if number else 0
        # what is logged after the last checkpoint is logged again
        rows = min(done + rng.randint(1, 3), EPOCHS * 7 - 4)
        codes = processes.signalled(
            run,
            rng.randrange(count),
            signal.SIGKILL,
            rows=rows,
            seconds=rng.random() / 4,
            processes=count,
            devices=devices,
        )
        assert -signal.SIGKILL in codes, processes.said(run)
        assert 0 not in codes
    for count, devices in ((1, 1), (1, 2), (2, 2)):
        copied = run.with_name(f"killed-{count}-{devices}")
        shutil.copytree(run, copied)
        config = (copied / "config.yaml").read_text(encoding="utf-8")
        (copied / "config.yaml").write_text(config.replace("killed", copied.name), encoding="utf-8")
        check_same_figures(processes.train(copied, processes=count, devices=devices), of_one("pretraining"))


def test_processes_of_different_runs_are_refused(make):
    run = make("pretraining", "different")
    codes = processes.ended(processes.start(run, processes=2, of_each=[[], ["--set", "training.learning_rate=0.001"]]))
    assert codes == [2, 2]
    for index in range(2):
        told = processes.said(run, index)
        assert f"process {index}: the processes of this run have not the same settings" in told
        assert "compare process 0 with 1" in told
    assert not (run / "checkpoints").exists()
