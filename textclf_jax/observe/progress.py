"""What the person at the screen sees: a bar on a terminal, plain lines in a log file, tables at the end."""

import io
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, Any

from textclf_jax.observe.throughput import Speed

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_SECONDS, SPARSE_INTERVAL_SECONDS = 10.0, 60.0
DRAW_INTERVAL_SECONDS = 0.1
MIN_WIDTHS = {"description": 55, "learning_rate": 75, "tokens_per_second": 95, "elapsed": 110, "mfu": 125, "waste": 140}

# not by another sys.stdout, which would silence all threads of a program that trains in one of them
_is_silent = ContextVar("is_silent", default=False)
_log: ContextVar[IO[str] | None] = ContextVar("log", default=None)


@contextmanager
def silence() -> Iterator[None]:
    """In here nothing is written on standard output by this module, in this thread."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


@contextmanager
def logged(log: IO[str]) -> Iterator[None]:
    """In here, this module writes into a log, in this thread. Warnings are shown, too, and so is how far a training is.

    Args:
      log: a text file.
    """
    token = _log.set(log)
    try:
        yield
    finally:
        _log.reset(token)


def say(*lines: str) -> None:
    """Prints lines on standard output at once, without the empty ones."""
    log = _log.get()
    for line in filter(None, lines):
        if log is not None:
            print(line, file=log, flush=True)
        if not _is_silent.get() and (log is None or is_warning(line)):
            print(line, flush=True)


def say_warning(line: str) -> None:
    """Prints a line if it is a warning."""
    if is_warning(line):
        say(line)


def is_warning(line: str) -> bool:
    """Whether a line is to be seen where others are not."""
    return line.startswith("warning:")


class Progress:
    """Shows how far a training is; a context manager.

    On a terminal a bar with loss, learning rate, real tokens a second and the time left; elsewhere a line for the
    first update, then one each 10 s at most, and the last one. Where lines go into a log, notes do, and elsewhere than
    on a terminal there is a short line a minute.
    """

    def __init__(self, total_updates: int, *, start: int = 0, description: str, stream: IO[str] | None = None):
        """Prepares the display.

        Args:
          total_updates: where the run ends.
          start: the updates that were done before, when resuming.
          description: a word or two, e.g. "pretraining".
          stream: where to write; standard output by default.
        """
        self._console, self._log = _console(stream), _log.get()
        plain = _Lines if self._log is None else _SparseLines
        view = _Bar if _interactive(self._console) else plain
        self._view = view(self._console, total_updates, start, description)
        self._total = total_updates
        self._next_draw = -math.inf
        self._pending: tuple[int, float, float, Speed] | None = None

    def update(self, update: int, *, loss: float, learning_rate: float, speed: Speed) -> None:
        """Reports that `update` updates are done; draws only when enough time has passed. Loss in nats."""
        self._pending = (update, loss, learning_rate, speed)
        now = time.monotonic()
        self._view.clock.begin(update)
        if now >= self._next_draw or (update >= self._total and self._view.draws_ends):
            self._draw(now)

    def note(self, text: str) -> None:
        """Prints a line of its own, above the bar where there is one, or into the log."""
        if self._log is not None:
            print(text, file=self._log, flush=True)
            if not is_warning(text):
                return
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._console.file.flush()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time in here, such as that of compiling, does not count for the time left."""
        before = time.monotonic()
        try:
            yield
        finally:
            self._view.clock.skip(time.monotonic() - before)

    def _draw(self, now: float) -> None:
        if self._pending is not None:
            self._view.draw(*self._pending)
            self._pending = None
            self._next_draw = now + self._view.interval_seconds

    def __enter__(self) -> "Progress":
        self._view.open()
        if not self._view.draws_ends:
            self._next_draw = time.monotonic() + self._view.interval_seconds
        return self

    def __exit__(self, *_: object) -> None:
        if self._view.draws_ends:
            self._draw(time.monotonic())
        self._view.close()


class _Bar:
    """The rich progress bar; columns that do not fit the terminal are left out."""

    interval_seconds, draws_ends = DRAW_INTERVAL_SECONDS, True  # of the first and the last update, too

    def __init__(self, console: "Console", total: int, start: int, description: str):
        from rich import progress as rich_progress

        def fits(name: str) -> bool:
            return console.width >= MIN_WIDTHS[name]

        columns = [
            fits("description") and rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TextColumn("{task.fields[done]}", style="progress.download"),
            rich_progress.TextColumn("loss {task.fields[loss]}"),
            fits("learning_rate") and rich_progress.TextColumn("lr {task.fields[learning_rate]}", style="dim"),
            fits("tokens_per_second") and rich_progress.TextColumn("{task.fields[speed]} tok/s", style="dim"),
            fits("mfu") and rich_progress.TextColumn("MFU {task.fields[mfu]}", style="dim"),
            fits("waste") and rich_progress.TextColumn("padding {task.fields[waste]}", style="dim"),
            rich_progress.TextColumn("{task.fields[left]} left"),
            fits("elapsed") and rich_progress.TimeElapsedColumn(),
        ]
        self._progress = rich_progress.Progress(
            *[column for column in columns if column], console=console, refresh_per_second=4, expand=True
        )
        self.clock = Clock(total)
        fields: dict[str, Any] = dict.fromkeys(("loss", "learning_rate", "speed", "mfu", "waste", "left"), "-")
        self._task = self._progress.add_task(
            description, total=total, completed=start, done=f"{start}/{total}", **fields
        )

    def open(self) -> None:
        self._progress.start()

    def close(self) -> None:
        self._progress.stop()

    def draw(self, update: int, loss: float, learning_rate: float, speed: Speed) -> None:
        self._progress.update(
            self._task,
            completed=update,
            done=f"{update}/{self.clock.total}",
            loss=f"{loss:.4f}",
            learning_rate=f"{learning_rate:.2e}",
            speed=f"{speed.tokens_per_second:,.0f}",
            mfu="-" if speed.mfu is None else f"{speed.mfu:.0%}",
            waste=f"{speed.padding_waste:.0%}",
            left=self.clock.left(update),
        )


class _Lines:
    """One line of text each 10 s at most, for files and pipes."""

    interval_seconds, draws_ends = PLAIN_INTERVAL_SECONDS, True

    def __init__(self, console: "Console", total: int, start: int, description: str):
        self._console, self._description, self.clock = console, description, Clock(total)
        self._first = start + 1

    def open(self) -> None:
        self._print(f"{self._description}: updates {self._first} to {self.clock.total}")

    def close(self) -> None:
        pass

    def draw(self, update: int, loss: float, learning_rate: float, speed: Speed) -> None:
        total = self.clock.total
        mfu = "" if speed.mfu is None else f"MFU {speed.mfu:.0%}  "
        self._print(
            f"{self._description} {update:>{len(str(total))}}/{total}  loss {loss:.4f}  lr {learning_rate:.2e}  "
            f"{speed.tokens_per_second:,.0f} tokens/s  {mfu}padding {speed.padding_waste:.0%}  "
            f"{self.clock.left(update)} left"
        )

    def _print(self, text: str) -> None:
        print(text, file=self._console.file, flush=True)


class _SparseLines(_Lines):
    """One short line a minute, of a training that is one of many."""

    interval_seconds, draws_ends = SPARSE_INTERVAL_SECONDS, False

    def open(self) -> None:
        pass

    def draw(self, update: int, loss: float, learning_rate: float, speed: Speed) -> None:
        del learning_rate, speed
        self._print(f"  {update:,} of {self.clock.total:,} updates, loss {loss:.4f}, {self.clock.left(update)} left")


class Clock:
    """Estimates the time left from the updates, or rows, after the first seen, which may have waited to be compiled."""

    def __init__(self, total: int):
        self.total = total
        self._first: tuple[int, float] | None = None

    def skip(self, seconds: float) -> None:
        """Leaves out a time in which no update was under way."""
        if self._first is not None:
            update, start = self._first
            self._first = update, start + seconds

    def begin(self, update: int) -> None:
        """Takes an update for the first one, if none was seen."""
        if self._first is None:
            self._first = (update, time.monotonic())

    def left(self, update: int) -> str:
        """The time left as h:mm:ss or m:ss, "-:--" while unknown."""
        self.begin(update)
        assert self._first is not None
        now, (first_update, first_time) = time.monotonic(), self._first
        if update >= self.total:
            return "0:00"
        if update <= first_update:
            return "-:--"
        seconds = round((now - first_time) / (update - first_update) * (self.total - update))
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def print_table(
    title: str, rows: Sequence[Sequence[object]], columns: Sequence[str], *, stream: IO[str] | None = None
) -> None:
    """Prints a table: with rules and colours on a terminal, as aligned text elsewhere.

    Args:
      title: the heading.
      rows: cells of any kind; floats get four decimals, and columns of numbers are aligned to the right.
      columns: one heading a column.
      stream: where to write; standard output by default.
    """
    console = _console(_log.get() if stream is None else stream)
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    cells = [[_cell(value) for value in row] for row in rows]
    if _interactive(console):
        _rich_table(console, title, cells, columns, right)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [
        "  ".join(
            text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in (columns, ["-" * w for w in widths], *cells)
    ]
    print("\n".join([title, *lines]), file=console.file, flush=True)


def _rich_table(
    console: "Console", title: str, cells: list[list[str]], columns: Sequence[str], right: list[bool]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name, is_right in zip(columns, right, strict=True):
        drawn.add_column(Text(name), justify="right" if is_right else "left")
    for line in cells:
        drawn.add_row(*map(Text, line))
    console.print(drawn)


def _cell(value: object) -> str:
    if isinstance(value, float):
        tiny_or_huge = value != 0 and math.isfinite(value) and not 1e-3 <= abs(value) < 1e6
        return f"{value:.3e}" if tiny_or_huge else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _console(stream: IO[str] | None) -> "Console":
    from rich.console import Console

    if stream is None:
        stream = io.StringIO() if _is_silent.get() else sys.stdout
    return Console(file=stream)


def _interactive(console: "Console") -> bool:
    return console.is_terminal and not console.is_dumb_terminal
