"""Rows 27 to 29 and 31: checkpoints that are damaged or cannot be written."""

import math
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests import tiny
from tests.faults.harness import Project, end_of, flipped_bits, process
from tests.trained import check_same_run, interrupted, saved_steps
from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import Checkpoints, load_model, save_model

EPOCH = 7  # steps


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory) -> Path:
    """The folder of the project's pretraining run, stopped in its second epoch: so there are two checkpoints."""
    root = tmp_path_factory.mktemp("begun")
    shutil.copytree(data, root / "data")
    config = tiny.pretraining(Path("data"), data={"num_length_buckets": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return root / interrupted(config, Path("run"), patch, at_update=10)


def stopped(project: Project, begun: Path) -> Path:
    """The project's pretraining run as if it had been stopped there."""
    return Path(shutil.copytree(begun, project.run_dir(), dirs_exist_ok=True))


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- 27: damaged checkpoints ----------------------------------------------------------------------------------


def test_fault_27_a_flipped_byte_leads_to_the_checkpoint_before(project, begun):
    shutil.copytree(project.run_dir(), project.run_dir("pretraining", "whole"))
    project.train(name="whole")
    folder = stopped(project, begun)
    newest = saved_steps(folder)[-1]
    for file in (folder / "checkpoints" / str(newest)).rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    said = project.train()
    assert f"warning: the checkpoint of step {newest} in {folder / 'checkpoints'} is damaged" in said
    assert f"resuming after step {EPOCH} of" in said
    check_same_run(project.run_dir("pretraining", "whole"), folder)


def small_state(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"w": rng.standard_normal((64, 32)).astype(np.float32), "step": np.int32(seed)}


@pytest.fixture
def saved(tmp_path) -> Path:
    """Checkpoints of the steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, small_state(step), {"step": step, "best_score": step / 3, "fingerprint": {"a": "b"}})
    checkpoints.wait()
    checkpoints.close()
    return tmp_path / "checkpoints"


def check_restored(folder: Path) -> int:
    """Restores; what comes back must be one of the two states, with its own position. Returns the step."""
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        restored = checkpoints.restore(small_state(0), notes := [])
    finally:
        checkpoints.close()
    assert restored is not None
    state, position = restored
    step = position["step"]
    assert position == {"step": step, "best_score": step / 3, "fingerprint": {"a": "b"}}
    jax.tree.map(np.testing.assert_array_equal, state, small_state(step))
    assert any("step 2" in note and "is damaged" in note for note in notes) == (step == 1)
    return step


def test_fault_27_flipped_bits_never_give_other_numbers(saved):
    """100 in all files of the newest checkpoint, by their size and at least one each."""
    files = files_of(saved / "2")
    total, steps = sum(file.stat().st_size for file in files), []
    for file in files:
        raw = file.read_bytes()
        count = min(8 * len(raw), math.ceil(100 * len(raw) / total))
        for flipped in flipped_bits(raw, count, seed=len(steps)):
            file.write_bytes(flipped)
            steps.append(check_restored(saved))
        file.write_bytes(raw)
    assert len(steps) >= 100
    assert check_restored(saved) == 2
    assert steps.count(1) > 50


def test_fault_27_a_missing_file_leads_to_the_checkpoint_before(saved, tmp_path):
    for file in files_of(saved / "2"):
        hidden = file.rename(tmp_path / "hidden")
        check_restored(saved)
        hidden.rename(file)
    shutil.rmtree(saved / "2" / "state")
    assert check_restored(saved) == 1
    shutil.rmtree(saved / "1" / "state")
    with pytest.raises(UserError, match="no sound checkpoint is left"):
        check_restored(saved)


def test_fault_27_a_damaged_model_is_refused(tmp_path):
    def save_vocabulary(vocab):
        (vocab / "vocab.txt").write_text("[PAD]\n[UNK]\n")

    folder = save_model(tmp_path, {"params": small_state(1)}, {"labels": ["a", "b"]}, save_vocabulary)
    expected, refused = load_model(folder), 0
    files = files_of(folder)
    for file in files:
        raw = file.read_bytes()
        for flipped in flipped_bits(raw, min(8 * len(raw), 6), seed=1):
            file.write_bytes(flipped)
            try:
                found = load_model(folder)
            except UserError as error:
                refused += 1
                assert "is damaged" in str(error) or "there is no saved model" in str(error)  # noqa: PT017
                continue
            assert found.metadata == expected.metadata
            jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
        file.write_bytes(raw)
    assert refused > len(files)


# --- 28: a full disk ------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, megabytes: int):
    """A file system of that size at `folder`, holding what was in it."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(filler: Path, *, but: int) -> None:
    """Fills a disk with one file, all but some bytes."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - but)


def check_failed_save(project: Project, code: int, said: str, folder: Path) -> None:
    """Nothing is torn, the path is named, and the run goes on from the checkpoint that it had."""
    assert code == 2, said
    assert "Traceback" not in said
    assert str(folder.relative_to(project.root)) in said
    assert "resume the run" in said or "try again" in said
    assert EPOCH in saved_steps(folder)
    assert not [path for path in folder.rglob("*") if "tmp" in path.name or "unfinished" in path.name]


def test_fault_28_a_full_disk(project, begun):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk; a limit on file sizes is tested besides")
    folder, filler = project.run_dir(), project.root / "experiments" / "filler"
    with small_disk(project.root / "experiments", 3):
        stopped(project, begun)
        fill(filler, but=100_000)
        with process(project.root, "pretrain", "tiny") as child:
            code, said = end_of(child)
        check_failed_save(project, code, said, folder)
        filler.unlink()
        assert "resuming after step" in project.train()


def test_fault_28_a_limit_on_file_sizes(project, begun):
    limited = ["sh", "-c", 'ulimit -f 60 && exec "$0" "$@"']  # blocks of 512 bytes
    folder = stopped(project, begun)
    steps = saved_steps(folder)
    with process(project.root, "pretrain", "tiny", before=limited) as child:
        code, said = end_of(child)
    check_failed_save(project, code, said, folder)
    assert saved_steps(folder) == steps
    assert f"resuming after step {steps[-1]}" in project.train()


# --- 29: a read-only folder -----------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "metrics"])
def test_fault_29_a_read_only_folder_is_refused_at_the_start(project, below):
    folder = project.run_dir() / below
    folder.mkdir(exist_ok=True)
    before = project.contents()
    if os.geteuid() == 0:  # whom no permission stops
        lock = f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}"'
        command = ["unshare", "-m", "sh", "-c", f'{lock} && exec "$0" "$@"']
        if subprocess.run([*command, "true"], capture_output=True).returncode:
            pytest.skip("root may write everywhere, and no read-only mount can be made")
    else:
        folder.chmod(0o555)
        command = []
    with process(project.root, "pretrain", "tiny", before=command) as child:
        code, said = end_of(child)
    folder.chmod(0o755)
    assert code == 2, said
    assert f"{folder.relative_to(project.root)}: files cannot be made in this folder" in said
    assert "Traceback" not in said
    assert "compiling" not in said
    assert project.contents() == before


# --- 31: the last save fails ----------------------------------------------------------------------------------


def test_fault_31_the_last_save_fails(project, monkeypatch):
    original = ocp.CheckpointManager.save

    def save(self, step, **arguments):
        if step == 2 * EPOCH:
            raise OSError("the cable is out")
        return original(self, step, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", save)
        code, out, err = project.command("pretrain", "tiny")
    assert code == 2
    assert f"{project.run_dir()}/checkpoints: the checkpoint of step 14 could not be saved (the cable is out)" in err
    assert "results" not in out
    assert not (project.run_dir() / "summary.json").exists()
    assert saved_steps(project.run_dir()) == [EPOCH]
    assert f"resuming after step {EPOCH}" in project.train()
