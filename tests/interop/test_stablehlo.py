"""Exported programs give the model's logits without this project."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.interop import bert
from tests.interop.test_exporting import classifier, mlm
from textclf_jax.cli import main
from textclf_jax.errors import UserError
from textclf_jax.interop.stablehlo import export_stablehlo, lengths_up_to

pytest.importorskip("flatbuffers")

# what docs/how-to/exports.md shows
LOADER = """
import json
import sys
from pathlib import Path

import numpy as np
from jax import export

folder, ids, lengths = Path(sys.argv[1]), np.load(sys.argv[2]), np.load(sys.argv[3])
facts = json.loads((folder / "model.json").read_text())
weights = dict(np.load(folder / "weights.npz"))
length = next(length for length in facts["lengths"] if length >= ids.shape[1])
rows = np.zeros((facts["rows"], length), np.int32)
rows[: len(ids), : ids.shape[1]] = ids
sizes = np.ones(facts["rows"], np.int32)
sizes[: len(ids)] = lengths
program = export.deserialize((folder / f"program-{length}.stablehlo").read_bytes())
np.save(sys.argv[4], np.asarray(program.call(weights, rows, sizes))[: len(ids)])
assert "textclf_jax" not in sys.modules
"""


def their_logits(folder: Path) -> np.ndarray:
    """By a process that does not import this project."""
    np.save(folder / "ids.npy", bert.IDS)
    np.save(folder / "lengths.npy", bert.LENGTHS)
    paths = [str(folder / name) for name in ("out", "ids.npy", "lengths.npy", "logits.npy")]
    done = subprocess.run([sys.executable, "-c", LOADER, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "logits.npy")


@pytest.mark.parametrize("attention", ["mha", "favor"])
def test_a_classifier(tmp_path, attention):
    saved = classifier(tmp_path, architecture=tiny.architecture(attention={"kind": attention}))
    (note,) = export_stablehlo(saved, tmp_path / "out")
    assert "cpu, for batches of 8 rows" in note
    bert.check_same_logits(bert.our_logits(saved), their_logits(tmp_path))
    assert json.loads((tmp_path / "out/model.json").read_text())["labels"] == ["bad", "so so", "good"]


def test_a_masked_language_model(tmp_path):
    saved = mlm(tmp_path)
    export_stablehlo(saved, tmp_path / "out", rows=3)
    bert.check_same_logits(bert.our_logits(saved), their_logits(tmp_path)[:, : bert.IDS.shape[1]])


def test_lengths():
    assert lengths_up_to(16) == (16,)
    assert lengths_up_to(32) == (32,)
    assert lengths_up_to(200) == (32, 64, 128, 200)


def test_every_format_is_a_choice(tmp_path, capsys):
    for name in ("hf", "onnx", "stablehlo", "reference"):
        assert main(["export", "missing", "--format", name, "--out", str(tmp_path / "out")]) == 2
        assert "missing" in capsys.readouterr().err


def test_bad_arguments(tmp_path, capsys):
    with pytest.raises(UserError, match="--rows 0 must be at least 1"):
        export_stablehlo(mlm(tmp_path), tmp_path / "out", rows=0)
    assert main(["export", "x", "--format", "hf", "--out", str(tmp_path / "out"), "--rows", "2"]) == 2
    assert "--rows is for --format stablehlo" in capsys.readouterr().err
