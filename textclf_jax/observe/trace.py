"""Reads a trace: how much of the device's time each scope of the model took.

XLA's events carry the name of an HLO operation and of its module. The compiled program's text says which path of
Flax modules and named scopes each operation comes from.
"""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?([\w.\-]+) = ")
OP_NAME = re.compile(r'op_name="([^"]*)"')
CALLED = re.compile(r"(?:calls|to_apply|body)=%?([\w.\-]+)")
MODULE = re.compile(r"^HloModule ([\w.\-]+)")
WRAPPED_SCOPE = re.compile(r"(?:transpose\()?jvp\(([\w.]+)\)+")
LOOPS = ("while", "cond", "body", "closed_call")
# the last one is jax 0.11's name for calls, which can stand anywhere in a path
IGNORED = (*LOOPS, "encoder", "setup", "checkpoint", "rematted_computation", "eval_jaxpr")
OTHER = "not attributed"

# (scope, "forward", "backward" or "")
Place = tuple[str, str]


class Trace(NamedTuple):
    """What a trace says.

    Attributes:
      seconds: of the device by place, summed over steps and threads; nested operations count once.
      waiting: share of the time from the first operation to the last in which none ran, in [0, 1].
    """

    seconds: dict[Place, float]
    waiting: float


class Operation(NamedTuple):
    """One execution of an HLO operation; times in ns."""

    module: str
    name: str
    start: float
    end: float


def read_trace(path: Path, programs: Iterable[jax.stages.Compiled]) -> Trace:
    """Reads the operations of compiled programs from a trace.

    Args:
      path: an `.xplane.pb` file.
      programs: compiled programs; operations of others are left out of `seconds`, but the device is busy with them.
    """
    texts = [program.as_text() or "" for program in programs]
    places = {match[1]: places_of(text) for text in texts if (match := MODULE.match(text))}
    seconds: dict[Place, float] = defaultdict(float)
    with warnings.catch_warnings():
        # Python 3.12 warns of the types that jaxlib makes when events are first read
        warnings.simplefilter("ignore", DeprecationWarning)
        threads = list(operations_by_thread(jax.profiler.ProfileData.from_file(str(path))))
    for operation, own in chain.from_iterable(map(own_times, threads)):
        if operation.module in places:
            seconds[places[operation.module].get(operation.name, (OTHER, ""))] += own * 1e-9
    return Trace(dict(seconds), waiting_share(chain.from_iterable(threads)))


def operations_by_thread(data: Any) -> Iterator[list[Operation]]:
    """The operations of each line of a trace: a thread on CPUs, a stream on GPUs."""
    for line in chain.from_iterable(plane.lines for plane in data.planes):
        found = []
        for event in line.events:
            stats = dict(event.stats)
            if "hlo_op" in stats and event.duration_ns > 0:
                end = event.start_ns + event.duration_ns
                found.append(Operation(str(stats.get("hlo_module")), str(stats["hlo_op"]), event.start_ns, end))
        yield found


def own_times(thread: Iterable[Operation]) -> Iterator[tuple[Operation, float]]:
    """Each operation of a thread with its ns, less those of the operations inside it (a loop contains its body)."""
    ordered = sorted(thread, key=lambda operation: (operation.start, -operation.end))
    own = [operation.end - operation.start for operation in ordered]
    around: list[int] = []  # indices of the operations that contain this one, the innermost last
    for i, operation in enumerate(ordered):
        while around and ordered[around[-1]].end <= operation.start:
            around.pop()
        if around:
            own[around[-1]] -= operation.end - operation.start
        around.append(i)
    return ((operation, max(time, 0.0)) for operation, time in zip(ordered, own, strict=True))


def waiting_share(operations: Iterable[Operation]) -> float:
    """The share of the time between first and last operation in which none runs."""
    ordered = sorted(operations, key=lambda operation: operation.start)
    if not ordered:
        return 0.0
    busy, reached = 0.0, ordered[0].start
    for operation in ordered:
        busy += max(operation.end - max(operation.start, reached), 0.0)
        reached = max(reached, operation.end)
    return 1.0 - busy / max(reached - ordered[0].start, 1e-9)


def places_of(text: str) -> dict[str, Place]:
    """The place of each instruction of an HLO text that has one.

    An instruction without a place of its own takes the commonest one in the computation that it calls.
    """
    places: dict[str, Place] = {}
    within: dict[str, Counter[Place]] = defaultdict(Counter)
    calls: dict[str, str] = {}
    computation = ""
    for line in text.splitlines():
        if instruction := INSTRUCTION.match(line):
            if (op_name := OP_NAME.search(line)) and (place := place_of(op_name[1])):
                places[instruction[1]] = place
                within[computation][place] += 1
            elif called := CALLED.search(line):
                calls[instruction[1]] = called[1]
        elif start := COMPUTATION.match(line):
            computation = start[1]
    inherited = {name: within[called].most_common(1)[0][0] for name, called in calls.items() if within[called]}
    return places | inherited


def place_of(op_name: str) -> Place | None:
    """The place that a path such as jit(f)/transpose(jvp(Model.losses))/encoder/layers_0/mlp/up/dot_general names.

    All layers count as one. A method of a module counts only where the path starts (Model.decode). The last part,
    the operation, and the names that JAX's own functions add inside a scope do not count. The model's method `losses`
    is a scope, "loss", only for what it computes itself. None for a path without scopes.
    """
    direction = "backward" if "transpose(" in op_name else "forward" if "jvp(" in op_name else ""
    parts: list[str] = []
    for part in op_name.split("/")[:-1]:
        if parts and (part.startswith("jit(") or part in LOOPS):
            break
        if wrapped := WRAPPED_SCOPE.fullmatch(part):
            part = wrapped[1]
            if part[0].isupper():
                parts = []  # the path of a recomputed operation contains the whole path a second time
        owner, _, method = part.rpartition(".")
        name = method if owner[:1].isupper() else part
        if name.isidentifier() and name[0].islower() and name not in IGNORED:
            parts.append(re.sub(r"_\d+$", "", name))
    if parts[:1] == ["losses"]:
        parts = parts[1:] or ["loss"]
    return ("/".join(parts[:3]), direction) if parts else None
