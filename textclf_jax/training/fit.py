"""The whole of a run, from a configuration to a tested model: `fit` is what the commands call."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from textclf_jax.config import PretrainingConfig, RunConfig
from textclf_jax.config_file import dump_config
from textclf_jax.errors import UserError
from textclf_jax.files import write_whole
from textclf_jax.training.checkpoint import MODEL_FOLDER, Checkpoints, load_model
from textclf_jax.training.device import explained_exhaustion, set_up_device
from textclf_jax.training.evaluation import Evaluator
from textclf_jax.training.lock import RunLock
from textclf_jax.training.logging import RunLogger, csv_paths
from textclf_jax.training.loop import Loop, Position
from textclf_jax.training.plots import learning_curves
from textclf_jax.training.pretrained import CHECKPOINTS_FOLDER, Pretrained, adopt, is_checkpoints_folder
from textclf_jax.training.profiling import PROFILE_FOLDER, profiled
from textclf_jax.training.programs import Programs
from textclf_jax.training.progress import Progress, table
from textclf_jax.training.record import RECORD_FILE, record_of
from textclf_jax.training.resuming import continue_earlier, fingerprint_of, go_on
from textclf_jax.training.run import Run, describe, memory_estimate, prepare_run
from textclf_jax.training.signals import Stopped, StopRequest
from textclf_jax.training.steps import TrainState
from textclf_jax.training.stream import plan_epoch

SUMMARY_FILE = "summary.json"
SHOWN_METRICS = ("loss", "perplexity", "accuracy", "f1_macro", "balanced_accuracy")


class Start(NamedTuple):
    """How a run is begun; the fields are those of `fit`."""

    fresh: bool
    changed_data: bool
    pretrained: Pretrained | None


class FirstPosition(NamedTuple):
    """Where training begins.

    Attributes:
      position: the first position.
      state: its train state, or None where a fresh one is to be drawn.
      resumes: it is this run's own earlier position.
    """

    position: Position
    state: TrainState | None = None
    resumes: bool = False

    @property
    def updates(self) -> int:
        """Updates so far."""
        return 0 if self.state is None else int(self.state.opt_state.gradient_step)


def fit(
    config: RunConfig,
    run_dir: Path,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    changed_data: bool = False,
    pretrained: Pretrained | None = None,
    root: Path | None = None,
) -> int:
    """Trains, evaluates and tests what a configuration describes, or goes on where an interrupted run stopped.

    Args:
      config: the configuration.
      run_dir: the folder of the run.
      dry_run: check everything, report, and stop before training; writes nothing.
      fresh: start over even where there are checkpoints or a finished run.
      changed_data: go on from checkpoints even where the data is no longer the same.
      pretrained: the weights to start from; finetuning takes the encoder, pretraining all of them.
      root: the folder that relative data paths start from; the current one by default.

    Returns:
      The exit code: 0, or 130 or 143 where a signal stopped the run (it can be resumed).

    Raises:
      UserError: a problem the user can solve.
    """
    stop, begun = StopRequest(), Start(fresh, changed_data, pretrained)
    try:
        with ExitStack() as stack:
            stack.enter_context(stop)
            stack.enter_context(explained_exhaustion(config))
            if not dry_run:
                stack.enter_context(RunLock(run_dir))
                if not fresh:
                    _refuse_finished(run_dir)
            device = set_up_device(config.training)
            run = prepare_run(config, root or Path.cwd())
            facts = [("device", device), *describe(run)]
            for note in run.notes:
                _say(note)
            _check_start(run, run_dir, begun)
            if dry_run:
                facts.append(("memory", memory_estimate(run)))
            table(f"{'dry run of ' * dry_run}{config.experiment.name}", facts, ("what", "value"))
            if not dry_run:
                _train_and_test(run, run_dir, begun, stack, stop)
    except Stopped:
        _say("stopped; the same command goes on from the last checkpoint, if there is one")
    return stop.exit_code


def _refuse_finished(run_dir: Path) -> None:
    if (run_dir / SUMMARY_FILE).exists():
        raise UserError(f"{run_dir}: this run is finished. Start over with --fresh, or make a new experiment.")


def _train_and_test(run: Run, run_dir: Path, begun: Start, stack: ExitStack, stop: StopRequest) -> None:
    config = run.config
    checkpoints = Checkpoints(run_dir / CHECKPOINTS_FOLDER, fresh=begun.fresh)
    stack.callback(checkpoints.close)
    (run_dir / SUMMARY_FILE).unlink(missing_ok=True)
    fingerprint, record = fingerprint_of(run), record_of(run)
    first = _first_position(run, checkpoints, fingerprint, begun)
    checkpoints.reserve(run.state_shapes)
    write_whole(run_dir / "config.resolved.yaml", dump_config(config))
    write_whole(run_dir / RECORD_FILE, json.dumps(record, indent=1))
    logger = stack.enter_context(
        RunLogger(
            run_dir,
            config.logging,
            resolved=record["config"],
            keep_until_step=first.position.step if first.resumes else None,
            evaluation_due=first.position.evaluation_due,
        )
    )
    with Progress(run.length.updates, start=first.updates, description=config.experiment.kind) as progress:
        programs = Programs("training", run.training_program, progress.note)
        to_evaluate = Programs("evaluation", run.evaluation_program, progress.note)
        evaluator = Evaluator(run.task, to_evaluate, run.eval_batching)
        state = _compile_and_draw(run, programs, first, begun.pretrained)
        with profiled(config.training.profile, run_dir / PROFILE_FOLDER, programs, progress.note) as run_steps:
            loop = Loop(
                task=run.task,
                train=run.train,
                val=run.val,
                batching=run.batching,
                programs=programs,
                run_steps=run_steps,
                throughput=run.throughput(),
                evaluator=evaluator,
                length=run.length,
                logger=logger,
                progress=progress,
                checkpoints=checkpoints,
                stop=stop,
                run_dir=run_dir,
                model_metadata=record,
                vocabulary=run.vocabulary_files,
                fingerprint=fingerprint,
            )
            curves = None
            with stop.deferred():
                loop.run(state, first.position)
                if not stop.signal:
                    # while the last checkpoint is being written
                    csvs, picture = csv_paths(run_dir, config.logging), run_dir / "learning_curves.png"
                    curves = learning_curves(run_dir, csvs, picture)
                checkpoints.wait()
    if stop.signal:
        _say(f"stopped and saved after step {loop.position.step}; the same command goes on from there")
        logger.close(failed=True)
        return
    _finish(run, run_dir, loop, logger, curves)


def _first_position(run: Run, checkpoints: Checkpoints, fingerprint: dict[str, Any], begun: Start) -> FirstPosition:
    if resumed := go_on(checkpoints, run.state_shapes, fingerprint, changed_data=begun.changed_data):
        state, position = resumed
        _say(f"resuming after step {position.step} of {run.length.steps}")
        return FirstPosition(position, state, resumes=True)
    if _continues(run):
        state, position = continue_earlier(run, run.state_shapes, fingerprint)
        return FirstPosition(position, state)
    if begun.pretrained:
        _say("\n".join(_adopted(run, begun.pretrained, run.variable_shapes)[1]))
    return FirstPosition(Position())


def _compile_and_draw(run: Run, programs: Programs, first: FirstPosition, pretrained: Pretrained | None) -> TrainState:
    """Compiles the program of the first step, and draws fresh parameters meanwhile where there is no state.

    The optimizer's zeros, twice as large as the parameters, come after it: compiling takes memory, too. A signal can
    still end the run at once: there is nothing to save.
    """

    def compile_first() -> None:
        epoch, index = divmod(first.position.step, run.length.steps_per_epoch)
        if first.position.step < run.length.steps:
            programs[plan_epoch(run.task, run.train, run.batching, epoch)[index].shape]

    if first.state is not None:
        compile_first()
        return first.state
    with ThreadPoolExecutor(1) as beside:
        drawn = beside.submit(_fresh_variables, run, pretrained)
        compile_first()
    return run.init_state(drawn.result())


def _fresh_variables(run: Run, pretrained: Pretrained | None) -> dict[str, Any]:
    variables = run.init_variables()
    return _adopted(run, pretrained, variables)[0] if pretrained else variables


def _adopted(run: Run, pretrained: Pretrained, variables: Any) -> tuple[Any, list[str]]:
    heads = isinstance(run.config, PretrainingConfig)
    return adopt(pretrained, variables, run.config.architecture, run.tokenizer.fingerprint, heads=heads)


def _continues(run: Run) -> bool:
    """Whether the run takes over the optimizer state of an earlier one."""
    resume = run.config.training.resume
    return resume.path is not None and not resume.weights_only


def _check_start(run: Run, run_dir: Path, begun: Start) -> None:
    """Raises, before anything is written, the UserError that paths or starting from other weights would raise."""
    csv_paths(run_dir, run.config.logging)
    if begun.pretrained:
        _adopted(run, begun.pretrained, run.variable_shapes)
    if _continues(run) and (begun.fresh or not is_checkpoints_folder(run_dir / CHECKPOINTS_FOLDER)):
        continue_earlier(run, run.state_shapes, fingerprint_of(run))


def _say(text: str) -> None:
    print(text, flush=True)


def _finish(run: Run, run_dir: Path, loop: Loop, logger: RunLogger, curves: Path | None) -> None:
    """Tests the best model once, and sums up."""
    saved = load_model(run_dir / MODEL_FOLDER)
    place = {"step": saved.metadata["step"], "update": saved.metadata["update"], "epoch": saved.metadata["epoch"]}
    results: dict[str, dict[str, float]] = {}
    if run.val is not None:
        results["val"] = loop.best_metrics or loop.evaluator(saved.variables, run.val)
    if run.test is not None:
        results["test"] = loop.evaluator(saved.variables, run.test)
    if "test" in results:
        logger.log("test", results["test"], **place)
    which = saved.metadata["which"]
    summary = {"model": which, **place, "results": results}
    write_whole(run_dir / SUMMARY_FILE, json.dumps(summary, indent=1))
    if results:
        names = [n for n in SHOWN_METRICS if all(n in r for r in results.values())]
        rows = [(split, *(metrics[n] for n in names)) for split, metrics in results.items()]
        table(
            f"results of the {which} model (epoch {place['epoch']}, update {place['update']})", rows, ("split", *names)
        )
    csvs = csv_paths(run_dir, run.config.logging)
    paths = [("model", run_dir / MODEL_FOLDER), ("summary", run_dir / SUMMARY_FILE)]
    paths += [(f"{split} metrics", path) for split, path in csvs.items() if path.exists()]
    paths += [("learning curves", curves)] if curves else []
    table("files", [(name, str(path)) for name, path in paths], ("what", "path"))
