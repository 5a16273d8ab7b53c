"""The whole of a run, from a configuration to a tested model: `fit` is what the commands call."""

import json
import platform
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from textclf_jax import __version__
from textclf_jax.config import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.config_file import dump_config
from textclf_jax.errors import UserError
from textclf_jax.training.checkpoint import MODEL_FOLDER, Checkpoints, load_model
from textclf_jax.training.device import set_up_device
from textclf_jax.training.evaluation import Evaluator
from textclf_jax.training.logging import RunLogger, csv_paths
from textclf_jax.training.loop import Loop, Position
from textclf_jax.training.plots import learning_curves
from textclf_jax.training.pretrained import Pretrained, adopt
from textclf_jax.training.profiling import PROFILE_FOLDER, profiled
from textclf_jax.training.progress import Progress, table
from textclf_jax.training.resuming import continue_earlier, fingerprint_of, go_on
from textclf_jax.training.run import Run, compile_programs, describe, memory_estimate, prepare_run
from textclf_jax.training.signals import StopRequest

SUMMARY_FILE = "summary.json"
SHOWN_METRICS = ("loss", "perplexity", "accuracy", "f1_macro", "balanced_accuracy")


def fit(
    config: RunConfig,
    run_dir: Path,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    pretrained: Pretrained | None = None,
    root: Path | None = None,
) -> int:
    """Trains, evaluates and tests what a configuration describes, or goes on where an interrupted run stopped.

    Args:
      config: the configuration.
      run_dir: the folder of the run.
      dry_run: check everything, report, and stop before training; writes nothing.
      fresh: start over even where there are checkpoints or a finished run.
      pretrained: the weights to start from; finetuning takes the encoder, pretraining all of them.
      root: the folder that relative data paths start from; the current one by default.

    Returns:
      The exit code: 0, or 130 or 143 where a signal stopped the run (it can be resumed).

    Raises:
      UserError: a problem the user can solve.
    """
    device = set_up_device(config.training)
    run = prepare_run(config, root or Path.cwd())
    if (run_dir / SUMMARY_FILE).exists() and not (fresh or dry_run):
        raise UserError(f"{run_dir}: this run is finished. Start over with --fresh, or make a new experiment.")
    facts = [("device", device), *describe(run)]
    for note in run.notes:
        print(note, flush=True)
    if dry_run:
        _check_start(run, pretrained)
        table(f"dry run of {config.experiment.name}", [*facts, ("memory", memory_estimate(run))], ("what", "value"))
        return 0
    table(config.experiment.name, facts, ("what", "value"))
    with ExitStack() as stack:
        return _train_and_test(run, run_dir, stack, fresh=fresh, pretrained=pretrained)


def _train_and_test(run: Run, run_dir: Path, stack: ExitStack, *, fresh: bool, pretrained: Pretrained | None) -> int:
    config = run.config
    stop = stack.enter_context(StopRequest())
    (run_dir / SUMMARY_FILE).unlink(missing_ok=True)
    checkpoints = Checkpoints(run_dir / "checkpoints", fresh=fresh)
    stack.callback(checkpoints.close)
    fingerprint = fingerprint_of(run)
    settings, state, position, resumes = _first_state(run, checkpoints, fingerprint, pretrained)
    (run_dir / "config.resolved.yaml").write_text(dump_config(config), encoding="utf-8")
    keep = position.step if resumes else None
    resolved = config.model_dump(mode="json")
    logger = stack.enter_context(RunLogger(run_dir, config.logging, resolved=resolved, keep_until_step=keep))
    variables = {"params": state.params, **state.collections}
    programs = compile_programs("training", run.buckets, lambda b: run.training_program(b, state, settings), _say)
    eval_programs = compile_programs(
        "evaluation", run.eval_buckets, lambda b: run.evaluation_program(b, variables), _say
    )
    evaluator = Evaluator(run.task, eval_programs, run.eval_buckets)
    start = int(state.opt_state.gradient_step)
    with (
        Progress(run.length.updates, start=start, description=config.experiment.kind) as progress,
        profiled(config.training.profile, run_dir / PROFILE_FOLDER, programs, progress.note) as run_step,
    ):
        loop = Loop(
            task=run.task,
            train=run.train,
            val=run.val,
            buckets=run.buckets,
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
            model_metadata=_model_metadata(run),
            vocabulary=run.vocabulary_files,
            fingerprint=fingerprint,
        )
        state = loop.run(state, position)
    checkpoints.wait()
    curves = learning_curves(run_dir, csv_paths(run_dir, config.logging), run_dir / "learning_curves.png")
    if stop.signal:
        print(f"stopped and saved after step {loop.position.step}; the same command goes on from there", flush=True)
        return stop.exit_code
    _finish(run, run_dir, evaluator, logger, curves)
    return 0


def _first_state(run: Run, checkpoints: Checkpoints, fingerprint: dict[str, Any], pretrained: Pretrained | None):
    """Settings, state and position that training begins with, and whether this is the run's own earlier position."""
    variables = run.init_variables()
    if pretrained:
        variables, report = _adopted(run, pretrained, variables)
        print("\n".join(report), flush=True)
    settings = run.step_settings(variables["params"])
    state = run.init_state(variables, settings)
    if resumed := go_on(checkpoints, state, fingerprint):
        state, position = resumed
        print(f"resuming after step {position.step} of {run.length.steps}", flush=True)
        return settings, state, position, True
    if _continues(run):
        state, position = continue_earlier(run, state, fingerprint)
        return settings, state, position, False
    return settings, state, Position(), False


def _adopted(run: Run, pretrained: Pretrained, variables: Any) -> tuple[Any, list[str]]:
    heads = isinstance(run.config, PretrainingConfig)
    return adopt(pretrained, variables, run.config.architecture, run.tokenizer.fingerprint, heads=heads)


def _continues(run: Run) -> bool:
    """Whether the run takes over the optimizer state of an earlier one."""
    resume = run.config.training.resume
    return resume.path is not None and not resume.weights_only


def _check_start(run: Run, pretrained: Pretrained | None) -> None:
    """Raises the UserError that starting from other weights would raise."""
    shapes = jax.eval_shape(run.init_variables)
    if pretrained:
        _adopted(run, pretrained, shapes)
    if _continues(run):
        settings = run.step_settings(shapes["params"])
        continue_earlier(run, jax.eval_shape(lambda v: run.init_state(v, settings), shapes), fingerprint_of(run))


def _say(text: str) -> None:
    print(text, flush=True)


def _model_metadata(run: Run) -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")
    return {
        "config": run.config.model_dump(mode="json"),
        "vocab_size": run.tokenizer.vocab_size,
        "vocabulary": run.tokenizer.fingerprint,
        "labels": _label_names(run),
        "data": {name: {"path": str(data.path), "fingerprint": data.fingerprint} for name, data in run.splits.items()},
        "versions": {"textclf-jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
    }


def _label_names(run: Run) -> list[str] | None:
    """The names in `labels.txt` beside the data or one folder up, where they fit; otherwise the numbers."""
    if not isinstance(run.config, FinetuningConfig):
        return None
    count = run.config.classification_head.num_labels
    for folder in run.train.path.parents[:2]:
        file = folder / "labels.txt"
        if file.is_file() and len(names := file.read_text(encoding="utf-8").splitlines()) == count:
            return names
    return [str(i) for i in range(count)]


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
    (run_dir / SUMMARY_FILE).write_text(json.dumps(summary, indent=1), encoding="utf-8")
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
