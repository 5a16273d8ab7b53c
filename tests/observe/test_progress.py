"""The display: a bar on a terminal of any width, few plain lines elsewhere, next to no cost in between."""

import contextlib
import io
import re
import time

import pytest

from textclf_jax.observe import progress
from textclf_jax.observe.progress import Progress, print_table
from textclf_jax.observe.throughput import Speed


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; the test moves `clock[0]`, in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def report(display, update, loss=2.0):
    display.update(update, loss=loss, learning_rate=1e-4, speed=Speed(12345.6, 0.414, 0.07))


def frames(stream) -> list[str]:
    """The lines drawn, without colours and cursor movements."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_plain_lines_are_the_first_one_each_ten_seconds_and_the_last(clock):
    out = io.StringIO()
    with Progress(1000, description="pretraining", stream=out) as display:
        for update in range(1, 1001):
            report(display, update)
            clock[0] += 0.125
    lines = out.getvalue().splitlines()
    assert lines[0] == "pretraining: updates 1 to 1000"
    assert [int(line.split()[1].split("/")[0]) for line in lines[1:]] == [1, *range(81, 1000, 80), 1000]
    assert (
        lines[1] == "pretraining    1/1000  loss 2.0000  lr 1.00e-04  12,346 tokens/s  MFU 41%  padding 7%  -:-- left"
    )
    assert lines[2].endswith("1:55 left")
    assert lines[-1].endswith("0:00 left")


def test_the_last_update_before_an_interruption_is_shown(clock):
    out = io.StringIO()
    with contextlib.suppress(KeyboardInterrupt), Progress(10_000, start=5000, description="x", stream=out) as display:
        for update in (5001, 5002, 5003):
            report(display, update)
        raise KeyboardInterrupt
    lines = out.getvalue().splitlines()
    assert [re.split("  (?=loss)", line)[0] for line in lines] == [
        "x: updates 5001 to 10000",
        "x  5001/10000",
        "x  5003/10000",
    ]


def test_time_left_ignores_the_first_update_and_shows_hours(clock):
    out = io.StringIO()
    with Progress(1001, description="x", stream=out) as display:
        clock[0] += 500  # compiling
        report(display, 1)
        clock[0] += 10
        report(display, 2)
    assert out.getvalue().splitlines()[2].endswith("2:46:30 left")


@pytest.mark.parametrize("stream_kind", [io.StringIO, Terminal])
def test_time_left_does_not_count_compiling(terminal, clock, stream_kind):
    """Before the first update, and between later ones."""
    out = terminal if stream_kind is Terminal else io.StringIO()
    with Progress(101, description="x", stream=out) as display:
        with display.paused():
            clock[0] += 500
        report(display, 1)
        clock[0] += 10
        report(display, 2)
        with display.paused():
            clock[0] += 700
        clock[0] += 10
        report(display, 3)
        assert display._view.clock.left(3) == "16:20"
    assert "16:20 left" in out.getvalue()


def test_nan_is_shown_and_notes_stand_alone():
    out = io.StringIO()
    with Progress(2, description="x", stream=out) as display:
        report(display, 1, loss=float("nan"))
        display.note("eval: [loss] 1.5 " + "long " * 60)
        report(display, 2, loss=float("inf"))
    first, note, last = out.getvalue().splitlines()[1:]
    assert ("loss nan" in first, "loss inf" in last) == (True, True)
    assert note == "eval: [loss] 1.5 " + "long " * 60


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160])
def test_the_bar_fits_its_terminal(terminal, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    with Progress(123_456, start=100, description="pretraining", stream=terminal) as display:
        report(display, 101, loss=10.3712)
        display.note("evaluated")
        report(display, 123_456, loss=float("nan"))
    lines = frames(terminal)
    assert max(map(len, lines)) <= width
    assert "evaluated" in [line.strip() for line in lines]
    if width >= 60:
        assert "123456/123456" in lines[-1]
        assert "loss nan" in lines[-1]
        assert "0:00 left" in lines[-1]
    assert ("12,346 tok/s" in lines[-1]) == (width >= 100)


def test_no_color_is_respected(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress(2, description="x", stream=terminal) as display:
        report(display, 2)
    print_table("scores", [("f1", 0.5)], ("metric", "value"), stream=terminal)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[[0-9;]*38;", terminal.getvalue())


@pytest.mark.parametrize("stream_kind", [io.StringIO, Terminal])
def test_updates_are_cheap_and_rarely_drawn(terminal, monkeypatch, stream_kind):
    drawn, count = [], 20_000
    with Progress(10**9, description="x", stream=stream_kind()) as display:
        report(display, 1)
        draw = display._view.draw
        monkeypatch.setattr(display._view, "draw", lambda *args: (drawn.append(args), draw(*args)))
        start, start_cpu = time.perf_counter(), time.thread_time()
        for update in range(2, count):
            report(display, update)
        seconds, cpu_seconds = time.perf_counter() - start, time.thread_time() - start_cpu
    assert cpu_seconds / count < 500e-6
    assert len(drawn) <= 10 * seconds + 2


def test_standard_output_is_the_default(capsys):
    with Progress(1, description="finetuning") as display:
        report(display, 1)
    assert capsys.readouterr().out.startswith("finetuning: updates 1 to 1")


def test_a_plain_table_is_aligned():
    out = io.StringIO()
    rows = [("accuracy", 0.75, 12_000), ("a long [name]", 1e-5, 3)]
    print_table("Test scores", rows, ("metric", "value", "examples"), stream=out)
    assert out.getvalue().splitlines() == [
        "Test scores",
        "metric             value  examples",
        "-------------  ---------  --------",
        "accuracy          0.7500    12,000",
        "a long [name]  1.000e-05         3",
    ]


def test_a_table_without_rows_and_one_on_a_terminal(terminal):
    out = io.StringIO()
    print_table("none", [], ("a", "bc"), stream=out)
    assert out.getvalue() == "none\na  bc\n-  --\n"
    print_table("Scores", [("[f1]", float("nan"), 1.0)], ("metric", "value", "x"), stream=terminal)
    text = " ".join(frames(terminal))
    assert all(part in text for part in ("Scores", "metric", "[f1]", "nan", "1.0000"))


def test_a_log_gets_all_but_warnings_and_how_far_a_training_is(clock, capsys):
    """A line a minute, with the time left from the first update on; no line for first and last updates."""
    log = io.StringIO()
    with progress.logged(log):
        progress.say("a fact", "warning: a fault", "")
        print_table("facts", [("a", 1)], ("what", "value"))
        with Progress(1000, description="pretraining") as display:
            display.note("epoch 1")
            display.note("warning: odd")
            for update in range(1, 1001):
                report(display, update)
                clock[0] += 0.125
    progress.say("after it")
    table = ["facts", "what  value", "----  -----", "a         1"]
    assert log.getvalue().splitlines() == ["a fact", "warning: a fault", *table, "epoch 1", "warning: odd"]
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        *("warning: a fault", "warning: odd"),
        *("  481 of 1,000 updates, loss 2.0000, 1:05 left", "  961 of 1,000 updates, loss 2.0000, 0:05 left"),
        "after it",
    ]


def test_a_terminal_keeps_its_bar_beside_a_log(terminal, clock):
    log = io.StringIO()
    with progress.logged(log), Progress(10, description="pretraining", stream=terminal) as display:
        display.note("epoch 1")
        report(display, 10)
    assert log.getvalue() == "epoch 1\n"
    shown = " ".join(frames(terminal))
    assert "10/10" in shown
    assert "epoch" not in shown
