"""A process in which JAX divides the CPU into eight devices: `python -m tests.devices` does what tests ask of it."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.worker import Worker, serve

COUNT = 8
# devices wait for each other, on a busy machine for long
PATIENCE = " ".join(
    f"--xla_cpu_collective_call_{what}_timeout_seconds={seconds}"
    for what, seconds in {"warn_stuck": 600, "terminate": 3600}.items()
)


def process(folder: Path) -> Worker:
    """The process; a context manager. What it prints goes to `folder / "log"`."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={COUNT} {PATIENCE}"
    return Worker("tests.devices", folder / "log", environment={"XLA_FLAGS": flags.strip()})


@contextlib.contextmanager
def first_devices(count: int) -> Iterator[None]:
    """As if there were so many devices."""
    import jax

    devices = jax.devices()
    assert len(devices) == COUNT
    with mock.patch.object(jax, "devices", return_value=devices[:count]):
        yield


@contextlib.contextmanager
def variant(name: str | None) -> Iterator[None]:
    """As on a machine where other kernels are chosen: "gpu", or "blocks" for scores that are too many to be held."""
    import jax

    from textclf_jax.kernels import attention

    if name == "gpu":
        with mock.patch.object(jax, "default_backend", return_value="gpu"):
            yield
    elif name == "blocks":
        few = attention.Blocks(scores=256, single_heads=True, from_scores=0)
        with mock.patch.dict(attention.BLOCKS, {"cpu": few}):
            yield
    else:
        assert name is None
        yield


def configured(build: str, data: str, changes: dict[str, Any], mesh: list[int]) -> Any:
    """A run of `tiny` on data x fsdp devices, in float32."""
    from tests import tiny

    keys = {"use_amp": False, "batch_size": 12, "mesh": {"data": mesh[0], "fsdp": mesh[1]}}
    return getattr(tiny, build)(Path(data), **changes | {"training": keys | changes.get("training", {})})


def train(
    build: str, data: str, changes: dict[str, Any], mesh: list[int], steps: int, kernels: str | None = None
) -> dict[str, Any]:
    """Takes steps, and evaluates; answers the losses, and how much of the state each device has."""
    import functools

    import jax

    from textclf_jax.evaluation.evaluator import Evaluator
    from textclf_jax.runtime.programs import Programs
    from textclf_jax.training.batches import training_batches
    from textclf_jax.training.loop import on_device
    from textclf_jax.training.plan import make_plan

    with first_devices(mesh[0] * mesh[1]), variant(kernels):
        plan = make_plan(configured(build, data, changes, mesh), Path("/"))
        programs = Programs("training", plan.training_program)
        state, losses, rows = plan.initial_state(plan.draw_variables()), [], []
        put = functools.partial(on_device, placement=plan.placement)
        for batch in map(put, training_batches(plan.task, plan.train, plan.batching, plan.length, 0)):
            if batch.step == steps:
                break
            state, figures = programs[batch.shape](state, batch.arrays)
            losses.append(
                float(figures["loss"]) / max(float(figures["count"]), 1.0)
            )  # of a few texts no token may be masked
            rows.append([int(shard.data.sum()) for shard in batch.arrays["lengths"].addressable_shards])
        evaluation = Programs("evaluation", plan.evaluation_program)
        evaluator = Evaluator(plan.task, evaluation, plan.eval_batching, plan.placement)
        metrics = evaluator(state.variables, plan.val)
    leaves = jax.tree.leaves((state.params, state.opt_state))
    of_first = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return {
        "losses": losses,
        "metrics": metrics,
        "tokens": rows,  # of each device in each step
        "share": of_first / sum(leaf.nbytes for leaf in leaves),
        "batching": type(plan.batching).__name__,
    }


COLLECTIVE = re.compile(
    r"= (\(?[^=]*?\)?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


def collectives(build: str, data: str, changes: dict[str, Any], mesh: list[int], kernels: str | None = None) -> Any:
    """What the devices send each other in a step of training: [operation, shape] of each array that arrives."""
    from textclf_jax.training.plan import make_plan

    with first_devices(mesh[0] * mesh[1]), variant(kernels):
        plan = make_plan(configured(build, data, changes, mesh), Path("/"))
        text = plan.training_program(plan.batching.shapes[-1]).as_text()
    found = []
    for arrays, operation in COLLECTIVE.findall(text):
        for _, sizes in re.findall(r"(\w+)\[([\d,]*)\]", arrays):
            found.append([operation, [int(size) for size in sizes.split(",") if size]])
    return {"collectives": found, "rows": list(plan.batching.shapes[-1])}


def run(build: str, data: str, changes: dict[str, Any], mesh: list[int], folder: str, stop_at: int | None) -> Any:
    """Runs `fit` on data x fsdp devices, to its end or until an update; answers nothing."""
    import pytest

    from tests import trained

    config = configured(build, data, changes, mesh)
    with first_devices(mesh[0] * mesh[1]):
        if stop_at is None:
            trained.run(config, Path(folder), root=Path("/"))
        else:
            trained.interrupted(config, Path(folder), pytest.MonkeyPatch(), at_update=stop_at, root=Path("/"))
    return {}


if __name__ == "__main__":
    serve({handler.__name__: handler for handler in (train, collectives, run)})
