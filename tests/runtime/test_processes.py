"""How a process finds the others of its run; that several carry one is tested in training/test_many_processes.py."""

from importlib.util import find_spec

import jax
import numpy as np
import pytest

from textclf_jax.errors import UserError
from textclf_jax.runtime import agreement, processes
from textclf_jax.runtime.processes import Launch, join

CLUSTER_NAMES = {
    *(name for names, size in processes.CLUSTERS.values() for name in (*names, size)),
    *processes.KUBERNETES,
}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911", "OMPI_COMM_WORLD_SIZE": "2"}


@pytest.fixture
def asked(monkeypatch):
    """What JAX is asked to connect with; nothing is connected."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr(jax.config, "update", lambda *setting: None)
    for name in CLUSTER_NAMES:
        monkeypatch.delenv(name, raising=False)
    return calls


def set_all(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_process_that_is_told_nothing_runs_alone(asked):
    assert not join(Launch())
    assert not asked


@pytest.mark.parametrize("variables", [SLURM, OPEN_MPI], ids=["SLURM", "Open MPI"])
def test_a_cluster_is_asked_for_what_it_started(asked, monkeypatch, variables):
    set_all(monkeypatch, variables)
    assert join(Launch())
    assert not {"coordinator_address", "num_processes", "process_id", "cluster_detection_method"} & asked[0].keys()


@pytest.mark.parametrize("lacking", SLURM)
def test_a_job_script_is_no_step_and_one_task_is_alone(asked, monkeypatch, lacking):
    set_all(monkeypatch, SLURM)
    monkeypatch.delenv(lacking)
    assert not join(Launch())
    monkeypatch.setenv(lacking, SLURM[lacking])
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not join(Launch())
    assert not asked


def test_open_mpi_that_tells_jax_too_little_is_refused(asked, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"does not say where the first one is\. Give each --coordinator"):
        join(Launch())
    assert not join(Launch(num_processes=1))


def test_flags_decide_on_a_cluster_too(asked, monkeypatch):
    set_all(monkeypatch, SLURM)
    assert not join(Launch(num_processes=1))
    assert not asked
    assert join(Launch("10.0.0.1:4321", 3, 2))
    assert asked[0]["cluster_detection_method"] == "deactivate"
    told = {name: asked[0][name] for name in ("coordinator_address", "num_processes", "process_id")}
    assert told == {"coordinator_address": "10.0.0.1:4321", "num_processes": 3, "process_id": 2}


@pytest.mark.skipif(find_spec("kubernetes") is not None, reason="the client of Kubernetes is there")
def test_a_pod_of_an_indexed_job_says_that_it_runs_alone(asked, monkeypatch, capsys):
    set_all(monkeypatch, {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"})
    assert not join(Launch())
    assert "install jax[k8s]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("launch", "why"),
    [
        (Launch(num_processes=2), "--coordinator, --process-id: give these, too"),
        (Launch("host:1", 2), "--process-id: give these, too"),
        (Launch(process_id=0), "--coordinator, --num-processes: give these, too"),
        (Launch("host", 2, 0), "--coordinator host: give HOST:PORT"),
        (Launch(":80", 2, 0), "--coordinator :80: give HOST:PORT"),
        (Launch("host:0", 2, 0), "--coordinator host:0: give HOST:PORT"),
        (Launch("host:99999", 2, 0), "--coordinator host:99999: give HOST:PORT"),
        (Launch("host:80", 2, 2), "--process-id 2 of --num-processes 2: they count from 0 to 1"),
        (Launch("host:80", 2, -1), "--process-id -1 of --num-processes 2"),
        (Launch("host:80", 0, 0), "--num-processes 0: there is one process at least"),
    ],
)
def test_flags_that_do_not_fit_are_refused(asked, launch, why):
    with pytest.raises(UserError, match=why):
        join(launch)
    assert not asked


def test_processes_that_do_not_find_each_other_are_told_how(asked, monkeypatch):
    def fail(**arguments):
        raise RuntimeError("DEADLINE_EXCEEDED: no answer\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(UserError, match=r"do not find each other: DEADLINE_EXCEEDED: no answer\. Start each of them"):
        join(Launch("host:80", 2, 1))


def test_alone_everything_is_agreed_at_once():
    assert agreement.by_first(lambda: {"a": [1, None]}) == {"a": [1, None]}
    tree = {"a": np.array([-0.0, 1.0], np.float32)}
    assert agreement.arrays_by_first(lambda: tree, tree) is tree
    agreement.require_same("settings", {"seed": 1})
    np.testing.assert_array_equal(agreement.gathered(jax.numpy.arange(3)), np.arange(3))
