"""The whole of a run, from a configuration to a tested model: `fit` is what the commands call."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax

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
from textclf_jax.training.stream import plan_epoch

SUMMARY_FILE = "summary.json"
SHOWN_METRICS = ("loss", "perplexity", "accuracy", "f1_macro", "balanced_accuracy")


class Start(NamedTuple):
    """How a run is begun; the fields are those of `fit`."""

    fresh: bool
    changed_data: bool
    pretrained: Pretrained | None


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
    settings, state, position, resumes = _first_state(run, checkpoints, fingerprint, begun)
    checkpoints.reserve(state)
    write_whole(run_dir / "config.resolved.yaml", dump_config(config))
    write_whole(run_dir / RECORD_FILE, json.dumps(record, indent=1))
    logger = stack.enter_context(
        RunLogger(
            run_dir,
            config.logging,
            resolved=record["config"],
            keep_until_step=position.step if resumes else None,
            evaluation_due=position.evaluation_due,
        )
    )
    variables = {"params": state.params, **state.collections}
    start = int(state.opt_state.gradient_step)
    with Progress(run.length.updates, start=start, description=config.experiment.kind) as progress:
        programs = Programs("training", lambda shape: run.training_program(shape, state, settings), progress.note)
        to_evaluate = Programs("evaluation", lambda shape: run.evaluation_program(shape, variables), progress.note)
        evaluator = Evaluator(run.task, to_evaluate, run.eval_batching)
        _compile_first(run, programs, position)
        with profiled(config.training.profile, run_dir / PROFILE_FOLDER, programs, progress.note) as run_step:
            loop = Loop(
                task=run.task,
                train=run.train,
                val=run.val,
                batching=run.batching,
                programs=programs,
                run_step=run_step,
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
            state = loop.run(state, position)
    if stop.signal:
        _say(f"stopped and saved after step {loop.position.step}; the same command goes on from there")
        logger.close(failed=True)
        return
    curves = learning_curves(run_dir, csv_paths(run_dir, config.logging), run_dir / "learning_curves.png")
    _finish(run, run_dir, evaluator, logger, curves)


def _first_state(run: Run, checkpoints: Checkpoints, fingerprint: dict[str, Any], begun: Start):
    """Settings, state and position that training begins with, and whether this is the run's own earlier position."""
    variables = run.init_variables()
    if begun.pretrained:
        variables, report = _adopted(run, begun.pretrained, variables)
        print("\n".join(report), flush=True)
    settings = run.step_settings(variables["params"])
    state = run.init_state(variables, settings)
    if resumed := go_on(checkpoints, state, fingerprint, changed_data=begun.changed_data):
        state, position = resumed
        print(f"resuming after step {position.step} of {run.length.steps}", flush=True)
        return settings, state, position, True
    if _continues(run):
        state, position = continue_earlier(run, state, fingerprint)
        return settings, state, position, False
    return settings, state, Position(), False


def _compile_first(run: Run, programs: Programs, position: Position) -> None:
    """Compiles the program of the first step while a signal can still end the run at once: there is nothing to save."""
    epoch, index = divmod(position.step, run.length.steps_per_epoch)
    if position.step < run.length.steps:
        programs[plan_epoch(run.task, run.train, run.batching, epoch)[index].shape]


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
    shapes = jax.eval_shape(run.init_variables)
    if begun.pretrained:
        _adopted(run, begun.pretrained, shapes)
    if _continues(run) and (begun.fresh or not is_checkpoints_folder(run_dir / CHECKPOINTS_FOLDER)):
        settings = run.step_settings(shapes["params"])
        continue_earlier(run, jax.eval_shape(lambda v: run.init_state(v, settings), shapes), fingerprint_of(run))


def _say(text: str) -> None:
    print(text, flush=True)


def _finish(run: Run, run_dir: Path, evaluator: Evaluator, logger: RunLogger, curves: Path | None) -> None:
    """Tests the best model once, and sums up."""
    saved = load_model(run_dir / MODEL_FOLDER)
    place = {"step": saved.metadata["step"], "update": saved.metadata["update"], "epoch": saved.metadata["epoch"]}
    results: dict[str, dict[str, float]] = {}
    for name, data in {"val": run.val, "test": run.test}.items():
        if data is not None:
            results[name] = evaluator(saved.variables, data)
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
