"""The whole of a run, from a configuration to a tested model: `fit` is what the commands call."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path

from textclf_jax.config.schema import RunConfig
from textclf_jax.constants import LINEAR
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.extras import install_line, is_installed
from textclf_jax.observe.limits import training_limit
from textclf_jax.observe.plots import CURVES_FILE, learning_curves
from textclf_jax.observe.profiling import PROFILE_FOLDER, profiled
from textclf_jax.observe.progress import say, silence
from textclf_jax.observe.throughput import Throughput
from textclf_jax.runs.lock import RunLock
from textclf_jax.runs.metrics_files import csv_paths
from textclf_jax.runs.pretrained import Pretrained
from textclf_jax.runs.record import SUMMARY_FILE
from textclf_jax.runs.signals import Stopped, StopRequest
from textclf_jax.runtime.agreement import arrays_by_first, by_first
from textclf_jax.runtime.device import compute_precision, explained_exhaustion, set_up_device, training_with_less_memory
from textclf_jax.runtime.processes import are_several, has_joined, is_first, require_as_many_devices
from textclf_jax.runtime.programs import Programs
from textclf_jax.training.early_stopping import is_over
from textclf_jax.training.ending import run_test, sum_up
from textclf_jax.training.keeper import Keeper
from textclf_jax.training.linear_path import fitted_collections
from textclf_jax.training.log import TrainingLog
from textclf_jax.training.loop import TrainingLoop
from textclf_jax.training.plan import Plan, make_plan
from textclf_jax.training.session import Session, enter_session
from textclf_jax.training.start import Start, adopt_into, find_start, start_together
from textclf_jax.training.steps import TrainState
from textclf_jax.training.stopping import make_stopping
from textclf_jax.training.summary import show_plan


def fit(
    config: RunConfig,
    run_dir: Path,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    changed_data: bool = False,
    pretrained: Pretrained | None = None,
    root: Path | None = None,
    handles_signals: bool = True,
) -> int:
    """Trains, evaluates and tests what a configuration describes, or resumes where an interrupted run stopped.

    Args:
      config: the configuration.
      run_dir: the folder of the run.
      dry_run: check everything, report, and stop before training; writes nothing.
      fresh: start over even where there are checkpoints or a finished run.
      changed_data: resume even where the data is no longer the same.
      pretrained: the weights to start from; finetuning takes the encoder, pretraining all of them.
      root: the folder that relative data paths start from; the current one by default.
      handles_signals: whether Ctrl-C and SIGTERM save the state and end the run; otherwise they are the caller's, as in
        a thread, or in a process that does other things, too.

    Returns:
      The exit code: 0, or 130 or 143 where a signal stopped the run (it can be resumed).

    Raises:
      UserError: a problem the user can solve.
    """
    stop = StopRequest(catches=handles_signals)
    try:
        with ExitStack() as stack:
            stack.enter_context(stop)
            stack.enter_context(explained_exhaustion(training_with_less_memory(config)))
            device = set_up_device(config.training)
            require_as_many_devices()
            if not is_first():
                stack.enter_context(silence())

            def claim() -> None:
                if not dry_run:
                    stack.enter_context(RunLock(run_dir))
                _refuse_finished(run_dir, fresh=fresh, dry_run=dry_run)

            by_first(claim)
            plan = make_plan(config, root or Path.cwd())
            say(*plan.notes)
            if not is_installed("matplotlib"):
                say(f"note: pictures are not drawn, as matplotlib is not installed: {install_line('report')}")
            csv_paths(run_dir, config.logging)  # refuses paths that clash or leave the folder
            find = functools.partial(find_start, dry_run=dry_run, fresh=fresh, changed_data=changed_data)
            start = start_together(plan, pretrained, lambda: find(plan, run_dir, pretrained), dry_run=dry_run)
            show_plan(plan, device, dry_run=dry_run)
            say(start.note)
            if not dry_run:
                session = enter_session(stack, plan, run_dir, start, stop, fresh=fresh)
                _train_and_test(plan, start, session)
    except Stopped as stopped:
        if has_joined() and not stop.is_shared:
            raise Stopped(stop.exit_code) from stopped  # the others do not know of it, so nobody may wait for them
        say("stopped; the same command goes on from the last checkpoint, if there is one")
    return stop.exit_code


def _refuse_finished(run_dir: Path, *, fresh: bool, dry_run: bool) -> None:
    """Raises UserError where a run is finished; a dry run, which checks other things too, only says so."""
    if fresh or not (run_dir / SUMMARY_FILE).exists():
        return
    message = f"{run_dir}: this run is finished. Start over with --fresh, or make a new experiment."
    if not dry_run:
        raise UserError(message)
    say(f"note: {message}")


def _train_and_test(plan: Plan, start: Start, session: Session) -> None:
    note, paused, position = session.progress.note, session.progress.paused, start.position
    programs = Programs("training", plan.training_program, note, paused)
    evaluation = Programs("evaluation", plan.evaluation_program, note, paused)
    stopping = make_stopping(plan.placement, session.stop)
    evaluator = Evaluator(plan.task, evaluation, plan.eval_batching, plan.placement, stopping.in_evaluation)
    keeper = Keeper(plan, session, position, evaluator)
    curves = None
    with session.progress:
        state = _first_state(plan, start, programs, note)
        profile = plan.config.training.profile if is_first() else 0
        with profiled(profile, session.run_dir / PROFILE_FOLDER, programs, note) as run_step:
            log = TrainingLog(plan, session, position, _throughput(plan))
            loop = TrainingLoop(plan, session, programs, run_step, log, keeper, stopping)
            with session.stop.deferred():
                loop.run(state)
                if not session.stop.signal and is_first():
                    # while the last checkpoint is being written
                    csvs = csv_paths(session.run_dir, plan.config.logging)
                    curves = learning_curves(session.run_dir, csvs, session.run_dir / CURVES_FILE)
                by_first(session.checkpoints.wait)
    if session.stop.signal:
        say(f"stopped and saved after step {position.step}; the same command goes on from there")
        session.logger.close(failed=True)
        return
    # several processes stop together, so signals may end none of them by itself
    with session.stop.deferred() if are_several() else nullcontext():
        tested = run_test(plan, keeper, session.run_dir)
        by_first(lambda: sum_up(plan, session, keeper, tested, curves))


def _first_state(plan: Plan, start: Start, programs: Programs, note: Callable[[str], None]) -> TrainState:
    """The state that training starts with; compiles the first program on the way, while a signal may still end the run.

    Fresh parameters are drawn meanwhile. The optimizer's zeros, twice as large, come after it: compiling takes memory.
    A linear path is fitted then, too.
    """

    def draw():
        variables = plan.draw_variables()
        return adopt_into(plan, start.pretrained, variables)[0] if start.pretrained else variables

    with ThreadPoolExecutor(1) as beside:
        drawn = None if start.state else beside.submit(draw)
        epoch, index = divmod(start.position.step, plan.length.steps_per_epoch)
        ended = is_over(start.position, plan.config.training.early_stopping)
        if start.position.step < plan.length.steps and not ended:
            programs.compile(plan.epoch(epoch)[index].shape)
    if drawn is None:
        assert start.state is not None
        return start.state
    # by the main thread, which a signal ends
    linear = {name: shapes for name, shapes in plan.variable_shapes.items() if name == LINEAR}
    fitted = arrays_by_first(lambda: fitted_collections(plan, note), linear)
    return plan.initial_state({**drawn.result(), **fitted})


def _throughput(plan: Plan) -> Throughput:
    """Counts the speed of training; measures the limit of a CPU, which takes a few tenths of a second."""
    measure_limit = functools.partial(
        training_limit, compute_precision(plan.config.training), plan.placement.num_devices
    )
    return Throughput(plan.training_flops, measure_limit)
