"""Saving in the background, and silence around Orbax. What damage does is in tests/faults/test_storage.py."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import Checkpoints


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    yield checkpoints
    checkpoints.close()


def state(value: float) -> dict[str, np.ndarray]:
    return {name: np.full((8, 4), value, np.float32) for name in "abcdef"}


def saved_steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, *arguments: object) -> str:
    """What a process says that runs this code."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_save_has_copied_the_state_when_it_returns(checkpoints):
    may_write = threading.Event()
    tree = state(1.0)
    checkpoints.reserve(tree)
    checkpoints.save(1, tree, {}, before_save=lambda host: may_write.wait())
    for leaf in tree.values():
        leaf[:] = 2.0
    checkpoints.check()  # does not wait
    may_write.set()
    checkpoints.wait()
    restored = checkpoints.restore(tree, [])
    assert restored is not None
    np.testing.assert_array_equal(restored[0]["a"], state(1.0)["a"])


def test_writes_go_in_order_and_a_step_is_saved_once(checkpoints, tmp_path):
    seen = []
    for step in (1, 2, 2):
        checkpoints.save(step, state(step), {}, before_save=lambda host: seen.append(host["a"][0, 0].item()))
    checkpoints.wait()
    assert seen == [1.0, 2.0, 2.0]
    assert saved_steps(tmp_path / "checkpoints") == ["1", "2"]


def test_after_a_failure_each_call_raises_it_and_nothing_more_is_saved(checkpoints, tmp_path):
    def fail(host):
        raise UserError("the cable is out")

    checkpoints.save(1, state(1.0), {}, before_save=fail)
    for call in (checkpoints.wait, checkpoints.check, lambda: checkpoints.save(2, state(2.0), {}), checkpoints.check):
        with pytest.raises(UserError, match="the cable is out"):
            call()
    checkpoints.close()
    assert saved_steps(tmp_path / "checkpoints") == []


def test_what_a_failed_save_leaves_late_is_removed_too(checkpoints, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    late = folder / "1.orbax-checkpoint-tmp" / "state"

    def save(step, args):
        raise OSError("no space")

    monkeypatch.setattr(checkpoints._manager, "save", save)
    close = checkpoints._manager.close
    # a task of Orbax that ends when its manager is closed
    monkeypatch.setattr(checkpoints._manager, "close", lambda: (late.mkdir(parents=True, exist_ok=True), close()))
    checkpoints.save(1, state(1.0), {})
    with pytest.raises(UserError, match="no space"):
        checkpoints.wait()
    checkpoints.close()
    assert saved_steps(folder) == []


def test_closing_lets_the_running_save_end_and_raises_nothing(checkpoints, tmp_path):
    may_write = threading.Event()
    checkpoints.save(1, state(1.0), {}, before_save=lambda host: may_write.wait())
    threading.Timer(0.2, may_write.set).start()
    checkpoints.close()
    assert saved_steps(tmp_path / "checkpoints") == ["1"]


# --- silence --------------------------------------------------------------------------------------------------


def test_importing_changes_neither_loggers_nor_hook():
    code = """
import logging, sys
hook, loggers = sys.unraisablehook, [logging.getLogger(name) for name in ("absl", "asyncio")]
import absl.logging, orbax.checkpoint
before = [(logger.level, logger.filters[:], logger.disabled) for logger in loggers]
import textclf_jax.runs.checkpoint
assert sys.unraisablehook is hook
assert [(logger.level, logger.filters[:], logger.disabled) for logger in loggers] == before
"""
    assert python(code) == ""


def test_loggers_are_as_before_after_a_call(checkpoints, caplog):
    checkpoints.save(1, state(1.0), {})
    checkpoints.wait()
    assert caplog.records == []
    for name in ("absl", "asyncio"):
        logging.getLogger(name).warning("from %s", name)
    assert caplog.messages == ["from absl", "from asyncio"]


def test_a_damaged_checkpoint_prints_nothing_and_other_reports_are_passed_on(checkpoints, tmp_path):
    checkpoints.save(1, state(1.0), {})
    checkpoints.wait()
    for file in (tmp_path / "checkpoints" / "1" / "state").rglob("d/*"):
        file.write_bytes(bytes(file.stat().st_size))
    code = """
import sys, time
from pathlib import Path
import numpy as np
from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]), read_only=True)
try:
    checkpoints.restore({name: np.zeros((8, 4), np.float32) for name in "abcdef"}, [])
except UserError as error:
    print("no sound checkpoint is left" in str(error))
checkpoints.close()
time.sleep(0.2)  # late reports come from other threads
class Finalized:
    def __del__(self):
        raise ValueError("from __del__")
Finalized()
"""
    first, *others = python(code, tmp_path / "checkpoints").splitlines()
    assert first == "True"
    assert others[0].startswith("Exception ignored in")
    assert others[-1] == "ValueError: from __del__"
    assert sum("Error" in line for line in others) == 1
