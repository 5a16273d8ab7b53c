"""What a run says of itself: its facts before it starts, its results at the end."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from textclf_jax.config.schema import RunConfig
from textclf_jax.config.scores import is_lower_better
from textclf_jax.data.collate import padding_waste
from textclf_jax.errors import listed
from textclf_jax.evaluation.mixing import PART_NAMES, score_of_both, score_of_parts
from textclf_jax.observe.progress import print_table, say
from textclf_jax.runs.pretrained import start_path
from textclf_jax.runtime.sharding import DATA, FSDP
from textclf_jax.tasks.metrics import shown
from textclf_jax.training.linear_path import linear_path_facts
from textclf_jax.training.optimizer import group_of, path_names, starts_frozen
from textclf_jax.training.plan import Plan
from textclf_jax.training.predictions import (
    count_predictions,
    prediction_facts,
    prediction_warnings,
    require_training_predictions,
    require_validation_predictions,
)
from textclf_jax.training.schedule import TrainingLength

COMMANDS = {"pretraining": "pretrain", "finetuning": "finetune"}
STILL_FALLING = 0.03  # share of the validation loss (or of what a score lacks) that went in the second half of a run
PART_LABELS = {"encoder": "encoder", "linear": "linear path"}
SHOWN_METRICS = (
    *("loss", "perplexity", "accuracy", "f1_micro", "f1_macro", "f1_samples", "subset_accuracy", "balanced_accuracy"),
    "average_precision_macro",
)


def show_plan(plan: Plan, device: str, *, dry_run: bool) -> None:
    """Prints the facts of a run; those of a dry run include the memory of a step, for which it is compiled.

    Warns of splits with few predictions, or none, and of parts that never learn.

    Raises:
      UserError: training has nothing to predict.
    """
    counts = count_predictions(plan)
    require_training_predictions(plan, counts)
    require_validation_predictions(plan, counts)
    facts = [("device", device), *describe(plan), *prediction_facts(plan, counts)]
    if dry_run:
        held, extra = step_memory(plan)
        what = f"{held / 1e6:,.0f} MB of parameters, optimizer state and batches, {extra / 1e6:,.0f} MB of activations"
        facts.append(("memory" + " of a device" * plan.placement.is_divided, f"{what} (as XLA plans it)"))
    print_table(f"{'dry run of ' * dry_run}{plan.config.experiment.name}", facts, ("what", "value"))
    if dry_run and plan.placement.is_divided:
        print_table("what each device has", division(plan), ("what", "arrays", "how", "MB in all", "MB of a device"))
    say(*prediction_warnings(plan, counts), *learning_warnings(plan), patience_warning(plan))


def describe(plan: Plan) -> list[tuple[str, str]]:
    """The facts of a run before it starts: devices, data, padding, programs, parameters, length."""
    facts = [("devices", str(plan.placement))] if plan.placement.is_divided else []
    for name, data in plan.splits.items():
        tokens = int(data.lengths.sum())
        facts.append((f"{name} data", f"{len(data):,} rows, {tokens:,} real tokens ({data.path})"))
    waste = padding_waste(plan.train.lengths, plan.epoch(0))
    facts.append(("training batches", f"{plan.batching}; {waste:.1%} padding"))
    held_out = [data for name, data in plan.splits.items() if name != "train"]
    if held_out:
        waste = padding_waste(held_out[0].lengths, plan.eval_batching.evaluation(held_out[0].lengths))
        facts.append(("evaluation batches", f"{plan.eval_batching}; {waste:.1%} padding"))
    programs = f"{len(plan.batching.shapes)} training, {len(plan.eval_batching.shapes) * bool(held_out)} evaluation"
    facts.append(("programs to compile", programs))
    parameters = jax.tree.leaves(plan.variable_shapes["params"])
    facts.append(("parameters", f"{sum(leaf.size for leaf in parameters):,}"))
    facts += linear_path_facts(plan)
    facts.append(("length", _length(plan.length)))
    training = plan.config.training
    frozen_first = training.freeze_epochs and (training.freeze_n_layers or training.freeze_embeddings)
    if training.backbone_lr_mult == 0 or frozen_first:
        facts.append(("frozen", _frozen(plan)))
    if (weights := plan.settings.class_weights) is not None:
        names = plan.train.class_names or tuple(map(str, range(len(weights))))
        shown = [f"{name} {weight:.4g}" for name, weight in zip(names, weights, strict=True)]
        facts.append(("class weights", listed(shown, 20)))
    tokenizer = plan.tokenizer
    facts.append(("vocabulary", f"{tokenizer.vocab_size:,} tokens, fingerprint {tokenizer.fingerprint[:12]}"))
    return facts


def _length(length: TrainingLength) -> str:
    is_cut = length.steps < length.steps_per_epoch * length.epochs
    epochs = f"{length.steps / length.steps_per_epoch:.2f}" if is_cut else str(length.epochs)
    steps = f"{length.steps_per_epoch:,} steps an epoch, {epochs} epochs, {length.updates:,} updates"
    return steps + (f" of {length.accumulation} steps each" if length.accumulation > 1 else "")


def learning_warnings(plan: Plan) -> Iterator[str]:
    """Yields a line where the model cannot learn to predict, since a multiplier of its learning rate is 0."""
    training = plan.config.training
    head, _ = _head_and_rest(plan)
    if training.backbone_lr_mult == 0 and (training.head_lr_mult == 0 or not head):
        zeros = "training.backbone_lr_mult" + " and training.head_lr_mult" * bool(head)
        yield f"warning: nothing learns: the learning rate of all parameters is 0. Set {zeros} above 0."
    elif training.head_lr_mult == 0 and head:
        yield (
            f"warning: the classifier, {head:,} parameters, never learns: training.head_lr_mult is 0, so it stays as "
            "it was drawn. Set it above 0; 1 is the usual value."
        )


def patience_warning(plan: Plan) -> str:
    """A line where a run has too few evaluations for `training.early_stopping.patience` to count; empty otherwise."""
    patience, evaluations = plan.config.training.early_stopping.patience, count_evaluations(plan)
    if not patience or patience + 1 < evaluations:
        return ""
    return (
        f"note: training.early_stopping.patience {patience} has no effect: the run has only {evaluations} evaluations. "
        "Lower it, or evaluate more often (training.eval_interval_updates)."
    )


def count_evaluations(plan: Plan) -> int:
    """How often a run is evaluated: after each epoch, at its end, and each `eval_interval_updates`."""
    length, interval = plan.length, plan.config.training.eval_interval_updates * plan.length.accumulation
    steps = {length.last_step, *range(length.steps_per_epoch, length.steps, length.steps_per_epoch)}
    return len(steps.union(range(interval, length.last_step + 1, interval) if interval else ()))


def _head_and_rest(plan: Plan) -> tuple[int, int]:
    """The parameters that `head_lr_mult` is for, and those that `backbone_lr_mult` is for."""
    head = rest = 0
    for path, leaf in jax.tree.leaves_with_path(plan.variable_shapes["params"]):
        is_head = group_of(path_names(path), plan.config.training).is_head
        head, rest = head + leaf.size * is_head, rest + leaf.size * (not is_head)
    return head, rest


def _frozen(plan: Plan) -> str:
    """What learns nothing at first, and until when."""
    training, length, layers = plan.config.training, plan.length, plan.config.architecture.num_layers
    fresh = not (start_path(plan.config) or training.resume.path)
    drawn = ", as drawn: nothing was pretrained" * fresh
    if training.backbone_lr_mult == 0:
        head, rest = _head_and_rest(plan)
        what = "all but the classifier" if head else "the whole model"
        return f"{what}, {rest:,} parameters, for the whole run (training.backbone_lr_mult is 0){drawn}"
    leaves = jax.tree.leaves_with_path(plan.variable_shapes["params"])
    size = sum(leaf.size for path, leaf in leaves if starts_frozen(path_names(path), training))
    what = ["the embeddings"] if training.freeze_embeddings else []
    if count := training.freeze_n_layers:
        what.append(f"all {layers} layers" if count == layers else f"the lowest {count} of {layers} layers")
    if training.freeze_epochs >= length.epochs:
        until = "for the whole run"
    else:
        updates = plan.settings.frozen_steps // length.accumulation
        until = f"for the first {training.freeze_epochs} of {length.epochs} epochs (until update {updates:,})"
    return f"{' and '.join(what)}, {size:,} parameters, {until}{drawn}"


def step_memory(plan: Plan) -> tuple[int, int]:
    """Compiles the training step on the largest batches: bytes of its arguments, and of all that it computes."""
    analysis = plan.training_program(plan.batching.shapes[-1]).memory_analysis()
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes


def division(plan: Plan) -> list[tuple[Any, ...]]:
    """For each part of the train state, and for batches: arrays, how they are divided, MB of all and of a device."""
    state, rows = plan.state_shapes, []
    parts = {"parameters": state.params, "other variables": state.collections, "optimizer state": state.opt_state}
    for name, part in parts.items():
        by_axis: dict[str, list[Any]] = defaultdict(list)
        for leaf in jax.tree.leaves(part):
            by_axis["whole on each" if leaf.sharding.is_fully_replicated else f"by {FSDP}"].append(leaf)
        rows += [(name, len(leaves), how, *_megabytes(leaves)) for how, leaves in sorted(by_axis.items())]
    batch = list(plan.batch_shapes(plan.batching.shapes[-1]).values())
    return [*rows, ("largest batches", len(batch), f"rows by {DATA} and {FSDP}", *_megabytes(batch))]


def _megabytes(leaves: Sequence[Any]) -> tuple[str, str]:
    """Of arrays altogether, and of what one device has of them."""
    sizes = ((leaf.dtype.itemsize, leaf.shape, leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)
    both = [(itemsize * math.prod(shape), itemsize * math.prod(shard)) for itemsize, shape, shard in sizes]
    whole, part = (f"{sum(column) / 1e6:,.3g}" for column in zip(*both, strict=True))
    return whole, part


def show_results(
    which: str,
    place: Mapping[str, int],
    results: Mapping[str, Mapping[str, float]],
    *,
    metric: str | None = None,
) -> None:
    """Prints the main metrics of each split.

    Args:
      which: "best" or "last" model.
      place: `epoch` and `update` it is from; of an imported model nothing.
      results: metrics by split.
      metric: that the model is the best by; None where it is not, or nothing tells.
    """
    if not results:
        return
    wanted = SHOWN_METRICS if metric is None else (*SHOWN_METRICS, metric)
    names = [n for n in shown(wanted, next(iter(results.values()))) if all(n in r for r in results.values())]
    rows = [(split, *(metrics[n] for n in names)) for split, metrics in results.items()]
    by = f", by validation {metric}" if metric else ""
    origin = f" (epoch {place['epoch']}, update {place['update']}{by})" if place else ""
    print_table(f"results of the {which} model{origin}", rows, ("split", *names))


def show_parts(results: Mapping[str, Mapping[str, float]]) -> None:
    """Prints what encoder and linear path give alone and together, by split; nothing without a linear path."""
    rows, score = [], score_of_parts(next(iter(results.values()), {}))
    if score is None:
        return
    for split, metrics in results.items():
        for part in PART_NAMES:
            figures = (metrics[f"{part}_{score}"], metrics[f"{part}_loss"], f"{metrics[f'{part}_weight']:.3f}")
            rows.append((split, f"{PART_LABELS[part]} alone", *figures))
        rows.append((split, "both", score_of_both(metrics), metrics["loss"], ""))
    at_half = " (f1_micro at the threshold 0.5)" if score == "f1_micro" else ""
    print_table(f"what each part gives{at_half}", rows, ("split", "part", score, "loss", "weight"))


def more_epochs(config: RunConfig, name: str, evaluations: Sequence[Mapping[str, float]]) -> str:
    """Says that a run ended while its validation score still became better, and what to try; empty where it did not.

    Args:
      config: of the run.
      name: of its folder.
      evaluations: the rows of its eval CSV file.
    """
    metric = config.training.early_stopping.metric
    falls, key = is_lower_better(metric), f"eval/{metric}"
    scores = [(row["update"], row[key]) for row in evaluations if key in row]
    # of a score that is 1 at best, what it lacks
    losses = [(update, score if falls else 1 - score) for update, score in scores]
    if len(losses) < 2 or not all(losses[-1][1] < loss for _, loss in losses[:-1]):
        return ""
    end, last = losses[-1]
    # the rate has decayed at the end, where any loss is flat
    half_way = next(i for i in reversed(range(len(losses) - 1)) if losses[i][0] <= end / 2 or not i)
    if last > (1 - STILL_FALLING) * losses[half_way][1]:
        return ""
    training, unit = config.training, "epochs"
    longer = f"training.epochs={2 * training.epochs}"
    if training.max_updates is not None:
        # an update of several steps may be left incomplete by twice the epochs
        updates = 2 * training.max_updates - (training.grad_accum_steps > 1)
        longer, unit = f"training.max_updates={updates} {longer}", "updates"
    command = f"textclf {COMMANDS[config.experiment.kind]} {shlex.quote(name)} --fresh --set {longer}"
    return (
        f"note: the validation {metric} was still {'falling' if falls else 'rising'} when the run ended "
        f"({scores[half_way][1]:.4f} half-way, {scores[-1][1]:.4f} at the end). More {unit} may help: {command}; or a "
        f"higher training.learning_rate than {training.learning_rate:g}."
    )


def show_files(files: Mapping[str, Path]) -> None:
    """Prints where a run has left what."""
    print_table("files", [(name, str(path)) for name, path in files.items()], ("what", "path"))
