"""Everything about a run that is known before its first step: data, batches, length, model, optimizer."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from textclf_jax.config.schema import RunConfig
from textclf_jax.data.collate import Batching, BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.joining import Joined
from textclf_jax.data.packing import Packed
from textclf_jax.data.splits import load_splits, with_tokens_read
from textclf_jax.evaluation.evaluator import evaluation_program
from textclf_jax.runs.record import record_of
from textclf_jax.runs.resuming import fingerprint_of
from textclf_jax.runtime.device import compute_precision, device_notes, require_flash_attention
from textclf_jax.runtime.programs import Shape, compiled, shapes_of
from textclf_jax.runtime.sharding import Placement, place_on
from textclf_jax.tasks import Task, make_task
from textclf_jax.tokenizer.loading import LoadedTokenizer, load_wrapper, require_pad_first
from textclf_jax.training.batches import plan_epoch
from textclf_jax.training.batching import EVALUATION_BUCKETS, choose_batching, padding_note
from textclf_jax.training.class_weights import class_weights
from textclf_jax.training.optimizer import make_optimizer
from textclf_jax.training.schedule import TrainingLength, make_schedule, training_length
from textclf_jax.training.steps import StepSettings, TrainState, initial_state, train_step


@dataclass(frozen=True)
class Plan:
    """A run before its first step.

    Attributes:
      config: the typed configuration.
      root: the folder that relative paths start from.
      tokenizer: the vocabulary, and the masking of MLM.
      task: MLM or classification.
      splits: checked data, "train" and what there is of "val" and "test".
      batching, eval_batching: how texts become batches of training and evaluation.
      length: steps and updates.
      variable_shapes: shapes and dtypes of the model's variables.
      settings: what a training step needs, the model among it.
      placement: the devices, and what each of them has.
    """

    config: RunConfig
    root: Path
    tokenizer: LoadedTokenizer
    task: Task
    splits: dict[str, Dataset]
    batching: Batching
    eval_batching: Batching
    length: TrainingLength
    variable_shapes: dict[str, Any]
    settings: StepSettings
    placement: Placement

    @property
    def train(self) -> Dataset:
        """The training split."""
        return self.splits["train"]

    @property
    def val(self) -> Dataset | None:
        """The validation split, where there is one."""
        return self.splits.get("val")

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self.settings.module

    def epoch(self, number: int) -> list[BatchRows]:
        """The batches of an epoch of training, by its number from 0."""
        return plan_epoch(self.task, self.train, self.batching, number) if number else self._first_epoch

    @functools.cached_property
    def _first_epoch(self) -> list[BatchRows]:
        # several ask for it before the first step, and to plan packed rows takes a while
        return plan_epoch(self.task, self.train, self.batching, 0)

    @functools.cached_property
    def state_shapes(self) -> TrainState:
        """Shapes and dtypes of the train state; on several devices with where its arrays lie."""
        shapes = jax.eval_shape(functools.partial(initial_state, tx=self.settings.tx), self.variable_shapes)
        return self.placement.of_state(shapes)

    @property
    def notes(self) -> list[str]:
        """What the user should know about device, tokenizer, data and batches."""
        of_data = (note for data in self.splits.values() for note in data.notes)
        return [*device_notes(self.config), *self.tokenizer.notes, *of_data, *self._notes_on_rows()]

    def _notes_on_rows(self) -> list[str]:
        placement = self.placement
        return [*padding_note(self.config, divided=placement.is_divided), *placement.notes(self.batching.shapes)]

    def training_flops(self, shape: Shape) -> int:
        """FLOPs of the matrix products of a training step on a batch of a shape."""
        return self.task.flops(shape, train=True, keys=self.batching.keys)

    def evaluation_flops(self, shape: Shape) -> int:
        """FLOPs of the matrix products of an evaluation step on a batch of a shape."""
        return self.task.flops(shape, train=False, keys=self.eval_batching.keys)

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same when the run is resumed."""
        data = {name: data.fingerprint for name, data in self.splits.items()}
        # end to end, texts are in other batches
        packed = "end to end" if isinstance(self.batching, Joined) else isinstance(self.batching, Packed)
        return fingerprint_of(self.config, data, self.tokenizer.fingerprint, packed=packed)

    def record(self) -> dict[str, Any]:
        """What the result depends on, for `record.json` and the model."""
        return record_of(self.config, self.tokenizer, self.splits, self.root)

    def draw_variables(self) -> dict[str, Any]:
        """Draws fresh variables from the seed; float32."""
        # one program for all: drawn one by one, each array would be a program, too, of a megabyte or more
        seed = np.uint32(self.config.experiment.seed)
        where = self.placement.shardings(self.variable_shapes)
        return compiled(functools.partial(_draw, self.module), shapes_of(seed), results=where)(seed)

    def initial_state(self, variables: dict[str, Any]) -> TrainState:
        """The state before the first step, around these variables."""
        # compiled: the moments are then written once, and need not be there while the first program is compiled
        placement = self.placement
        variables = placement.put_state(variables) if placement.is_divided else variables
        rest = compiled(
            lambda params: initial_state({"params": params}, self.settings.tx).replace(params=None),
            placement.of_state(shapes_of(variables["params"])),
            results=placement.shardings(self.state_shapes.replace(params=None, collections={})),
        )
        collections = {name: tree for name, tree in variables.items() if name != "params"}
        return rest(variables["params"]).replace(params=variables["params"], collections=collections)

    def training_program(self, shape: Shape) -> Any:
        """Compiles the training step on batches of a shape; the program overwrites the state it is given."""
        step = functools.partial(train_step, settings=self.settings)
        name = f"train_step_{shape[0]}x{shape[1]}"
        state, batch, placement = self.state_shapes, self.batch_shapes(shape), self.placement
        where = (placement.shardings(state), placement.everywhere) if placement.is_divided else None
        return compiled(step, state, batch, name=name, donate=(0,), mesh=placement.mesh, results=where)

    def batch_shapes(self, shape: Shape) -> dict[str, Any]:
        """Shapes and dtypes of the arrays of a training batch; on several devices with where they lie."""
        batch = self.task.batch(None, self.batching.empty(shape), (0,)) | {"scale": np.zeros((), np.float32)}
        return self.placement.of_batch(shapes_of(batch))

    def evaluation_program(self, shape: Shape) -> Any:
        """Compiles the evaluation step on batches of a shape."""
        empty = self.eval_batching.empty(shape)
        return evaluation_program(self.task, self.module, empty, self.variable_shapes, self.placement)


def _draw(module: nn.Module, seed: Any) -> Any:
    key = jax.random.fold_in(jax.random.key(seed), 0)
    return module.init(key, jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32))


def make_plan(config: RunConfig, root: Path) -> Plan:
    """Loads tokenizer and data, checks them, and plans the run. Nothing is compiled or written.

    Args:
      config: the configuration.
      root: the folder that relative paths start from.

    Raises:
      UserError: anything about device, tokenizer or data that would go wrong later.
    """
    require_flash_attention(config)
    placement = place_on(config.training.mesh)
    tokenizer = load_wrapper(config.tokenizer.wrapper_path, config.tokenizer.vocab_dir, root=root)
    require_pad_first(tokenizer.pad_id, tokenizer.source or config.tokenizer.vocab_dir)
    splits = load_splits(config, tokenizer, root)
    config = with_tokens_read(config, splits["train"])
    task, training, lengths = make_task(config, tokenizer), config.training, splits["train"].lengths
    length = training_length(training, len(lengths))
    divided = placement.is_divided
    batching = choose_batching(task, lengths, config.data.num_length_buckets, train=True, divided=divided)
    held_out = [data.lengths for name, data in splits.items() if name != "train"]
    held_out = np.concatenate(held_out or [lengths])
    eval_batching = choose_batching(task, held_out, EVALUATION_BUCKETS, train=False, divided=divided)
    # made once here, so that masking code of the user's own fails before anything compiles
    task.batch(splits["train"], batching.evaluation(lengths[: training.batch_size])[0], (0,))
    module = task.module(compute_precision(training))
    shapes = jax.eval_shape(functools.partial(_draw, module), np.uint32(0))
    settings = step_settings(config, module, length, shapes["params"], splits["train"])
    return Plan(config, root, tokenizer, task, splits, batching, eval_batching, length, shapes, settings, placement)


def step_settings(
    config: RunConfig, module: nn.Module, length: TrainingLength, params: Any, train: Dataset
) -> StepSettings:
    """What the training step of a run needs; `params` may be shapes."""
    training, weights = config.training, class_weights(config, train)
    return StepSettings(
        module=module,
        tx=make_optimizer(training, length, params),
        schedule=make_schedule(training, length.scheduled_updates, training.backbone_lr_mult),
        training=training,
        seed=config.experiment.seed,
        frozen_steps=training.freeze_epochs * length.steps_per_epoch,
        class_weights=None if weights is None else tuple(weights.tolist()),
    )
