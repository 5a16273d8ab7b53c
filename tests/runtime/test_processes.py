"""How a process finds the others of its run; that several carry one is tested in training/test_many_processes.py."""

import os
import signal
import socket
import sys
import threading
from importlib.util import find_spec
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from textclf_jax.cli.together import among_others
from textclf_jax.errors import UserError
from textclf_jax.runs.signals import Stopped
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


def test_a_port_that_is_taken_is_refused(asked):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"not give port {port} \(Address already in use\)\. Choose another one"):
            join(Launch(f"127.0.0.1:{port}", 2, 0))
        assert not asked
        assert join(Launch(f"127.0.0.1:{port}", 2, 1))  # which only goes there
    assert join(Launch(f"127.0.0.1:{port}", 2, 0))


def test_processes_that_wait_for_each_other_in_vain_end_with_a_message(asked, monkeypatch, capsys):
    ended, codes = threading.Event(), []
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: ended.wait(60))
    monkeypatch.setattr(processes, "CONNECT_SECONDS", 0.01)
    join(Launch("host:80", 2, 1))
    assert codes == [2]
    told = capsys.readouterr().err
    assert "within 0.01 seconds not all of them have come to process 0, which is to be at host:80. Start each" in told


def test_ctrl_c_ends_a_process_that_waits_for_others(asked, monkeypatch):
    handlers, before = [], signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: handlers.append(signal.getsignal(signal.SIGINT)))
    join(Launch("host:80", 2, 1))
    assert handlers == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGINT) is before


def test_processes_with_different_numbers_of_devices_are_refused(monkeypatch):
    processes.require_as_many_devices()
    devices = [SimpleNamespace(process_index=index) for index in (0, 1, 1)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    with pytest.raises(UserError, match=r"have 1, 2 devices\. Each needs as many as the others"):
        processes.require_as_many_devices()


@pytest.mark.parametrize(("stopped", "code"), [(KeyboardInterrupt(), 130), (Stopped(143), 143)])
def test_who_is_stopped_before_the_others_know_ends_alone(monkeypatch, capsys, stopped, code):
    def command():
        raise stopped

    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        among_others(command)
    assert ended.value.code == code
    assert capsys.readouterr().err == "process 0: interrupted\n"


@pytest.mark.parametrize(("error", "waits"), [(UserError("no"), False), (processes.CommonError("no"), True)])
def test_who_has_the_error_of_all_waits_for_them(monkeypatch, capsys, error, waits):
    def command():
        raise error

    def shut_down():
        done.append(True)
        raise RuntimeError("another one is gone")

    done = []
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(jax.distributed, "shutdown", shut_down)
    with pytest.raises(SystemExit) as ended:
        among_others(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "process 0: no\n"
    assert done == [True] * waits


@pytest.mark.parametrize("first", [True, False])
def test_an_error_of_the_first_process_is_that_of_all(monkeypatch, first):
    def work():
        raise UserError("finished\nand more")

    monkeypatch.setattr(agreement, "are_several", lambda: True)
    monkeypatch.setattr(agreement, "is_first", lambda: first)
    monkeypatch.setattr(agreement, "_from_first", lambda value: {"error": "finished\nand more", "value": None})
    with pytest.raises(processes.CommonError, match="^finished\nand" if first else "could not go on: finished$"):
        agreement.by_first(work)


def test_what_differs_between_processes_is_named(monkeypatch):
    facts = {"settings": {"seed": 1}, "data": "a"}
    mine = np.stack([agreement._digest(value) for value in facts.values()])
    other = np.stack([mine[0], agreement._digest("b")])
    monkeypatch.setattr(agreement, "are_several", lambda: True)
    gather = "textclf_jax.runtime.agreement.multihost_utils.process_allgather"
    monkeypatch.setattr(gather, lambda digests: np.stack([digests] * 3))
    agreement.require_same(lambda: facts)
    monkeypatch.setattr(gather, lambda digests: np.stack([digests, digests, other]))
    with pytest.raises(UserError, match=r"have not the same data: compare process 0 with 2\. Start all"):
        agreement.require_same(lambda: facts)


def test_a_program_that_makes_arrays_whole_is_compiled_once():
    first, second = (jax.make_mesh((1,), ("data",)) for _ in range(2))
    assert agreement._gathering(first) is agreement._gathering(second)


@pytest.mark.parametrize("first", [True, False])
def test_no_process_runs_ahead_while_arrays_are_gathered(monkeypatch, first):
    class OfSeveral:
        is_fully_addressable, is_fully_replicated = False, True

        def addressable_data(self, index):
            return np.arange(3) + index

    waited = []
    monkeypatch.setattr(agreement, "jax", SimpleNamespace(Array=OfSeveral, block_until_ready=waited.append))
    monkeypatch.setattr(agreement, "is_first", lambda: first)
    found = agreement.gathered(array := OfSeveral())
    if first:
        np.testing.assert_array_equal(found, np.arange(3))
    else:
        assert (found, waited) == (None, [array])


def test_alone_everything_is_agreed_at_once():
    assert agreement.by_first(lambda: {"a": [1, None]}) == {"a": [1, None]}
    assert agreement.made_by_first(lambda: (3, 4), len) == ((3, 4), 2)
    tree = {"a": np.array([-0.0, 1.0], np.float32)}
    assert agreement.arrays_by_first(lambda: tree, tree) is tree
    agreement.require_same(lambda: pytest.fail("nothing is compared"))
    np.testing.assert_array_equal(agreement.gathered(jax.numpy.arange(3)), np.arange(3))
