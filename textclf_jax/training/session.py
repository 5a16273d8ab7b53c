"""What is open while a run trains: its folder, its files, its display, and the request to stop."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from textclf_jax.config.file import dump_config
from textclf_jax.files import json_text, write_whole
from textclf_jax.observe.plots import CURVES_FILE
from textclf_jax.observe.profiling import PROFILE_FOLDER
from textclf_jax.observe.progress import Progress
from textclf_jax.runs.checkpoint import CHECKPOINTS_FOLDER, MODEL_FOLDER, Checkpoints, remove
from textclf_jax.runs.following import NoCheckpoints, NoLogger
from textclf_jax.runs.logger import RunLogger
from textclf_jax.runs.record import CARD_FILE, FIGURES_FOLDER, PAGE_FILE, RECORD_FILE, SUMMARY_FILE
from textclf_jax.runs.signals import StopRequest
from textclf_jax.runtime.agreement import made_by_first
from textclf_jax.training.plan import Plan
from textclf_jax.training.report import REPORT_FOLDER
from textclf_jax.training.start import Start

# what a run leaves besides checkpoints, CSV files and its summary, and what another one must not find
RESULTS = (MODEL_FOLDER, REPORT_FOLDER, CURVES_FILE, PROFILE_FOLDER, PAGE_FILE, CARD_FILE, FIGURES_FOLDER)


class Session(NamedTuple):
    """What a run writes to while it trains; of several processes the first one.

    Attributes:
      run_dir: the folder of the run.
      record: what its result depends on; kept in the folder and in the model.
      checkpoints, logger, progress: where states, rows and lines go.
      stop: the request to stop.
    """

    run_dir: Path
    record: dict[str, Any]
    checkpoints: Checkpoints | NoCheckpoints
    logger: RunLogger | NoLogger
    progress: Progress
    stop: StopRequest


@contextmanager
def open_session(plan: Plan, run_dir: Path, start: Start, stop: StopRequest, *, fresh: bool) -> Iterator[Session]:
    """Opens the files of a run. Before this, its folder has got a lock, and lost damaged checkpoints, nothing else.

    Args:
      plan: the run.
      run_dir: its folder.
      start: where it starts.
      stop: the request to stop.
      fresh: removes what an earlier run has left in it; not the model that this one starts from.

    What it makes is removed again where the run ends before its first step.
    """
    position = start.position
    with _leaving_nothing(run_dir, start), ExitStack() as stack:
        checkpoints = Checkpoints(run_dir / CHECKPOINTS_FOLDER, fresh=fresh)
        stack.callback(checkpoints.close)
        if fresh:
            _remove_results(run_dir, start)
        # last: it marks a finished run, which only --fresh starts again
        (run_dir / SUMMARY_FILE).unlink(missing_ok=True)
        checkpoints.reserve(plan.state_shapes)
        record = plan.record()
        write_whole(run_dir / "config.resolved.yaml", dump_config(plan.config))
        write_whole(run_dir / RECORD_FILE, json_text(record))
        logger = RunLogger(
            run_dir,
            plan.config.logging,
            resolved=record["config"],
            keep_until_step=position.step if start.resumes else None,
            evaluation_due=position.evaluation_due,
        )
        stack.enter_context(logger)
        progress = Progress(plan.length.updates, start=start.updates, description=plan.config.experiment.kind)
        yield Session(run_dir, record, checkpoints, logger, progress, stop)


def enter_session(
    stack: ExitStack, plan: Plan, run_dir: Path, start: Start, stop: StopRequest, *, fresh: bool
) -> Session:
    """Opens the files of a run, in the first process of several alone; arguments as for `open_session`.

    Args:
      stack: closes them.
    """
    session, saved_step = made_by_first(
        lambda: stack.enter_context(open_session(plan, run_dir, start, stop, fresh=fresh)),
        lambda opened: opened.checkpoints.saved_step,
    )
    if session is not None:
        return session
    progress = Progress(plan.length.updates, start=start.updates, description=plan.config.experiment.kind)
    return Session(run_dir, plan.record(), NoCheckpoints(saved_step), NoLogger(), progress, stop)


@contextmanager
def _leaving_nothing(run_dir: Path, start: Start) -> Iterator[None]:
    """Removes what was made in the folder of a run that ended, by an error or on request, before it did a step."""
    before, first_step = set(run_dir.rglob("*")), start.position.step
    try:
        yield
    except BaseException:
        if not start.resumes and start.position.step == first_step:
            # files before the folders that hold them
            for path in sorted(set(run_dir.rglob("*")) - before, reverse=True):
                _remove(path)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # it has been reported already that something is wrong
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _remove_results(run_dir: Path, start: Start) -> None:
    """Until the first evaluation there is then no model, rather than one that this run has not trained."""
    source = start.pretrained.source.resolve() if start.pretrained else None
    for path in (run_dir / name for name in RESULTS):
        if path.resolve() != source:
            remove(path)
