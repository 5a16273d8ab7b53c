"""Silence around Orbax, and no more of it than that."""

import asyncio
import gc
import logging
import types

import pytest

from textclf_jax.runs.quiet import quiet_orbax


@pytest.fixture
def said(caplog):
    """What the loggers say, after a first call of Orbax."""
    with quiet_orbax():
        pass
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("name", ["absl", "asyncio"])
def test_nothing_is_logged_in_a_call_and_everything_after_it(said, name):
    with quiet_orbax():
        logging.getLogger(name).error("within")
    logging.getLogger(name).error("after")
    assert said() == ["after"]


def failed_task(path: str) -> None:
    """A task that fails and that nobody asks for its exception, of a coroutine defined in a file of this path."""
    source = compile("async def write():\n    raise ValueError('the disk is full')\n", path, "exec")
    module = types.ModuleType("m")
    exec(source, module.__dict__)
    loop = asyncio.new_event_loop()
    task = loop.create_task(module.write())
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


def test_tasks_of_orbax_that_failed_are_not_reported_later(said):
    failed_task("/packages/orbax/checkpoint/handlers.py")
    gc.collect()
    assert not any("never retrieved" in line for line in said())
    failed_task("/packages/other.py")
    gc.collect()
    assert sum("never retrieved" in line for line in said()) == 1
