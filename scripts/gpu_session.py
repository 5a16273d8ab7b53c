"""Does all that a GPU is needed for in one go: the tests marked `gpu`, then the suite of `textclf bench`.

    python scripts/gpu_session.py [--quick] [--out FOLDER] [--minutes 9]

It needs a Python with JAX for CUDA and the other packages, and no network. FOLDER/DEVICE/ gets a log of each stage, the
rows of the suite (`benchmarks.json`; `benchmarks.unfinished` until all are there) and `session.json`, which says what
was done and what was left out. The same command goes on from what that folder holds. `--quick`: the most important rows
alone, in three minutes, as `quick.json` and `quick-session.json`.
"""

import argparse
import functools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.progress import SOURCES, code_digest, unfinished_path  # noqa: E402
from benchmarks.report import read_results, remarks, results_path, versions  # noqa: E402
from textclf_jax.files import json_text, write_whole  # noqa: E402

DEVICE_SECONDS = 60.0
TEST_SECONDS = 180.0
WHOLE_MINUTES, QUICK_MINUTES = 9.0, 3.5
# to import, to end the processes of the suite, and to write
SPARE_SECONDS = 20.0
NAME_DEVICE = "import jax; print(jax.default_backend(), jax.devices()[0].device_kind, sep='|')"
GPU_TESTS = "tests/gpu"

Command = Sequence[str]


class Stage(NamedTuple):
    """What became of a stage.

    Attributes:
      name: of the stage and its log.
      outcome: of this session, for a reader.
      done: whether nothing of it is left to do on this code.
      seconds: it took.
      limit_seconds: it had.
    """

    name: str
    outcome: str
    done: bool = False
    seconds: float = 0.0
    limit_seconds: float = 0.0


def run_stage(name: str, command: Command, log: Path, limit_seconds: float) -> Stage:
    """Runs a command, whose process group is killed after `limit_seconds`; shows and logs its output."""
    before, overdue = time.monotonic(), threading.Event()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    environment["PYTHONUNBUFFERED"] = "1"
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            [*command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):

        def stop() -> None:
            overdue.set()
            kill_group(process)

        timer = threading.Timer(limit_seconds, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                file.write(line)
                file.flush()
            process.wait()
        finally:
            timer.cancel()
            kill_group(process)
    passed = process.returncode == 0
    outcome = "passed" if passed else f"failed: exit code {process.returncode}"
    if not passed and overdue.is_set():
        outcome = f"stopped: it took over {limit_seconds:.0f} s"
    return Stage(name, outcome, passed, time.monotonic() - before, limit_seconds)


def kill_group(process: subprocess.Popen) -> None:
    """Kills what a stage has left running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def find_device() -> str:
    """The name of the GPU.

    Raises:
      SystemExit: JAX finds none; the message says what it found.
    """
    command = [sys.executable, "-c", NAME_DEVICE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEVICE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"JAX did not start within {DEVICE_SECONDS:.0f} s") from None
    platform, _, name = done.stdout.strip().rpartition("\n")[2].partition("|")
    if done.returncode or platform != "gpu":
        found = done.stderr.strip().rpartition("\n")[2] if done.returncode else f"{platform} {name}"
        raise SystemExit(f"no GPU: JAX found {found}. Install JAX for CUDA: pip install -e '.[cuda13]'")
    return name


def tests_stage(folder: Path, limit_seconds: float) -> Stage:
    """Runs the tests that need a GPU."""
    command = [
        "env",
        "TEXTCLF_GPU_TESTS=gpu",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        GPU_TESTS,
    ]
    return run_stage("tests", command, folder / "tests.log", limit_seconds)


def suite_stage(results: Path, limit_seconds: float, *, quickly: bool) -> Stage:
    """Measures, and stops in time to write what it has."""
    seconds = limit_seconds - SPARE_SECONDS
    if seconds <= 0:
        return Stage(results.stem, "left out: no time was left")
    command = [sys.executable, "-m", "textclf_jax", "bench", "--out", str(results), "--minutes", f"{seconds / 60:.2f}"]
    command += ["--quick"] if quickly else []
    stage = run_stage(results.stem, command, results.with_suffix(".log"), limit_seconds)
    # a suite that was stopped has not written its results
    path = results if stage.done else unfinished_path(results)
    rows = read_results(path)["rows"] if path.is_file() else []
    for row in rows:
        print(described(row))
    if missing := [row["row"] for row in rows if not row["ours"]]:
        has_failed = any(not row["ours"] and not is_skipped(row) for row in rows)
        outcome = f"{'failed' if has_failed else stage.outcome}: no figures of {', '.join(missing)}"
        stage = stage._replace(outcome=f"{outcome}; the same command goes on with them", done=False)
    return stage


def described(row: dict[str, Any]) -> str:
    """A line for a row, with its remarks."""
    ours = "not measured" if row["ours"] is None else f"{row['ours']:,.4g} {row['unit']}"
    peer = [] if row["ratio"] is None else [f"{row['ratio']:.2f} times the peer in {row['peer_mode'] or 'no mode'}"]
    return "; ".join([f"{row['row']}: {ours}", *peer, *remarks(row)])


def is_skipped(row: dict[str, Any]) -> bool:
    """Whether the suite had no time for a row."""
    return (row.get("note") or "").startswith("skipped")


def run_session(folder: Path, *, quickly: bool, minutes: float) -> list[Stage]:
    """Runs the stages within `minutes`, and writes a summary after each.

    What an earlier session has done on the same code is left out, but for a quick suite.
    """
    started, stages = time.monotonic(), []
    summary = folder / ("quick-session.json" if quickly else "session.json")
    code = code_digest((*SOURCES, "tests/**/*.py"))
    earlier = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {"code": None, "stages": []}
    done = {stage["name"] for stage in earlier["stages"] if stage["done"] and earlier["code"] == code}

    def run(name: str, run_it: Callable[[float], Stage], limit_seconds: float = math.inf) -> None:
        left = 60 * minutes - (time.monotonic() - started)
        if name in done:
            stage = Stage(name, "left out: an earlier session has done it on this code", done=True)
        else:
            stage = run_it(min(limit_seconds, left))
        stages.append(stage)
        content = {"code": code, "versions": versions(), "stages": [one._asdict() for one in stages]}
        write_whole(summary, json_text(content) + "\n")

    if quickly:
        done = set()
        run("quick", functools.partial(suite_stage, folder / "quick.json", quickly=True))
    else:
        run("tests", functools.partial(tests_stage, folder), TEST_SECONDS)
        run("benchmarks", functools.partial(suite_stage, folder / "benchmarks.json", quickly=False))
    return stages


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a session; 0 if no stage failed or was stopped."""
    parser = argparse.ArgumentParser(description="Tests and benchmarks of a GPU, in one go.")
    parser.add_argument("--quick", action="store_true", help="the most important rows alone, in three minutes")
    parser.add_argument("--out", type=Path, default=Path("gpu-session"), metavar="FOLDER", help="default: gpu-session")
    parser.add_argument("--minutes", type=float, help="limit for all stages (default: 9; 3.5 with --quick)")
    args = parser.parse_args(arguments)
    minutes = args.minutes
    if minutes is None:
        minutes = QUICK_MINUTES if args.quick else WHOLE_MINUTES
    if not minutes > 0:
        parser.error(f"--minutes {minutes:g} must be more than 0")
    before = time.monotonic()
    folder = args.out.resolve() / results_path(find_device()).stem
    folder.mkdir(parents=True, exist_ok=True)
    stages = run_session(folder, quickly=args.quick, minutes=minutes - (time.monotonic() - before) / 60)
    for stage in stages:
        print(f"{stage.name}: {stage.outcome} ({stage.seconds:.0f} of {stage.limit_seconds:.0f} s)")
    print(f"in {folder}; the whole suite's rows belong in {results_path(folder.name)}, for `textclf bench --table`")
    return int(any(stage.outcome.startswith(("failed", "stopped")) for stage in stages))


if __name__ == "__main__":
    sys.exit(main())
