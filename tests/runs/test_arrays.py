"""The arrays of a model: read as Orbax reads them, and by Orbax where they cannot be read otherwise."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from textclf_jax.runs import arrays
from textclf_jax.runs.arrays import read_arrays, write_arrays


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    values = {"kernel": rng.standard_normal((3, 5), np.float32), "a.b": np.ones((2, 4), np.float32)}
    keys = rng.integers(0, 1 << 32, (4, 2), np.uint32)
    return {"params": {"dense": values, "scale": np.zeros(7, np.float32)}, "linear": {"keys": keys}}


@pytest.mark.parametrize("directly", [True, False])
def test_arrays_come_back(tmp_path, tree, monkeypatch, directly):
    write_arrays(tmp_path / "variables", tree)
    other = "_read_by_orbax" if directly else "_read_directly"

    def fail(*_):
        raise ValueError(other)

    monkeypatch.setattr(arrays, other, fail)
    found = read_arrays(tmp_path / "variables")
    jax.tree.map(np.testing.assert_array_equal, found, tree)
    assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, tree)


def test_what_is_missing_is_no_array_of_zeros(tmp_path, tree):
    write_arrays(tmp_path / "variables", tree)
    for path in (tmp_path / "variables").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.unlink()
    with pytest.raises(Exception, match=r"."):
        read_arrays(tmp_path / "variables")


def test_a_model_is_loaded_without_orbax():
    """Whose import takes a third of a second, of the two until the first answer."""
    code = "import sys, textclf_jax.evaluation.prediction; print('orbax.checkpoint' in sys.modules)"
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
