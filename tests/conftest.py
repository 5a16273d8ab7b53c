"""Fixtures shared by all tests."""

import atexit
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

# Before jax is imported. Programs of tests run a few times: machine code need not be polished (XLA's own passes all
# run), and what one test has compiled the next one takes from a cache of this session
_CACHE = tempfile.mkdtemp(prefix="textclf-test-cache-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILATION}".strip()
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# how long an example takes depends on what else the machine does
settings.register_profile("any load", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")


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
