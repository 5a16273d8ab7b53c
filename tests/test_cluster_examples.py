"""The files in examples/cluster/: with the environment that each system makes, every process gets the right flags.

No system is here: programs that only note how they were called stand for `textclf`, `srun` and the like.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from jax._src.clusters.slurm_cluster import SlurmCluster

from tests.test_commands import wrong_commands, wrong_installs
from tests.test_dockerfile import instructions
from tests.test_docs import ROOT, broken_links
from textclf_jax.cli import make_parser

FOLDER = ROOT / "examples" / "cluster"
README = FOLDER / "README.md"
SLURM = FOLDER / "slurm.sh"
TRAINJOB = yaml.safe_load((FOLDER / "trainjob.yaml").read_text(encoding="utf-8"))
SKYPILOT = yaml.safe_load((FOLDER / "skypilot.yaml").read_text(encoding="utf-8"))
ADDRESSES = ["10.0.0.7", "10.0.0.3"]

# Notes its arguments and environment, and ends with the code that a variable of its name has
NOTE = """#!{python}
import json, os, sys
name = os.path.basename(sys.argv[0])
with open(os.environ["NOTES"], "a") as file:
    print(json.dumps([name, sys.argv[1:], dict(os.environ)]), file=file)
sys.exit(int(os.environ.get("CODE_OF_" + name, 0)))
"""

# A step: the tasks of each node, with the variables that SLURM gives them. Its code is the highest of theirs
SRUN = """#!{python}
import json, os, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("-"):
    command.pop(0)
nodes, tasks = int(os.environ["SLURM_NNODES"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
with open(os.environ["NOTES"], "a") as file:
    print(json.dumps(["srun", sys.argv[1:], dict(os.environ)]), file=file)
step = dict(os.environ, SLURM_STEP_NODELIST=f"gpu[01-{{nodes:02}}]", SLURM_NTASKS=str(nodes * tasks))
ranks = [dict(step, SLURM_PROCID=str(i), SLURM_LOCALID=str(i % tasks)) for i in range(nodes * tasks)]
sys.exit(max(subprocess.run(command, env=rank).returncode for rank in ranks))
"""

Call = tuple[str, list[str], dict[str, str]]


def write_program(path: Path, text: str = NOTE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable), encoding="utf-8")
    path.chmod(0o755)


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> tuple[int, list[Call]]:
    """Runs a command in a folder that is its home, too, with the programs in its `bin`.

    Returns:
      The exit code, and how programs were called meanwhile: name, arguments, environment.
    """
    notes = folder / "notes"
    notes.write_text("")
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "NOTES": str(notes)}
    done = subprocess.run(command, cwd=folder, env={**environment, **variables}, check=False, timeout=60)
    return done.returncode, [tuple(json.loads(line)) for line in notes.read_text().splitlines()]


def parsed(arguments: list[str]) -> Any:
    """The arguments as `textclf` reads them; fails where it would refuse them."""
    try:
        return make_parser()[0].parse_args(arguments)
    except SystemExit:
        pytest.fail(f"textclf does not know: {' '.join(arguments)}")


def check_flags(arguments: list[str], coordinator: str, num_processes: int, process_id: int) -> None:
    args = parsed(arguments)
    assert (args.command, args.name) == ("pretrain", "news")
    assert args.coordinator == coordinator
    assert (int(args.num_processes), int(args.process_id)) == (num_processes, process_id)


# SLURM


def sbatch_options() -> dict[str, str]:
    """What sbatch reads from the script: options end with the first line that is neither empty nor a comment."""
    options = {}
    for line in SLURM.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            option, _, value = line.removeprefix("#SBATCH --").partition("=")
            options[option] = value
    return options


def sbatch(folder: Path, *arguments: str, code: int = 0) -> tuple[int, list[Call]]:
    """Runs the script as on the first node of a job, whose tasks end with `code`."""
    write_program(folder / "bin" / "srun", SRUN)
    write_program(folder / "bin" / "scontrol")
    write_program(folder / ".venv" / "bin" / "textclf")
    (folder / ".venv" / "bin" / "activate").write_text('PATH="$PWD/.venv/bin:$PATH"\n')
    options = sbatch_options()
    variables = {
        "SLURM_JOB_ID": "4711",
        "SLURM_NNODES": options["nodes"],
        "SLURM_NTASKS_PER_NODE": options["ntasks-per-node"],
        "SLURM_CPUS_PER_TASK": options["cpus-per-task"],
        "CODE_OF_textclf": str(code),
    }
    return run(["bash", str(SLURM), *arguments], folder, variables)


def test_jax_finds_each_task_of_slurm_and_a_gpu_for_it(tmp_path, monkeypatch):
    code, calls = sbatch(tmp_path, "news", "--set", "training.mesh.fsdp=4")
    assert code == 0
    tasks = [environment for name, _, environment in calls if name == "textclf"]
    nodes, per_node = (int(sbatch_options()[option]) for option in ("nodes", "gpus-per-node"))
    found = []
    for environment in tasks:
        for name, value in environment.items():
            if name.startswith("SLURM_"):
                monkeypatch.setenv(name, value)
        assert SlurmCluster.is_env_present()
        assert SlurmCluster.get_coordinator_address(300, None) == f"gpu01:{61440 + 4711 % 4096}"
        assert SlurmCluster.get_process_count() == nodes * per_node
        found.append((SlurmCluster.get_process_id(), SlurmCluster.get_local_process_id()))
    assert found == [(i, i % per_node) for i in range(nodes * per_node)]


def test_what_slurm_starts_is_a_command_of_textclf(tmp_path):
    _, calls = sbatch(tmp_path, "news", "--set", "training.mesh.fsdp=4")
    args = parsed(next(arguments for name, arguments, _ in calls if name == "textclf"))
    assert (args.command, args.name, args.overrides) == ("pretrain", "news", ["training.mesh.fsdp=4"])


def test_each_task_of_slurm_sees_all_gpus_of_its_node_and_is_saved_before_the_time_is_up():
    options = sbatch_options()
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert not {"gpus-per-task", "gpu-bind"} & options.keys()
    # without B:, which would send it to the script alone
    assert int(re.fullmatch(r"INT@(\d+)", options["signal"])[1]) >= 60
    assert "requeue" in options
    assert options["open-mode"] == "append"


def test_the_step_ends_no_task_that_still_saves_and_gets_its_cores(tmp_path):
    _, calls = sbatch(tmp_path, "news")
    name, arguments, environment = calls[0]
    assert name == "srun"
    assert {"--kill-on-bad-exit=0", "--wait=0"} <= set(arguments)
    assert environment["SRUN_CPUS_PER_TASK"] == sbatch_options()["cpus-per-task"]


@pytest.mark.parametrize(("code", "is_put_back"), [(0, False), (130, True), (143, False), (1, False), (137, False)])
def test_a_job_of_slurm_is_put_back_only_after_the_time_limit(tmp_path, code, is_put_back):
    ended, calls = sbatch(tmp_path, "news", code=code)
    assert ended == code
    put_back = [arguments for name, arguments, _ in calls if name == "scontrol"]
    assert put_back == ([["requeue", "4711"]] if is_put_back else [])


# Kubernetes


def pod_patch() -> dict[str, Any]:
    """What the job adds to the pods of its runtime."""
    (patch,) = TRAINJOB["spec"]["runtimePatches"]
    assert re.fullmatch(r"[a-z0-9.-]+/[\w.-]+", patch["manager"])
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["name"] == "node"  # of the runtime jax-distributed, as its container
    return job["template"]["spec"]["template"]["spec"]


def pod_command(process_id: int) -> list[str]:
    """The command of a pod, as Kubernetes makes it from the variables that the runtime jax-distributed sets."""
    name, num_nodes = TRAINJOB["metadata"]["name"], TRAINJOB["spec"]["trainer"]["numNodes"]
    variables = {
        "JAX_NUM_PROCESSES": str(num_nodes),
        "JAX_PROCESS_ID": str(process_id),
        "JAX_COORDINATOR_ADDRESS": f"{name}-node-0-0.{name}:29500",
        "JAX_COORDINATOR_PORT": "29500",
    }
    command = TRAINJOB["spec"]["trainer"]["command"]
    return [re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], word) for word in command]


def test_the_train_job_has_what_trainer_needs():
    assert (TRAINJOB["apiVersion"], TRAINJOB["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", TRAINJOB["metadata"]["name"])
    spec = TRAINJOB["spec"]
    assert spec["runtimeRef"] == {"kind": "ClusterTrainingRuntime", "name": "jax-distributed"}
    assert spec["trainer"]["numNodes"] > 1
    assert spec["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] >= 1
    assert all(isinstance(word, str) for word in spec["trainer"]["command"])


def test_the_train_job_fits_the_image():
    texts = dict(instructions())  # of instructions that are repeated, the last
    pod = pod_patch()
    (container,) = pod["containers"]
    assert container["name"] == "node"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    assert mounted["project"] == texts["WORKDIR"]
    assert f"--uid {pod['securityContext']['fsGroup']}" in texts["RUN"]
    # the command takes the place of the image's own entry point
    assert TRAINJOB["spec"]["trainer"]["command"][:1] == json.loads(texts["ENTRYPOINT"])


@pytest.mark.parametrize("process_id", [0, 1])
def test_each_pod_gets_its_flags(tmp_path, process_id):
    write_program(tmp_path / "bin" / "textclf")
    code, calls = run(["env", *pod_command(process_id)], tmp_path, {})
    assert code == 0
    ((_, arguments, _),) = calls
    assert arguments == [
        "pretrain",
        "news",
        "--coordinator=textclf-news-node-0-0.textclf-news:29500",
        "--num-processes=2",
        f"--process-id={process_id}",
    ]
    check_flags(arguments, "textclf-news-node-0-0.textclf-news:29500", 2, process_id)


# SkyPilot


def run_on_machine(folder: Path, rank: int, code: int = 0) -> tuple[int, list[Call]]:
    """Runs the section `run` of SkyPilot's file on one of two machines."""
    write_program(folder / "textclf" / "bin" / "textclf")
    (folder / "project").mkdir(exist_ok=True)
    variables = {
        **SKYPILOT["envs"],
        "SKYPILOT_NODE_IPS": "\n".join(ADDRESSES),
        "SKYPILOT_NUM_NODES": str(len(ADDRESSES)),
        "SKYPILOT_NODE_RANK": str(rank),
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        "CODE_OF_textclf": str(code),
    }
    return run(["bash", "-c", SKYPILOT["run"]], folder, variables)


def test_the_file_of_skypilot_has_what_it_needs():
    assert SKYPILOT["num_nodes"] == len(ADDRESSES)
    assert re.fullmatch(r"\w+:\d+", SKYPILOT["resources"]["accelerators"])
    ((place, storage),) = SKYPILOT["file_mounts"].items()
    assert f"cd {place}\n" in SKYPILOT["run"]
    assert storage["mode"] == "MOUNT_CACHED"
    assert 137 not in SKYPILOT["resources"]["job_recovery"]["recover_on_exit_codes"]  # SkyPilot's own
    # every machine is a process, and what is open to the internet would be listed here
    assert "ports" not in SKYPILOT["resources"]


@pytest.mark.parametrize("rank", [0, 1])
def test_each_machine_gets_its_flags(tmp_path, rank):
    code, calls = run_on_machine(tmp_path, rank)
    assert code == 0
    ((_, arguments, environment),) = calls
    assert environment["PWD"] == str(tmp_path / "project")
    assert arguments == [
        *("pretrain", "news", "--coordinator", f"{ADDRESSES[0]}:8476"),
        *("--num-processes", "2", "--process-id", str(rank)),
    ]
    check_flags(arguments, f"{ADDRESSES[0]}:8476", 2, rank)


def test_skypilot_sees_how_the_run_ended(tmp_path):
    """What it appends to the section looks at the code of the last command."""
    assert run_on_machine(tmp_path, 0, code=143)[0] == 143
    assert "exec " not in SKYPILOT["run"]


def test_the_set_up_for_skypilot_installs_the_wheel_with_what_its_gpus_need(tmp_path):
    write_program(tmp_path / "bin" / "uv")
    write_program(tmp_path / "textclf" / "bin" / "pip")
    wheel = tmp_path / "project" / "textclf_jax-1.2.3-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    code, ((uv, making, _), (pip, installing, _)) = run(["bash", "-c", SKYPILOT["setup"]], tmp_path, {})
    assert (code, uv, pip) == (0, "uv", "pip")
    assert "--seed" in making  # brings the environment's pip
    assert making[-1] == str(tmp_path / "textclf")
    assert installing == ["install", "--constraint", str(wheel.parent / "requirements.lock"), f"{wheel}[cuda12]"]
    assert wrong_installs(f"pip install '.[{installing[-1].partition('[')[2]}'") == []


# all of them


@pytest.mark.parametrize("text", [SLURM.read_text(), SKYPILOT["setup"], SKYPILOT["run"]], ids=["slurm", "setup", "run"])
def test_the_shell_understands_it(text):
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_files_name_commands_that_exist_and_say_how_they_are_started(file):
    text = file.read_text(encoding="utf-8")
    assert wrong_commands(text) == []
    assert wrong_installs(text) == []
    if file != README:
        (command,) = [line for line in text.splitlines() if f"examples/cluster/{file.name}" in line]
        assert f"\n{command.removeprefix('#').strip()}\n" in README.read_text(encoding="utf-8")


def test_links_of_the_page_lead_somewhere():
    assert broken_links(README) == []
