"""Everything about a run that is known before it starts: data, batches, length, model; and the report of --dry-run."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from textclf_jax.allocation import return_unused
from textclf_jax.config import FinetuningConfig, RunConfig
from textclf_jax.data.collate import Batching, BatchRows, Bucketed, choose_buckets, padding_waste
from textclf_jax.data.dataset import Dataset, load_dataset
from textclf_jax.data.packing import choices
from textclf_jax.errors import UserError
from textclf_jax.model.residuals import COMPILER_OPTIONS
from textclf_jax.tokenizer.loading import LoadedTokenizer, load_wrapper
from textclf_jax.training.device import compute_precision
from textclf_jax.training.groups import room_for_steps, stacked
from textclf_jax.training.limits import training_limit
from textclf_jax.training.optimizer import TrainingLength, make_optimizer, make_schedule
from textclf_jax.training.programs import Shape
from textclf_jax.training.steps import StepSettings, TrainState, evaluation_step, train_steps
from textclf_jax.training.stream import plan_epoch
from textclf_jax.training.tasks import Task, make_task
from textclf_jax.training.throughput import Throughput

EVALUATION_BUCKETS = 2
SAMPLED_TEXTS = 4096
COST_OF_A_PROGRAM = 0.05  # of compiling one more, as a share of an epoch's operations


@dataclass(frozen=True)
class Run:
    """A run before its first step.

    Attributes:
      config: the typed configuration.
      root: the folder that relative paths start from.
      tokenizer: the vocabulary, and the masking of MLM.
      task: MLM or classification.
      train, val, test: checked data; val and test may be absent.
      batching, eval_batching: how texts become batches of training and evaluation.
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
    batching: Batching
    eval_batching: Batching
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

    @functools.cached_property
    def variable_shapes(self) -> dict[str, Any]:
        """Shapes and dtypes of the variables."""
        return jax.eval_shape(self._draw, self._seed)

    @functools.cached_property
    def settings(self) -> StepSettings:
        """What a training step needs besides state and batch."""
        training = self.config.training
        return StepSettings(
            module=self.module,
            tx=make_optimizer(training, self.length, self.variable_shapes["params"]),
            schedule=make_schedule(training, self.length.scheduled_updates, training.backbone_lr_mult),
            training=training,
            seed=self.config.experiment.seed,
            frozen_steps=training.freeze_epochs * self.length.steps_per_epoch,
        )

    @functools.cached_property
    def state_shapes(self) -> TrainState:
        """Shapes and dtypes of the train state."""
        return jax.eval_shape(self._first_state, self.variable_shapes)

    @property
    def _seed(self) -> np.uint32:
        return np.uint32(self.config.experiment.seed)

    @functools.cached_property
    def _draw(self) -> Any:
        # all in one program: what JAX does one by one are programs, too, of a megabyte or more each
        def draw(seed):
            key = jax.random.fold_in(jax.random.key(seed), 0)
            return self.module.init(key, jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32))

        return jax.jit(draw)

    def init_variables(self) -> dict[str, Any]:
        """Draws fresh variables from the seed; float32."""
        variables = jax.block_until_ready(self._draw(self._seed))
        self._draw.clear_cache()
        return_unused()
        return variables

    def init_state(self, variables: dict[str, Any]) -> TrainState:
        """The state before the first step."""
        # written to before what is unused is returned: small pages would stay small
        state = jax.block_until_ready(self._first_state(variables))
        return_unused()
        return state

    def _first_state(self, variables: dict[str, Any]) -> TrainState:
        collections = {name: tree for name, tree in variables.items() if name != "params"}
        params = variables["params"]
        step, opt_state = jax.jit(lambda params: (jnp.zeros((), jnp.int32), self.settings.tx.init(params)))(params)
        return TrainState(step, params, collections, opt_state)

    def training_program(self, shape: Shape) -> Any:
        """Compiles the training steps on batches of a shape: as many as are taken at once; the state is donated."""
        steps = functools.partial(train_steps, settings=self.settings)
        # traces tell programs apart by their names
        steps.__name__ = f"train_steps_{shape[0]}x{shape[1]}"  # pyright: ignore[reportAttributeAccessIssue]
        steps: Any = jax.jit(steps, donate_argnums=0)
        arrays = self.task.batch(None, self.batching.empty(shape), (0,)) | {"scale": np.zeros((), np.float32)}
        batches = stacked([arrays] * room_for_steps())
        options = COMPILER_OPTIONS.get(jax.default_backend())
        program = steps.lower(self.state_shapes, _shapes(batches), _shapes(np.int32(0))).compile(options)
        steps.clear_cache()
        return program

    def evaluation_program(self, shape: Shape) -> Any:
        """Compiles the evaluation step for a shape of batches."""
        return compile_evaluation(self.task, self.module, self.eval_batching.empty(shape), self.variable_shapes)

    def throughput(self) -> Throughput:
        """Counts the speed of training; measures the limit of a CPU, which takes a few tenths of a second."""
        limit = training_limit(compute_precision(self.config.training))
        return Throughput(functools.partial(self.task.flops, train=True), limit)


def compile_evaluation(task: Task, module: nn.Module, empty: BatchRows, variables: Any) -> Any:
    """Compiles the evaluation step of a model for batches of the shape of an empty one."""
    step = jax.jit(functools.partial(evaluation_step, module=module))
    return step.lower(_shapes(variables), _shapes(task.batch(None, empty, (0,)))).compile()


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
    in_order = not config.data.train.shuffle
    batching = choose_batching(task, train.lengths, config.data.num_length_buckets, in_order=in_order)
    held_out = np.concatenate([data.lengths for data in (val, test) if data is not None] or [train.lengths])
    eval_batching = choose_batching(task, held_out, EVALUATION_BUCKETS)
    # made once here, so that masking code of the user's own fails before anything compiles
    task.batch(train, batching.evaluation(train.lengths[: training.batch_size])[0], (0,))
    module = task.module(compute_precision(training))
    return Run(config, root, tokenizer, task, train, val, test, batching, eval_batching, length, module)


def choose_batching(
    task: Task, lengths: Int[np.ndarray, " N"], num_buckets: int, *, in_order: bool = False
) -> Batching:
    """Chooses between one text a row and several, by the arithmetic that an epoch takes and the programs it needs.

    Several need exact attention, which can tell them apart, and are not for GPUs, whose flash attention cannot.

    Args:
      task: what is trained.
      lengths: [N] tokens of each text.
      num_buckets: the most lengths that rows are padded to with one text each.
      in_order: the texts must stay in their order.
    """
    config = task.config
    size, architecture = config.training.batch_size, config.architecture
    bucketed = Bucketed(size, choose_buckets(lengths, architecture.max_sequence_length, num_buckets))
    packs = config.data.packing and architecture.attention.kind == "mha" and config.training.variant == "standard"
    if not packs or in_order or jax.default_backend() == "gpu":
        return bucketed

    # enough to know: batches are alike
    sample = np.random.default_rng(0).permutation(lengths)[: max(SAMPLED_TEXTS, size)]

    def cost(batching: Batching) -> float:
        shapes = [batch.shape for batch in batching.evaluation(sample)]
        flops = sum(task.flops(shape, train=True) for shape in shapes)
        return flops * (1 + COST_OF_A_PROGRAM * (len(set(shapes)) - 1))

    return min(bucketed, *choices(sample, size), key=cost)


def describe(run: Run) -> list[tuple[str, str]]:
    """The facts of a run before it starts: data, padding, programs, parameters, length."""
    facts = []
    for name, data in run.splits.items():
        tokens = int(data.lengths.sum())
        facts.append((f"{name} data", f"{len(data):,} rows, {tokens:,} real tokens ({data.path})"))
    k = run.length.accumulation
    waste = padding_waste(run.train.lengths, plan_epoch(run.task, run.train, run.batching, 0))
    facts.append(("training batches", f"{run.batching}; {waste:.1%} padding"))
    evaluated = [data for data in (run.val, run.test) if data is not None]
    if evaluated:
        waste = padding_waste(evaluated[0].lengths, run.eval_batching.evaluation(evaluated[0].lengths))
        facts.append(("evaluation batches", f"{run.eval_batching}; {waste:.1%} padding"))
    programs = f"{len(run.batching.shapes)} training, {len(run.eval_batching.shapes) * bool(evaluated)} evaluation"
    facts.append(("programs to compile", programs))
    parameters = jax.tree.leaves(run.variable_shapes["params"])
    facts.append(("parameters", f"{sum(leaf.size for leaf in parameters):,}"))
    steps = f"{run.length.steps_per_epoch:,} steps an epoch, {run.config.training.epochs} epochs"
    facts.append(("length", f"{steps}, {run.length.updates:,} updates" + (f" of {k} steps each" if k > 1 else "")))
    facts.append(("vocabulary", f"{run.tokenizer.vocab_size:,} tokens, fingerprint {run.tokenizer.fingerprint[:12]}"))
    return facts


def memory_estimate(run: Run) -> str:
    """Says what XLA allocates for the training step of the largest batches."""
    held, extra = step_memory(run)
    return (
        f"{held / 1e6:,.0f} MB of parameters, optimizer state and batches, {extra / 1e6:,.0f} MB of activations "
        "(as XLA plans it)"
    )


def step_memory(run: Run) -> tuple[int, int]:
    """Compiles the training steps on the largest batches: bytes of their arguments, and of all that they compute."""
    analysis = run.training_program(run.batching.shapes[-1]).memory_analysis()
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
