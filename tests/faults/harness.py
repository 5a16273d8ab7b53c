"""A project on disk, and the real commands on it: in this process, or as a process of its own that can be hurt."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from textclf_jax.cli import main
from textclf_jax.config.file import dump_config

REPOSITORY = Path(__file__).resolve().parent.parent.parent
VICTIM = Path(__file__).with_name("victim.py")
COMMANDS = {"pretraining": "pretrain", "finetuning": "finetune"}
TASKS = {"pretraining": "mlm", "finetuning": "cls"}
# after which a process counts as hanging, however busy the machine is
SECONDS = 900.0


class Project:
    """A folder with tiny data and experiments, which is the current one.

    Attributes:
      root: the folder.
    """

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]):
        self.root, self._capsys = root, capsys

    def run_dir(self, kind: str = "pretraining", name: str = "tiny") -> Path:
        return self.root / "experiments" / kind / name

    def add(self, kind: str = "pretraining", name: str = "tiny", /, **changes: Any) -> Path:
        """Writes the config of a tiny run and returns the run's folder."""
        build = {"pretraining": tiny.pretraining, "finetuning": tiny.finetuning}[kind]
        changes.setdefault("data", {"num_length_buckets": 1})
        folder = self.run_dir(kind, name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(dump_config(build(Path("data"), name, **changes)))
        return folder

    def change_data(self, change: Callable[..., Any], kind: str = "pretraining", split: str = "train") -> Path:
        """Replaces a data file by change(input_ids, attention_mask, labels) of 20 rows: what torch.save is to store."""
        import torch

        def tensors(thing: Any) -> Any:
            return tuple(map(tensors, thing)) if isinstance(thing, tuple) else torch.from_numpy(np.array(thing))

        path = self.root / "data" / TASKS[kind] / f"{split}.pt"
        torch.save(tensors(change(*tiny.rows(20))), path)
        return path

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """Runs `textclf` in this process; returns exit code, standard output and standard error."""
        self._capsys.readouterr()
        code = main(arguments)
        return code, *self._capsys.readouterr()

    def train(self, kind: str = "pretraining", *flags: str, name: str = "tiny") -> str:
        """Runs the command of a run to its end; returns what it said."""
        code, out, err = self.command(COMMANDS[kind], name, *flags)
        assert code == 0, out + err
        return out + err

    def refused(self, *words: str, kind: str = "pretraining", name: str = "tiny", flags: tuple[str, ...] = ()) -> str:
        """Checks that a run is refused: exit code 2, a message with these words, nothing compiled, nothing written."""
        return self.refused_command(COMMANDS[kind], name, *flags, words=words)

    def refused_command(self, *arguments: str, words: tuple[str, ...], traceback: bool = False) -> str:
        before = self.contents()
        code, out, err = self.command(*arguments)
        assert code == 2, out + err
        assert "compiling" not in out
        assert ("Traceback" in err) == traceback, err
        for word in words:
            assert word in err
        assert self.contents() == before
        return err

    def contents(self) -> dict[str, bytes | None]:
        """What the folder holds: the bytes of files by path, None for folders."""
        paths = sorted(self.root.rglob("*"))
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else None
            for path in paths
            if "__pycache__" not in path.parts
        }


@contextmanager
def process(
    root: Path,
    *arguments: str | Path,
    fault: str = "",
    before: Sequence[str] = (),
    package: Path = REPOSITORY,
    **options: Any,
) -> Iterator[subprocess.Popen[str]]:
    """A command as a process of its own, killed at the end at the latest.

    Args:
      root: its folder.
      arguments: of `textclf`.
      fault: what befalls it, one of those in victim.py, and numbers for it: name:1:2.
      before: a command that ends by running the one it is given.
      package: the folder that textclf_jax lies in.
      options: of subprocess.Popen.
    """
    start = [sys.executable, VICTIM, fault] if fault else [sys.executable, "-m", "textclf_jax"]
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*before, *start, *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_for(child: subprocess.Popen[str], words: str) -> str:
    """Reads what a process says up to a line with these words."""
    assert child.stdout is not None
    said = ""
    for line in child.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was never said:\n{said}")


def end_of(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for the end of a process; returns its exit code and what it said since."""
    said, _ = child.communicate(timeout=SECONDS)
    return child.returncode, said


def flipped_bits(raw: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies of some bytes, each with another single bit flipped."""
    for bit in random.Random(seed).sample(range(8 * len(raw)), count):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
