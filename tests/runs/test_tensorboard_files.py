"""Event files for TensorBoard: each point of the CSV files once, whatever a kill or a resumption did in between."""

import struct
import sys
from pathlib import Path

import pytest

from tests.runs.logs import EVAL, TRAIN, open_log, write_steps
from textclf_jax.extras import install_line
from textclf_jax.runs import tensorboard_files
from textclf_jax.runs.metrics_files import POSITION_COLUMNS, read_metrics

pytest.importorskip("tensorboardX")

Points = list[tuple[int, str, float]]


def points(run_dir: Path) -> Points:
    """Step, name and value of all points, read without the library that wrote them: see TFRecord and event.proto."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in (run_dir / "tensorboard").glob("*"):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 16 + length
        assert at == len(data)
    return sorted(found)


def of_csv(run_dir: Path) -> Points:
    rows = [row for name in (TRAIN, EVAL) for row in read_metrics(run_dir / name)]
    single = struct.Struct("f")  # what an event holds
    return sorted(
        (int(row["step"]), name, single.unpack(single.pack(value))[0])
        for row in rows
        for name, value in row.items()
        if name not in POSITION_COLUMNS
    )


@pytest.mark.parametrize("checkpoint", [0, 2, 6])
def test_a_resumed_run_has_each_point_once(tmp_path, checkpoint):
    with open_log(tmp_path / "unbroken", use_tensorboard=True) as log:
        write_steps(log, range(1, 10))
    broken = open_log(tmp_path / "broken", use_tensorboard=True)
    write_steps(broken, range(1, 8))  # killed: nothing is closed
    (path,) = (tmp_path / "broken/tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    with open_log(tmp_path / "broken", keep_until_step=checkpoint, use_tensorboard=True) as log:
        write_steps(log, range(checkpoint + 1, 10))
    assert points(tmp_path / "broken") == points(tmp_path / "unbroken") == of_csv(tmp_path / "broken")
    assert len(points(tmp_path / "broken")) == 9 * 2 + 5 + 3
    broken.close()


def test_it_may_be_asked_for_later(tmp_path):
    with open_log(tmp_path) as log:
        write_steps(log, range(1, 6))
    assert not (tmp_path / "tensorboard").exists()
    with open_log(tmp_path, keep_until_step=5, use_tensorboard=True) as log:
        write_steps(log, range(6, 8))
    assert points(tmp_path) == of_csv(tmp_path)


def test_a_fresh_run_removes_what_an_earlier_one_left(tmp_path):
    with open_log(tmp_path, use_tensorboard=True) as log:
        write_steps(log, range(1, 4))
    with open_log(tmp_path) as log:
        write_steps(log, range(1, 3))
    assert points(tmp_path) == []


def test_without_the_package_the_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with open_log(tmp_path, use_tensorboard=True) as log:
        write_steps(log, range(1, 4))
    assert len(read_metrics(tmp_path / TRAIN)) == 3
    told = f"warning: TensorBoard: tensorboardX is not installed: {install_line('tensorboard')}. The CSV files have"
    assert capsys.readouterr().err.startswith(told)
    assert not (tmp_path / "tensorboard").exists()


def test_a_file_that_cannot_be_written_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def fails(self, event):
        raise OSError(28, "No space left on device")

    with open_log(tmp_path, use_tensorboard=True) as log:
        write_steps(log, range(1, 3))
        (sink,) = log._sinks
        assert isinstance(sink, tensorboard_files.TensorBoardFile)
        monkeypatch.setattr(type(sink._writer), "write_event", fails)
        write_steps(log, range(3, 6))
    assert len(read_metrics(tmp_path / TRAIN)) == 5
    err = capsys.readouterr().err
    assert err.count("warning: TensorBoard: its file cannot be written: No space left on device") == 1
    monkeypatch.undo()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/tensorboard").touch()
    with open_log(tmp_path / "other", use_tensorboard=True) as log:
        write_steps(log, range(1, 3))
    assert len(read_metrics(tmp_path / "other" / TRAIN)) == 2
    assert "TensorBoard: its file cannot be written" in capsys.readouterr().err
