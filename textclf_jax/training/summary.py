"""What a run says of itself: its facts before it starts, its results at the end."""

from collections.abc import Mapping
from pathlib import Path

import jax

from textclf_jax.data.collate import padding_waste
from textclf_jax.observe.progress import print_table
from textclf_jax.training.batches import plan_epoch
from textclf_jax.training.plan import Plan
from textclf_jax.training.predictions import count_predictions, prediction_facts, prediction_warnings

SHOWN_METRICS = ("loss", "perplexity", "accuracy", "f1_macro", "balanced_accuracy")


def show_plan(plan: Plan, device: str, *, dry_run: bool) -> None:
    """Prints the facts of a run; those of a dry run include the memory of a step, for which it is compiled.

    Warns of splits with few predictions, or none.
    """
    counts = count_predictions(plan)
    facts = [("device", device), *describe(plan), *prediction_facts(plan, counts)]
    if dry_run:
        held, extra = step_memory(plan)
        what = f"{held / 1e6:,.0f} MB of parameters, optimizer state and batches, {extra / 1e6:,.0f} MB of activations"
        facts.append(("memory", f"{what} (as XLA plans it)"))
    print_table(f"{'dry run of ' * dry_run}{plan.config.experiment.name}", facts, ("what", "value"))
    for line in prediction_warnings(plan, counts):
        print(line, flush=True)


def describe(plan: Plan) -> list[tuple[str, str]]:
    """The facts of a run before it starts: data, padding, programs, parameters, length."""
    facts = []
    for name, data in plan.splits.items():
        tokens = int(data.lengths.sum())
        facts.append((f"{name} data", f"{len(data):,} rows, {tokens:,} real tokens ({data.path})"))
    waste = padding_waste(plan.train.lengths, plan_epoch(plan.task, plan.train, plan.batching, 0))
    facts.append(("training batches", f"{plan.batching}; {waste:.1%} padding"))
    held_out = [data for name, data in plan.splits.items() if name != "train"]
    if held_out:
        waste = padding_waste(held_out[0].lengths, plan.eval_batching.evaluation(held_out[0].lengths))
        facts.append(("evaluation batches", f"{plan.eval_batching}; {waste:.1%} padding"))
    programs = f"{len(plan.batching.shapes)} training, {len(plan.eval_batching.shapes) * bool(held_out)} evaluation"
    facts.append(("programs to compile", programs))
    parameters = jax.tree.leaves(plan.variable_shapes["params"])
    facts.append(("parameters", f"{sum(leaf.size for leaf in parameters):,}"))
    k, epochs = plan.length.accumulation, plan.length.epochs
    steps = f"{plan.length.steps_per_epoch:,} steps an epoch, {epochs} epochs, {plan.length.updates:,} updates"
    facts.append(("length", steps + (f" of {k} steps each" if k > 1 else "")))
    tokenizer = plan.tokenizer
    facts.append(("vocabulary", f"{tokenizer.vocab_size:,} tokens, fingerprint {tokenizer.fingerprint[:12]}"))
    return facts


def step_memory(plan: Plan) -> tuple[int, int]:
    """Compiles the training step on the largest batches: bytes of its arguments, and of all that it computes."""
    analysis = plan.training_program(plan.batching.shapes[-1]).memory_analysis()
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes


def show_results(which: str, place: Mapping[str, int], results: Mapping[str, Mapping[str, float]]) -> None:
    """Prints the main metrics of each split.

    Args:
      which: "best" or "last" model.
      place: `epoch` and `update` it is from; of an imported model nothing.
      results: metrics by split.
    """
    if not results:
        return
    names = [n for n in SHOWN_METRICS if all(n in r for r in results.values())]
    rows = [(split, *(metrics[n] for n in names)) for split, metrics in results.items()]
    origin = f" (epoch {place['epoch']}, update {place['update']})" if place else ""
    print_table(f"results of the {which} model{origin}", rows, ("split", *names))


def show_files(files: Mapping[str, Path]) -> None:
    """Prints where a run has left what."""
    print_table("files", [(name, str(path)) for name, path in files.items()], ("what", "path"))
