"""Fixtures shared by all tests."""

import atexit
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# "gpu": the tests that are marked so run, on the CUDA device; "cpu": they run on the CPU, to see that they can;
# otherwise all others run, on the CPU
GPU_TESTS = os.environ.get("TEXTCLF_GPU_TESTS", "")
ON_GPU = GPU_TESTS == "gpu"

# Before jax is imported, and for processes that tests start
os.environ["JAX_PLATFORMS"] = "cuda" if ON_GPU else "cpu"
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # one of two processes would have no memory left
# Programs of tests run a few times: machine code need not be polished (XLA's own passes all run), and what one test has
# compiled the next one takes from a cache of this session, which the processes of pytest-xdist share
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.mkdtemp(prefix="textclf-test-cache-")
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if not ON_GPU:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILATION}".strip()
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# how long an example takes depends on what else the machine does
settings.register_profile("any load", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")


def pytest_sessionstart() -> None:
    """Ends a session on a GPU where there is none."""
    if GPU_TESTS not in ("", "cpu", "gpu"):
        pytest.exit(f"TEXTCLF_GPU_TESTS is {GPU_TESTS!r}; it can be gpu or cpu", returncode=2)
    if not ON_GPU:
        return
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        pytest.exit(f"JAX finds no CUDA device ({error}). make test-gpu DEVICE=cpu runs the same tests without", 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests for a GPU, or all others. Files with slow tests come first: so two processes end together.

    Where pytest-xdist runs them, that takes --no-loadscope-reorder, too.
    """
    left_out = [item for item in items if (item.get_closest_marker("gpu") is not None) != bool(GPU_TESTS)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    others = set(items).difference(left_out)
    items[:] = sorted(filter(others.__contains__, items), key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def limit_measured_once() -> None:
    """How fast this machine multiplies is measured once, and not for each of hundreds of runs."""
    from textclf_jax.observe import limits

    limits.measured_limit = functools.cache(limits.measured_limit)


class Golden:
    """Recorded numbers of the reference: arrays and the manifest that describes them."""

    def __init__(self, path: Path):
        self.path = path
        manifest = json.loads((path / "manifest.json").read_text())
        self.manifest: list[dict[str, Any]] = manifest["entries"]

    def entries(self, family: str) -> list[dict[str, Any]]:
        """Manifest entries of one family, in file order."""
        return [entry for entry in self.manifest if entry["family"] == family]

    def load(self, entry: dict[str, Any] | str) -> dict[str, np.ndarray]:
        """The arrays of one `.npz` file by key."""
        name = entry if isinstance(entry, str) else entry["file"]
        with np.load(self.path / name, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}


def golden_folder() -> Path | None:
    """The folder of recorded numbers, or None on a machine that has none."""
    path = Path(os.environ.get("TEXTCLF_GOLDEN", ROOT.parent / "shared" / "golden"))
    return path if (path / "manifest.json").is_file() else None


@pytest.fixture(scope="session")
def golden() -> Golden:
    """The golden folder; skips the test where there is none."""
    path = golden_folder()
    if path is None:
        pytest.skip("no golden folder (set TEXTCLF_GOLDEN)")
    return Golden(path)


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    """A machine on which nobody has logged in to W&B."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
