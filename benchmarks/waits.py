"""What a user waits for: a whole epoch, and the time from a command to its first update."""

import dataclasses
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.bench import NO_PEER, Bench, Row, add_note, message, new_row
from benchmarks.cases import Case, peer_modes
from benchmarks.trials import fastest_mode
from benchmarks.worker import REPOSITORY, OutOfTime, WorkerFailed
from textclf_jax.experiments.generate import generate_pretraining

FIRST_UPDATE = re.compile(r"^pretraining +\d+/\d+  loss")
STARTUP_LIMIT_SECONDS = 240.0


def measure_epoch(bench: Bench, case: Case, *, with_peer: bool) -> Row:
    """Measures an epoch with loading, compiling, evaluation and checkpoints; each round in new processes, uncached."""
    row = new_row(case)
    # an epoch includes the time of compiling, and these are too short to win it back
    training = dataclasses.replace(case, measure="training")
    mode = fastest_mode(bench, training, row, compiled=False) if with_peer else None
    taken = {"ours": [], "peer": []}
    for i in range(case.rounds):
        with bench.ours(f"ours-{i}") as ours:
            answer = ours.ask("epoch", **message(case, bench)) | ours.ask("memory")
            taken["ours"].append(answer | {"limit": bench.limit()})
        shutil.rmtree(bench.folder / "data" / "run")
        if mode:
            try:
                with bench.peer(f"peer-{i}") as peer:
                    answer = peer.ask("epoch", **message(case, bench), mode=mode)
                    taken["peer"].append(answer | peer.ask("memory"))
            except WorkerFailed as error:
                add_note(row, f"no peer: {error}")

    def median(side: str, figure: str) -> float:
        return statistics.median(answer[figure] for answer in taken[side])

    seconds, last = median("ours", "seconds"), taken["ours"][-1]
    compiling = median("ours", "compile_seconds")
    row |= {"ours": last["tokens"] / seconds, "seconds": seconds, "compile_seconds": compiling}
    row |= {"compile_share": compiling / seconds, "padding_waste": last["padding_waste"]}
    row |= {"flops": last["flops"] / seconds, "limit": max(answer["limit"] for answer in taken["ours"])}
    row["peak_mb"] = max(answer["peak_mb"] for answer in taken["ours"])
    if taken["peer"]:
        row["peer_seconds"] = median("peer", "seconds")
        row["peer"] = taken["peer"][-1]["tokens"] / row["peer_seconds"]
        row |= {"peer_peak_mb": max(answer["peak_mb"] for answer in taken["peer"]), "peer_mode": mode}
    return row


def measure_startup(bench: Bench, case: Case, *, with_peer: bool) -> Row:
    """Measures seconds from `textclf pretrain` to its first reported update; of the peer, from start to first step."""
    project, cache = bench.folder / "project", bench.folder / "startup-cache"
    # what the cold start of this suite compiled
    compiled = bench.root / "compiled-by-cold-start"
    project.mkdir()
    folder = bench.folder / "data"
    overrides = [f"data.{split}.dataset_path={folder / split}.pt" for split in ("train", "val")]
    overrides += [f"tokenizer.vocab_dir={folder / 'vocab'}", "data.test.dataset_path=null"]
    overrides += [f"training.batch_size={case.batch_size}", f"architecture.max_sequence_length={case.max_length}"]
    generate_pretraining("startup", preset=f"bert-{case.size}", overrides=overrides, root=project)
    row = new_row(case, unit="s")
    if case.warm_cache and compiled.is_dir():
        cache = compiled
    elif case.warm_cache:
        time_to_first_update(project, cache, bench)
    row["ours"] = statistics.median(time_to_first_update(project, cache, bench) for _ in range(case.rounds))
    if not case.warm_cache and cache.is_dir():
        cache.rename(compiled)
    if with_peer and bench.has_peer:
        before = time.perf_counter()
        with bench.peer() as peer:
            # not compiled: that would count against the peer
            mode = peer_modes(bench.platform, compiled=False)[0]
            peer.ask("start", **message(dataclasses.replace(case, measure="training"), bench), mode=mode)
            peer.ask("take", count=1)
            row |= {"peer": time.perf_counter() - before, "peer_mode": mode}
    elif with_peer:
        row["note"] = NO_PEER
    return row


def time_to_first_update(project: Path, cache: Path, bench: Bench) -> float:
    """Starts the run in a new process, and kills it as soon as it reports an update; returns the seconds until then.

    Raises:
      OutOfTime: the time for the suite was over.
      WorkerFailed: it ended before that, or took over `STARTUP_LIMIT_SECONDS`.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "textclf_jax", "pretrain", "startup", "--fresh"]
    before, lines = time.perf_counter(), []
    left = bench.shared.deadline - time.monotonic()
    with subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(max(0.0, min(left, STARTUP_LIMIT_SECONDS)), process.kill)
        timer.start()
        try:
            for line in process.stdout:
                lines.append(line.strip())
                if FIRST_UPDATE.match(line):
                    return time.perf_counter() - before
        finally:
            timer.cancel()
            process.kill()
    if time.monotonic() >= bench.shared.deadline:
        raise OutOfTime("startup")
    raise WorkerFailed(f"no update was reported: {lines[-1] if lines else 'nothing was printed'}")
