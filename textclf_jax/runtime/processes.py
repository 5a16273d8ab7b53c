"""The processes that carry a run together: how they find each other, and which one of them writes.

JAX connects them, and a cluster it knows tells it all. What each of them computes is the same program on the same
arrays, of which each has its devices' part; files and lines are the first one's alone.
"""

import errno
import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from typing import Any

import jax

from textclf_jax.errors import UserError

# How long a process may give no sign before the others end. Death itself is seen at once by those that wait for it.
SILENCE_SECONDS = 30
CONNECT_SECONDS = 300
FLAGS = ("--coordinator", "--num-processes", "--process-id")

# how errors of XLA and its collectives begin
OF_XLA = r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): "

OPEN_MPI_SIZE = "OMPI_COMM_WORLD_SIZE"
# Of each cluster that JAX knows: the variables that say it has started this process, and the one with their number.
CLUSTERS = {
    "SLURM": (("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"), "SLURM_NTASKS"),
    "Open MPI": (("OMPI_MCA_orte_hnp_uri",), OPEN_MPI_SIZE),
}
KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")


class CommonError(UserError):
    """An error that all processes of a run have, at the same place."""


@dataclass(frozen=True)
class Launch:
    """What a command was told of the processes of its run; all None where it was told nothing.

    Attributes:
      coordinator: HOST:PORT, where the first one is to listen.
      num_processes: how many there are.
      process_id: which one this is, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


UNTOLD = Launch()


def join(launch: Launch) -> bool:
    """Connects this process with the others of its run; to be called before JAX knows its devices.

    Args:
      launch: what the command was told. Where that is nothing, SLURM, Open MPI and Kubernetes are asked.

    Returns:
      Whether there are others.

    Raises:
      UserError: what was told is not enough, or the others cannot be reached.
    """
    arguments = _told(launch) if launch != UNTOLD else _found()
    if arguments is None:
        return False
    if launch.process_id == 0:
        _require_free_port(str(launch.coordinator))
    # its handler of SIGTERM would take the place of ours
    jax.config.update("jax_enable_preemption_service", False)
    where = f", which is to be at {launch.coordinator}" if launch.coordinator else ""
    late = _apart(f"within {CONNECT_SECONDS} seconds not all of them have come to process 0{where}")
    try:
        with _ended_in_time(CONNECT_SECONDS, late):
            jax.distributed.initialize(
                **arguments,
                initialization_timeout=2 * CONNECT_SECONDS,
                heartbeat_timeout_seconds=SILENCE_SECONDS,
                shutdown_timeout_seconds=SILENCE_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        raise UserError(_apart(str(error).partition("\n")[0])) from error
    return True


def _apart(why: str) -> str:
    return (
        f"the processes of this run do not find each other: {why}. Start each of them with {', '.join(FLAGS)}; with "
        f"{FLAGS[1]} 1 a process runs alone."
    )


def _require_free_port(coordinator: str) -> None:
    """Raises UserError where process 0 cannot listen on its port: JAX would crash, or share it with another run."""
    port = int(coordinator.rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if both else socket.AF_INET
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            return  # JAX tries more than one kind of address
        raise UserError(
            f"--coordinator {coordinator}: this host does not give port {port} ({os.strerror(error.errno)}). Choose "
            "another one, the same for all processes."
        ) from error


@contextmanager
def _ended_in_time(seconds: float, message: str) -> Iterator[None]:
    """Ends the process with a message where it has not left after so many seconds, and on Ctrl-C at once.

    JAX connects in one call, during which Python handles no signal, and where nobody answers JAX aborts the process.
    """

    def end() -> None:
        print(message, file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    handled = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL) if handled else None
    try:
        yield
    finally:
        if handled:
            signal.signal(signal.SIGINT, previous)
        timer.cancel()


def _told(launch: Launch) -> dict[str, Any] | None:
    """The arguments of `jax.distributed.initialize` by flags; None for a process that is to run alone."""
    values = dict(zip(FLAGS, astuple(launch), strict=True))
    if launch.num_processes == 1:
        return None
    if launch.num_processes is not None and launch.num_processes < 1:
        raise UserError(f"--num-processes {launch.num_processes}: there is one process at least.")
    if lacking := [flag for flag, value in values.items() if value is None]:
        raise UserError(f"{', '.join(lacking)}: give these, too; each process of a run needs {', '.join(FLAGS)}.")
    host, _, port = str(launch.coordinator).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"--coordinator {launch.coordinator}: give HOST:PORT: of process 0, with a free port.")
    assert launch.num_processes is not None
    assert launch.process_id is not None
    if not 0 <= launch.process_id < launch.num_processes:
        raise UserError(
            f"--process-id {launch.process_id} of --num-processes {launch.num_processes}: they count from 0 to "
            f"{launch.num_processes - 1}."
        )
    return {
        "coordinator_address": launch.coordinator,
        "num_processes": launch.num_processes,
        "process_id": launch.process_id,
        "cluster_detection_method": "deactivate",
    }


def _found() -> dict[str, Any] | None:
    """No arguments where a cluster has started several processes, so that JAX asks it; None where it has not."""
    for names, size in CLUSTERS.values():
        if all(name in os.environ for name in names) and os.environ.get(size, "1") != "1":
            return {}
    if os.environ.get(OPEN_MPI_SIZE, "1") != "1":  # from version 5 on it does not tell JAX where the first one is
        raise UserError(
            f"Open MPI has started {os.environ[OPEN_MPI_SIZE]} processes, but does not say where the first one is. "
            f"Give each {', '.join(FLAGS)} $OMPI_COMM_WORLD_RANK; with {FLAGS[1]} 1 each runs alone."
        )
    if all(name in os.environ for name in KUBERNETES):
        if find_spec("kubernetes"):
            return {}
        print(
            "note: this pod is one of an indexed Job of Kubernetes. It runs alone; for all of them to carry one run, "
            f"install jax[k8s], or give {', '.join(FLAGS)}."
        )
    return None


def has_joined() -> bool:
    """Whether this process has joined others; JAX need not know its devices."""
    return jax.distributed.is_initialized()


def require_as_many_devices() -> None:
    """Raises CommonError where one has more devices than another: JAX cannot send between these."""
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        told = ", ".join(str(counts[index]) for index in sorted(counts))
        raise CommonError(
            f"the processes of this run have {told} devices. Each needs as many as the others; CUDA_VISIBLE_DEVICES "
            "chooses fewer GPUs."
        )


def is_first() -> bool:
    """Whether this is the process that writes, or the only one. JAX knows its devices afterwards."""
    return jax.process_index() == 0


def are_several() -> bool:
    """Whether a run has several processes. JAX knows its devices afterwards."""
    return jax.process_count() > 1


@contextmanager
def explained_loss() -> Iterator[None]:
    """Raises a UserError where another process of the run is gone."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # of gloo JAX makes either
        if not are_several() or not re.match(OF_XLA, str(error)):
            raise
        raise UserError(
            f"this process cannot go on: {str(error).partition(chr(10))[0]}. Another process of the run has probably "
            "ended, and what it printed says why; the same command goes on from the last checkpoint."
        ) from error
