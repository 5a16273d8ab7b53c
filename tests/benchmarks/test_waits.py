"""Start-up: what is in the cache, and that the suite's time ends it."""

import dataclasses
import time

import pytest

from benchmarks import waits
from benchmarks.bench import Bench, Shared
from benchmarks.cases import Case
from benchmarks.waits import measure_startup, time_to_first_update
from benchmarks.worker import OutOfTime

COLD = Case("cold", "startup", "tiny", 2, 16, rounds=1)
WARM = dataclasses.replace(COLD, row="warm", warm_cache=True)


@pytest.fixture
def starts(monkeypatch):
    """Whether each start found the programs compiled."""
    found = []

    def start(project, cache, bench):
        found.append(cache.is_dir())
        cache.mkdir(exist_ok=True)
        return 10.0 if len(found) == 1 else 4.0

    monkeypatch.setattr(waits, "time_to_first_update", start)
    monkeypatch.setattr(waits, "generate_pretraining", lambda *_, **__: None)
    return found


def row_of(case, root):
    bench = Bench("cpu", root, row=case.row, has_peer=False)
    bench.folder.mkdir()
    return measure_startup(bench, case, with_peer=False)


def test_a_warm_start_finds_what_the_cold_one_compiled(starts, tmp_path):
    assert [row_of(case, tmp_path)["ours"] for case in (COLD, WARM)] == [10.0, 4.0]
    assert starts == [False, True]


def test_alone_it_compiles_first(starts, tmp_path):
    assert row_of(WARM, tmp_path)["ours"] == 4.0
    assert starts == [False, True]


def test_the_time_of_the_suite_ends_a_start(tmp_path):
    bench = Bench("cpu", tmp_path, shared=Shared(deadline=time.monotonic()))
    with pytest.raises(OutOfTime):
        time_to_first_update(tmp_path, tmp_path / "cache", bench)
