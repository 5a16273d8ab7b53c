"""Everything about a run that is known before it starts: data, buckets, lengths, model; and the report of --dry-run."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from textclf_jax.config import FinetuningConfig, RunConfig
from textclf_jax.data.collate import BatchRows, choose_buckets, evaluation_batches, padding_waste
from textclf_jax.data.dataset import Dataset, load_dataset
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import LoadedTokenizer, load_wrapper
from textclf_jax.training.device import compute_precision
from textclf_jax.training.limits import training_limit
from textclf_jax.training.optimizer import TrainingLength, make_optimizer, make_schedule
from textclf_jax.training.steps import StepSettings, TrainState, evaluation_step, train_step
from textclf_jax.training.stream import plan_epoch
from textclf_jax.training.tasks import Task, make_task
from textclf_jax.training.throughput import Throughput

EVALUATION_BUCKETS = 2


@dataclass(frozen=True)
class Run:
    """A run before its first step.

    Attributes:
      config: the typed configuration.
      root: the folder that relative paths start from.
      tokenizer: the vocabulary, and the masking of MLM.
      task: MLM or classification.
      train, val, test: checked data; val and test may be absent.
      buckets, eval_buckets: padded lengths of training and evaluation batches.
      length: steps and updates.
      module: the model.
    """

    config: RunConfig
    root: Path
    tokenizer: LoadedTokenizer
    task: Task
    train: Dataset
    val: Dataset | None
    test: Dataset | None
    buckets: tuple[int, ...]
    eval_buckets: tuple[int, ...]
    length: TrainingLength
    module: nn.Module

    @property
    def splits(self) -> dict[str, Dataset]:
        """The data there is, by split."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: data for name, data in splits.items() if data is not None}

    @property
    def vocabulary_files(self) -> list[Path]:
        """The files of the vocabulary's folder, and of the user's tokenizer wrapper where there is one."""
        folder = self.root / self.config.tokenizer.vocab_dir
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return [*files, self.tokenizer.source] if self.tokenizer.source else files

    @property
    def notes(self) -> list[str]:
        """What the user should know about the data."""
        return [note for data in self.splits.values() for note in data.notes]

    def init_variables(self) -> dict[str, Any]:
        """Draws fresh variables from the seed; float32."""
        ids, lengths = jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32)
        key = jax.random.fold_in(jax.random.key(self.config.experiment.seed), 0)
        return jax.jit(self.module.init)(key, ids, lengths)  # pyright: ignore[reportReturnType]

    def step_settings(self, params: Any) -> StepSettings:
        training = self.config.training
        return StepSettings(
            module=self.module,
            tx=make_optimizer(training, self.length, params),
            schedule=make_schedule(training, self.length.scheduled_updates, training.backbone_lr_mult),
            training=training,
            seed=self.config.experiment.seed,
            frozen_steps=training.freeze_epochs * self.length.steps_per_epoch,
        )

    def init_state(self, variables: dict[str, Any], settings: StepSettings) -> TrainState:
        collections = {name: tree for name, tree in variables.items() if name != "params"}
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, collections, settings.tx.init(params))

    def training_program(self, bucket: int, state: TrainState, settings: StepSettings) -> Any:
        """Compiles the training step for a bucket; the state is donated."""
        step = functools.partial(train_step, settings=settings)
        # traces tell programs apart by their names
        step.__name__ = f"train_step_{bucket}"  # pyright: ignore[reportAttributeAccessIssue]
        step = jax.jit(step, donate_argnums=0)
        arrays = _empty_batch(self.task, bucket) | {"scale": np.float32(0)}
        return step.lower(_shapes(state), _shapes(arrays)).compile()

    def throughput(self) -> Throughput:
        """Counts the speed of training; measures the limit of a CPU, which takes a few tenths of a second."""
        flops = {bucket: self.task.flops(bucket, train=True) for bucket in self.buckets}
        limit = training_limit(compute_precision(self.config.training))
        return Throughput(self.config.training.batch_size, flops.__getitem__, limit)

    def evaluation_program(self, bucket: int, variables: Any) -> Any:
        """Compiles the evaluation step for a bucket."""
        return compile_evaluation(self.task, self.module, bucket, variables)


def compile_evaluation(task: Task, module: nn.Module, bucket: int, variables: Any) -> Any:
    """Compiles the evaluation step of a model for batches of one length."""
    step = jax.jit(functools.partial(evaluation_step, module=module))
    return step.lower(_shapes(variables), _shapes(_empty_batch(task, bucket))).compile()


def _empty_batch(task: Task, bucket: int) -> dict[str, np.ndarray]:
    return task.batch(None, BatchRows(np.zeros(0, np.int64), bucket), (0,))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)


def prepare_run(config: RunConfig, root: Path) -> Run:
    """Loads tokenizer and data, checks them, and plans the run. Nothing is compiled or written.

    Args:
      config: the configuration.
      root: the folder that relative paths start from.

    Raises:
      UserError: anything about tokenizer or data that would go wrong later.
    """
    tokenizer = load_wrapper(config.tokenizer.wrapper_path, config.tokenizer.vocab_dir, root=root)
    num_labels = config.classification_head.num_labels if isinstance(config, FinetuningConfig) else None
    max_length = config.architecture.max_sequence_length

    def load(path: str | None) -> Dataset | None:
        if not path:
            return None
        return load_dataset(
            root / path,
            vocab_size=tokenizer.vocab_size,
            pad_id=tokenizer.pad_id,
            max_length=max_length,
            num_labels=num_labels,
        )

    train = load(config.data.train.dataset_path)
    assert train is not None
    val, test = load(config.data.val.dataset_path), load(config.data.test.dataset_path)
    task = make_task(config, tokenizer)
    training = config.training
    steps = -(-len(train) // training.batch_size)
    length = TrainingLength(steps, training.epochs, training.grad_accum_steps, training.variant)
    if length.updates == 0:
        raise UserError(f"{steps} steps an epoch are fewer than training.grad_accum_steps: there would be no update")
    buckets = choose_buckets(train.lengths, max_length, config.data.num_length_buckets)
    held_out = [data.lengths for data in (val, test) if data is not None]
    eval_buckets = choose_buckets(np.concatenate(held_out), max_length, EVALUATION_BUCKETS) if held_out else ()
    # made once here, so that masking code of the user's own fails before anything compiles
    task.batch(train, BatchRows(np.arange(min(len(train), training.batch_size)), buckets[-1]), (0,))
    module = task.module(compute_precision(training))
    return Run(config, root, tokenizer, task, train, val, test, buckets, eval_buckets, length, module)


def describe(run: Run) -> list[tuple[str, str]]:
    """The facts of a run before it starts: data, padding, programs, parameters, length."""
    facts = []
    for name, data in run.splits.items():
        tokens = int(data.lengths.sum())
        facts.append((f"{name} data", f"{len(data):,} rows, {tokens:,} real tokens ({data.path})"))
    size, k = run.config.training.batch_size, run.length.accumulation
    waste = padding_waste(run.train.lengths, plan_epoch(run.task, run.train, run.buckets, 0), size)
    facts.append(("training batches", f"{size} rows x {', '.join(map(str, run.buckets))} tokens; {waste:.1%} padding"))
    if run.eval_buckets and run.val is not None:
        plans = evaluation_batches(run.val.lengths, batch_size=size, buckets=run.eval_buckets)
        waste = padding_waste(run.val.lengths, plans, size)
        lengths = ", ".join(map(str, run.eval_buckets))
        facts.append(("evaluation batches", f"{size} rows x {lengths} tokens; {waste:.1%} padding"))
    facts.append(("programs to compile", f"{len(run.buckets)} training, {len(run.eval_buckets)} evaluation"))
    shapes = jax.eval_shape(run.init_variables)
    facts.append(("parameters", f"{sum(leaf.size for leaf in jax.tree.leaves(shapes['params'])):,}"))
    steps = f"{run.length.steps_per_epoch:,} steps an epoch, {run.config.training.epochs} epochs"
    facts.append(("length", f"{steps}, {run.length.updates:,} updates" + (f" of {k} steps each" if k > 1 else "")))
    facts.append(("vocabulary", f"{run.tokenizer.vocab_size:,} tokens, fingerprint {run.tokenizer.fingerprint[:12]}"))
    return facts


def memory_estimate(run: Run) -> str:
    """Says what XLA allocates for the training step of the longest bucket."""
    held, extra = step_memory(run)
    return (
        f"{held / 1e6:,.0f} MB of parameters, optimizer state and batch, {extra / 1e6:,.0f} MB of activations "
        "(as XLA plans it)"
    )


def step_memory(run: Run) -> tuple[int, int]:
    """Compiles the training step of the longest bucket: bytes of its arguments, and of all that it computes."""
    shapes = jax.eval_shape(run.init_variables)
    settings = run.step_settings(shapes["params"])
    state = jax.eval_shape(functools.partial(run.init_state, settings=settings), shapes)
    analysis = run.training_program(run.buckets[-1], state, settings).memory_analysis()
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes


ProgramMaker = Callable[[int], Any]


def compile_programs(
    kind: str, buckets: tuple[int, ...], make: ProgramMaker, note: Callable[[str], None]
) -> dict[int, Any]:
    """Compiles one program a bucket, saying which."""
    programs = {}
    for i, bucket in enumerate(buckets):
        note(f"compiling {kind} program {i + 1} of {len(buckets)} (length {bucket})")
        programs[bucket] = make(bucket)
    return programs
