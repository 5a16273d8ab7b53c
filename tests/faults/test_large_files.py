"""Rows 4 and 15: memory does not follow the size of a data file, nor what it claims."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from textclf_jax.data.torch_files import write_tensors

MEASURED = """
import re, sys, time
from pathlib import Path
from textclf_jax.data.dataset import load_dataset
from textclf_jax.errors import UserError
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
def load(name):
    return load_dataset(Path(name), vocab_size=60, pad_id=1, max_length=512)
load("small.pt")
before, start = peak(), time.process_time()
try:
    load(sys.argv[1])
except UserError:
    assert sys.argv[1] == "wide.pt"
print(peak() - before, peak(), time.process_time() - start)
"""


def measured(folder: Path, name: str) -> list[float]:
    """Loads a file in a process of its own: growth and peak of its memory in MB, and seconds of CPU."""
    write_tensors(folder / "small.pt", np.zeros((3, 3), np.int64), np.zeros((3, 3), bool))
    done = subprocess.run([sys.executable, "-c", MEASURED, name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def test_fault_04_memory_stays_small(tmp_path):
    import torch

    torch.save((torch.zeros(1, dtype=torch.long).expand(10**9, 16), torch.zeros(2)), tmp_path / "wide.pt")
    assert measured(tmp_path, "wide.pt")[0] < 50


class WithHoles(io.FileIO):
    """A file whose zeros take no place on the disk."""

    def write(self, data) -> int:
        if np.frombuffer(data, np.uint8).any():
            return super().write(data)
        self.seek(len(data), os.SEEK_CUR)
        return len(data)


@pytest.mark.slow
def test_fault_15_ten_gigabytes_open_in_seconds(tmp_path):
    """Rows of the id 0, which is not that of PAD here: a sound file of 10 GB that is one large hole."""
    import torch

    shape = (2_180_000, 512)
    with WithHoles(tmp_path / "large.pt", "w") as out:
        torch.save((torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)), out)
    assert (tmp_path / "large.pt").stat().st_size > 10e9
    assert (tmp_path / "large.pt").stat().st_blocks < 1000
    _, peak, seconds = measured(tmp_path, "large.pt")
    assert peak < 1000
    assert seconds < 300


def test_fault_15_memory_does_not_follow_the_size(tmp_path):
    write_tensors(tmp_path / "long.pt", np.zeros((40_000, 512), np.int64), np.zeros((40_000, 512), bool))
    assert measured(tmp_path, "long.pt")[0] < 100
