"""Profiling of a run: a `jax.profiler` trace of a few warm steps, and what it says in ten lines."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from textclf_jax.observe.progress import print_table
from textclf_jax.observe.trace import Trace, read_trace
from textclf_jax.runtime.programs import Compiled, Programs

PROFILE_FOLDER = "profile"
# the first steps find nothing prefetched and no memory allocated
WARM_UP_STEPS = 5
SHOWN_SCOPES = 10

RunStep = Callable[[Compiled, Any, Any, int], tuple[Any, Any]]
Note = Callable[[str], None]


def run_step(program: Compiled, state: Any, batch: Any, step: int) -> tuple[Any, Any]:
    """Runs a compiled training step: the new state, and the step's figures."""
    del step
    return program(state, batch)


@contextmanager
def profiled(steps: int, folder: Path, programs: Programs, note: Note) -> Iterator[RunStep]:
    """Gives the function that runs a step, and traces some of them.

    Args:
      steps: how many to trace, after `WARM_UP_STEPS` others; 0 traces none.
      folder: where the trace is written; earlier traces stay in it.
      programs: the compiled training steps, whose HLO says which scope an operation belongs to.
      note: prints a line or more.

    Yields:
      A function such as `run_step`.
    """
    if not steps:
        yield run_step
        return
    profiler = Profiler(steps, folder, programs, note)
    try:
        yield profiler.run_step
    finally:
        profiler.finish()


class Profiler:
    """Traces steps number WARM_UP_STEPS + 1 to WARM_UP_STEPS + `steps` of this process, and reports."""

    def __init__(self, steps: int, folder: Path, programs: Programs, note: Note):
        self._first, self._end = WARM_UP_STEPS, WARM_UP_STEPS + steps
        self._folder, self._programs, self._note = folder, programs, note
        self._count = 0

    @property
    def _tracing(self) -> bool:
        return self._first < self._count < self._end

    def run_step(self, program: Compiled, state: Any, batch: Any, step: int) -> tuple[Any, Any]:
        """Runs a step under an annotation with its number, and starts or ends the trace where it is due."""
        if self._count == self._first:
            jax.block_until_ready(state)
            self._start()
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            state, figures = run_step(program, state, batch, step)
        self._count += 1
        if self._count == self._end:
            jax.block_until_ready(state)
            self._stop(self._end - self._first)
        return state, figures

    def finish(self) -> None:
        """Ends the trace of a run that ends before it is complete."""
        if self._tracing:
            self._stop(self._count - self._first)
        elif self._count <= self._first:
            self._note(f"no profile: the run ended within the {WARM_UP_STEPS} steps of warm-up")

    def _start(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of a Python function would slow down the host, which is measured
        jax.profiler.start_trace(self._folder, profiler_options=options)

    def _stop(self, steps: int) -> None:
        jax.profiler.stop_trace()
        path = max(self._folder.rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
        self._note(trace_report(read_trace(path, self._programs.compiled.values()), steps, path))


def trace_report(trace: Trace, steps: int, path: Path) -> str:
    """The ten costliest scopes, the time the device waited, and how to see more."""
    total = sum(trace.seconds.values())
    ranked = sorted(trace.seconds.items(), key=lambda item: -item[1])[:SHOWN_SCOPES]
    rows = [
        (scope, direction, f"{1e3 * seconds / steps:.2f}", f"{seconds / total:.1%}")
        for (scope, direction), seconds in ranked
    ]
    text = io.StringIO()
    title = f"profile of {steps} steps: the costliest scopes"
    print_table(title, rows, ("scope", "pass", "ms a step", "share"), stream=text)
    return (
        f"{text.getvalue()}the device waited for the host {trace.waiting:.1%} of the time\n"
        f"to see more: pip install xprof && xprof --logdir {path.parents[3]}\n"
        f"or open {path.name.removesuffix('.xplane.pb')}.trace.json.gz in {path.parent} at https://ui.perfetto.dev"
    )
