"""What is said while the rows of a file are predicted."""

import io
import sys

import pytest

from textclf_jax.observe import progress, row_progress
from textclf_jax.observe.row_progress import RowProgress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(row_progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_speed_and_time_left_are_those_of_this_process(clock, capsys):
    shown = RowProgress(10_000, start=2000)
    for rows in (3000, 4000, 10_000):
        clock[0] += 10
        shown.update(rows)
    shown.close()
    assert capsys.readouterr().err.splitlines() == [
        "3,000 of 10,000 rows  100 rows/s  -:-- left",
        "4,000 of 10,000 rows  100 rows/s  1:00 left",
    ]


def test_nothing_is_said_of_what_is_done_at_once(clock, capsys):
    shown = RowProgress(100)
    clock[0] += 5
    shown.update(50)
    clock[0] += 60
    shown.update(100)
    shown.close()
    assert capsys.readouterr().err == ""


def test_a_terminal_has_one_line(clock, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = RowProgress(100)
    for rows in (10, 20):
        clock[0] += 1
        shown.update(rows)
    shown.close()
    assert terminal.getvalue().count("\r") == 2
    assert terminal.getvalue().count("\n") == 1
