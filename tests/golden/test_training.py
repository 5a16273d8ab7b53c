"""Schedules, parameter groups and whole training runs against the reference's recorded numbers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import adapters
from tests.golden.test_models import build, hashing
from textclf_jax.config.schema import MlmHead
from textclf_jax.config.training import Training
from textclf_jax.data.masking import gather_predictions
from textclf_jax.evaluation.evaluator import evaluation_step
from textclf_jax.interop.reference import parameter_names, state_dict_from_variables, variables_from_state_dict
from textclf_jax.tasks.metrics import classification_metrics, mlm_metrics
from textclf_jax.training.optimizer import group_of, make_optimizer
from textclf_jax.training.schedule import TrainingLength, make_schedule
from textclf_jax.training.steps import StepSettings, TrainState, train_step

pytestmark = pytest.mark.golden


def training_section(settings: dict[str, Any]) -> Training:
    """Our `training` section in the reference's variant; its `freeze` switch becomes freeze_epochs."""
    data = {"batch_size": 1, "epochs": 1, "variant": "reference", **settings}
    if not data.pop("freeze", False):
        data |= {"freeze_epochs": 0}
    data.pop("loss", None)
    return Training.model_validate(data)


def test_schedules(golden):
    for entry in golden.entries("schedule"):
        config, arrays = entry["config"], golden.load(entry)
        names = ("learning_rate", "min_lr_ratio", "head_lr_mult", "backbone_lr_mult", "weight_decay")
        training = training_section({name: config[name] for name in names})
        # the schema refuses a warm-up of the whole run; the formula is defined for it
        training = training.model_copy(update={"warmup_ratio": config["warmup_ratio"]})
        with jax.enable_x64(True):
            for column, group in enumerate(config["groups"]):
                schedule = jax.jit(
                    make_schedule(training, config["total_steps"], group["lr"] / config["learning_rate"])
                )
                lr = [float(schedule(jnp.float64(k))) for k in range(len(arrays["out/lr"]))]
                np.testing.assert_allclose(lr, arrays["out/lr"][:, column], **entry["tolerance"], err_msg=entry["file"])


def test_parameter_groups(golden):
    (entry,) = golden.entries("param_groups")
    arrays = golden.load(entry)
    for case, config in entry["config"].items():
        architecture, head = adapters.architecture(config["model"]), adapters.head(config)
        training = training_section(config["training"])
        paths = parameter_names(architecture, head)
        for name, index in zip(arrays[f"{case}/param_names"], arrays[f"{case}/group_index"], strict=True):
            group = group_of(paths[str(name)][1:], training)
            rate = training.learning_rate * (training.head_lr_mult if group.is_head else training.backbone_lr_mult)
            assert rate == pytest.approx(arrays[f"{case}/group_lr"][index], rel=1e-12), name
            decay = training.weight_decay if group.decays else 0.0
            assert decay == pytest.approx(arrays[f"{case}/group_weight_decay"][index]), name


def test_trajectories(golden, subtests):
    for entry in golden.entries("trajectory"):
        with subtests.test(entry["file"]):
            Trajectory(entry, golden.load(entry)).check()


class Trajectory:
    """One recorded training run, repeated with our training step."""

    def __init__(self, entry: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.entry, self.arrays, config = entry, arrays, entry["config"]
        self.module, self.architecture, self.head = build(config)
        self.training = training_section(config["training"])
        self.length = TrainingLength(
            config["batches_per_epoch"], config["epochs"], self.training.grad_accum_steps, "reference"
        )
        self.is_mlm = isinstance(self.head, MlmHead)
        # one padded length, and so one program, where padding changes nothing
        widths = {value.shape[1] for key, value in arrays.items() if key.endswith("/input_ids")}
        self.width = None if self.architecture.attention.kind == "lsh" else max(widths)
        self.evaluate = jax.jit(functools.partial(evaluation_step, module=self.module))

    def batch(self, prefix: str) -> dict[str, np.ndarray]:
        ids, mask, labels = (self.arrays[f"{prefix}/{name}"] for name in ("input_ids", "attention_mask", "labels"))
        missing = (self.width or ids.shape[1]) - ids.shape[1]
        padded = np.pad(ids, ((0, 0), (0, missing))).astype(np.int32)
        batch = {"input_ids": padded, "lengths": adapters.lengths(mask)}
        if self.is_mlm:
            labels = np.pad(labels, ((0, 0), (0, missing)), constant_values=-100)
            batch |= gather_predictions(labels, labels.size, np.random.default_rng(0))._asdict()
        else:
            batch |= {"targets": labels.astype(np.int32), "weights": np.ones(len(labels), np.float32)}
        return batch | {"scale": np.float32(1 / max(batch["weights"].sum(), 1))}

    def check(self) -> None:
        start = variables_from_state_dict(adapters.state_dict(self.arrays, "init/"), self.architecture, self.head)
        params = start.pop("params")
        self.settings = StepSettings(
            module=self.module,
            tx=make_optimizer(self.training, self.length, params),
            schedule=make_schedule(self.training, self.length.scheduled_updates, self.training.backbone_lr_mult),
            training=self.training,
            seed=0,
            frozen_steps=self.training.freeze_epochs * self.length.steps_per_epoch,
        )
        step = jax.jit(functools.partial(train_step, settings=self.settings))
        state = TrainState(jnp.int32(0), params, start, self.settings.tx.init(params))
        for i in range(self.length.steps):
            fed = hashing(self.arrays, self.architecture.num_layers, f"lsh/step_{i:02d}/")
            state, sums = step(state.replace(collections=start | fed), self.batch(f"in/step_{i:02d}"))
            self.check_step(i, state, sums)
            if (i + 1) % self.length.steps_per_epoch == 0:
                epoch = i // self.length.steps_per_epoch
                self.check_params(state, f"after_epoch_{epoch:02d}/")
                self.check_evaluation(state, epoch)
        self.check_params(state, "final/")
        assert int(state.opt_state.gradient_step) == self.entry["expected"]["optimizer_updates"]

    def check_step(self, i: int, state: TrainState, sums: dict[str, Any]) -> None:
        tolerance, log = self.entry["tolerance"], {n: self.arrays[f"log/{n}"] for n in ("loss", "grad_norm", "lr")}
        np.testing.assert_allclose(float(sums["loss"] / sums["count"]), log["loss"][i], **tolerance["loss"])
        np.testing.assert_allclose(float(sums["grad_norm"]), log["grad_norm"][i], **tolerance["grad_norm"])
        # the log shows the rate after the step
        after = float(self.settings.schedule(state.opt_state.gradient_step))
        np.testing.assert_allclose(after, log["lr"][i], rtol=1e-5, atol=1e-10)

    def check_params(self, state: TrainState, prefix: str) -> None:
        ours = state_dict_from_variables({"params": state.params, **state.collections}, self.architecture, self.head)
        recorded = adapters.state_dict(self.arrays, prefix)
        assert recorded.keys() == ours.keys()
        for name, value in recorded.items():
            ignored = self.arrays.get(f"adam_sensitive/{name}", np.zeros(value.shape, bool))
            expected = np.where(ignored, ours[name], value)
            np.testing.assert_allclose(ours[name], expected, **self.entry["tolerance"]["params"], err_msg=name)

    def check_evaluation(self, state: TrainState, epoch: int) -> None:
        if not self.entry["expected"]["eval"]:
            return
        recorded = self.entry["expected"]["eval"][epoch]["metrics"]
        folder = epoch if self.is_mlm else 0
        totals, logits, labels = {"loss": 0.0, "correct": 0.0, "count": 0.0}, [], []
        for j in range(self.entry["config"]["val_batches"]):
            batch = self.batch(
                f"in/val_{folder:02d}_{j:02d}"
                if f"in/val_{folder:02d}_{j:02d}/input_ids" in self.arrays
                else f"in/val_{folder:02d}_{j}"
            )
            sums, batch_logits = self.evaluate({"params": state.params, **state.collections}, batch)
            totals = {name: value + float(sums[name]) for name, value in totals.items()}
            logits.append(batch_logits)
            labels.append(batch["targets"])
        if self.is_mlm:
            metrics = mlm_metrics(totals["loss"], totals["correct"], totals["count"])
        else:
            loss = totals["loss"] / totals["count"]
            metrics = classification_metrics(np.concatenate(logits), np.concatenate(labels), loss=loss)
        for name in recorded.keys() & metrics.keys():
            assert metrics[name] == pytest.approx(recorded[name], rel=2e-4, abs=2e-5), name
