"""`textclf predict` on a file: killed, and gone on with; memory that does not grow with the file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.faults.harness import REPOSITORY, SECONDS, end_of, process
from textclf_jax.cli import main

ROWS = 100
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("run"))


def write_rows(path: Path, count: int, extra: str = "") -> None:
    """Texts of all lengths, an empty one among each 10."""
    lines = (f'{i},"{" ".join(["word" + str(i % 50)] * (i % 10))}","{extra}\n{i}"\n' for i in range(count))
    path.write_text("id,text,extra\n" + "".join(lines), encoding="utf-8")


def test_killed_twice_it_goes_on_without_a_row_lost_or_twice(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_rows(Path("in.csv"), ROWS)
    arguments = ("predict", str(model), "--file", "in.csv", "--out")
    assert main([*arguments, "whole.csv"]) == 0
    told = capsys.readouterr().err
    assert f"warning: {ROWS // 10} of {ROWS} texts are empty" in told
    for fault in ("killed_predicting:2:0", "killed_predicting:1:0.5"):
        with process(tmp_path, *arguments, "out.csv", fault=fault) as child:
            code, said = end_of(child)
        assert code == -signal.SIGKILL, said
        assert not Path("out.csv").exists()
    assert main([*arguments, "out.csv"]) == 0
    goes_on = f"out.csv: goes on behind row 48 of {ROWS}\nout.csv"
    assert capsys.readouterr().err == told.replace("whole.csv", goes_on)
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_it_goes_on_with_the_same_texts_alone(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_rows(Path("in.csv"), ROWS)
    with process(
        tmp_path, "predict", model, "--file", "in.csv", "--out", "out.csv", fault="killed_predicting:1:0"
    ) as child:
        assert end_of(child)[0] == -signal.SIGKILL
    with Path("in.csv").open("a") as file:
        file.write("x,word1,y\n")
    arguments = ["predict", str(model), "--file", "in.csv", "--out", "out.csv"]
    assert main([*arguments, "--full-precision"]) == 2
    assert "something else: the texts, --full-precision" in capsys.readouterr().err
    assert main([*arguments, "--fresh"]) == 0
    assert f"out.csv: {ROWS + 1} predictions" in capsys.readouterr().err


def test_a_larger_file_takes_no_more_memory(model, tmp_path):
    """Ten times the rows, of 2 KB each: 40 MB in the file, and more than that as strings."""
    write_rows(tmp_path / "small.csv", 2000, "x" * 2000)
    write_rows(tmp_path / "large.csv", 20_000, "x" * 2000)
    code = f"""
import resource, sys
from textclf_jax.cli import main
from textclf_jax.evaluation import prediction
prediction.MOST_AT_ONCE = 256
peaks = []
for name in ("small", "large"):
    assert main(["predict", {str(model)!r}, "--file", name + ".csv", "--out", name + "-out.csv"]) == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
print(peaks[1] - peaks[0])
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "large-out.csv").stat().st_size > 38 * MEGABYTE
    assert int(done.stdout) < 10 * MEGABYTE, done.stdout
