"""The whole of a run, from a configuration to a tested model: `fit` is what the commands call."""

import json
import platform
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from textclf_jax import __version__
from textclf_jax.config import FinetuningConfig, RunConfig
from textclf_jax.config_file import dump_config
from textclf_jax.errors import UserError
from textclf_jax.training.checkpoint import MODEL_FOLDER, Checkpoints, load_model
from textclf_jax.training.device import set_up_device
from textclf_jax.training.evaluation import Evaluator
from textclf_jax.training.logging import RunLogger, csv_paths
from textclf_jax.training.loop import Loop, Position
from textclf_jax.training.plots import learning_curves
from textclf_jax.training.pretrained import Pretrained, adopt
from textclf_jax.training.progress import Progress, table
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
      pretrained: the encoder that finetuning starts from.
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
        if pretrained:
            adopt(pretrained, jax.eval_shape(run.init_variables), config.architecture, run.tokenizer.fingerprint)
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
    variables = run.init_variables()
    if pretrained:
        variables, report = adopt(pretrained, variables, config.architecture, run.tokenizer.fingerprint)
        print("\n".join(report), flush=True)
    settings = run.step_settings(variables["params"])
    state, position = run.init_state(variables, settings), Position()
    fingerprint = _fingerprint(run)
    resumed = _resume(checkpoints, state, fingerprint)
    if resumed:
        state, position = resumed
        print(f"resuming after step {position.step} of {run.length.steps}", flush=True)
    (run_dir / "config.resolved.yaml").write_text(dump_config(config), encoding="utf-8")
    keep = position.step if resumed else None
    resolved = config.model_dump(mode="json")
    logger = stack.enter_context(RunLogger(run_dir, config.logging, resolved=resolved, keep_until_step=keep))
    variables = {"params": state.params, **state.collections}
    programs = compile_programs("training", run.buckets, lambda b: run.training_program(b, state, settings), _say)
    eval_programs = compile_programs(
        "evaluation", run.eval_buckets, lambda b: run.evaluation_program(b, variables), _say
    )
    evaluator = Evaluator(run.task, eval_programs, run.eval_buckets)
    start = int(state.opt_state.gradient_step)
    with Progress(run.length.updates, start=start, description=config.experiment.kind) as progress:
        loop = Loop(
            task=run.task,
            train=run.train,
            val=run.val,
            buckets=run.buckets,
            programs=programs,
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


def _say(text: str) -> None:
    print(text, flush=True)


def _fingerprint(run: Run) -> dict[str, Any]:
    """What must be the same when a run goes on: data, vocabulary and every key that has to do with numbers."""
    dump = run.config.model_dump(mode="json", exclude={"logging": True, "experiment": {"output_dir", "name"}})
    dump["training"].pop("checkpoint_interval_minutes")
    data = {name: data.fingerprint for name, data in run.splits.items()}
    return {"config": dump, "data": data, "vocabulary": run.tokenizer.fingerprint}


def _resume(checkpoints: Checkpoints, state: Any, fingerprint: dict[str, Any]):
    notes: list[str] = []
    restored = checkpoints.restore(state, notes)
    for note in notes:
        _say(note)
    if restored is None:
        return None
    arrays, position = restored
    before = _flat(position.pop("fingerprint"))
    now = _flat(fingerprint)
    changed = [
        f"{key}: {before.get(key)} before, {now.get(key)} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            "\n  ".join(["this run was begun with other settings or data, and cannot go on with these:", *changed])
            + "\nUndo the change, start over with --fresh, or make a new experiment."
        )
    return jax.tree.map(jnp.asarray, arrays), Position(**position)


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{path}.{key}".lstrip(".")).items()}


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
