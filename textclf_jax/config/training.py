"""The `training` section: how long, how fast and by which rules a model is trained."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from textclf_jax.config.scores import EarlyStopping
from textclf_jax.config.section import Count, NonNegativeFloat, Positive, PositiveFloat, Probability, Section


def _class_weights(value: Any) -> Any:
    if value is None or value == "balanced":
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected null, balanced or a list of numbers, got {value!r}")
    for weight in value:
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (is_number and 0 < weight < math.inf):
            raise ValueError(f"{weight!r} is no weight of a class: each must be a number above 0, and finite")
    return tuple(map(float, value))


def _axis_size(value: int) -> int:
    if value != -1 and value < 1:
        raise ValueError(f"{value} is no number of devices: it is 1 or more, or -1 for all that are left")
    return value


ClassWeights = Annotated[Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_class_weights)]


class Resume(Section):
    """Starting a new pretraining run from an earlier one."""

    path: str | None = None
    weights_only: bool = True


AxisSize = Annotated[int, AfterValidator(_axis_size)]


class MeshSizes(Section):
    """How many devices there are along each axis; -1: those that are left."""

    data: AxisSize = -1
    fsdp: AxisSize = 1

    @model_validator(mode="after")
    def _one_is_left(self) -> Self:
        if self.data == self.fsdp == -1:
            raise ValueError(
                "training.mesh.data and training.mesh.fsdp are both -1: only one of them can be what is left. Set the "
                "other to 1."
            )
        return self


class Training(Section):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    mesh: MeshSizes = MeshSizes()
    learning_rate: PositiveFloat
    batch_size: Positive
    epochs: Positive
    max_updates: Positive | None = None
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    schedule: Literal["cosine", "linear", "trapezoid"] = "cosine"
    cooldown_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    min_lr_ratio: Probability = 0.0
    weight_decay: NonNegativeFloat = 0.01
    adam_beta2: Annotated[float, Field(ge=0.0, le=0.9999)] = 0.999  # float32 must tell 1 - beta2 from 0
    max_grad_norm: NonNegativeFloat = 1.0
    grad_accum_steps: Positive = 1
    use_amp: bool = True
    variant: Literal["standard", "reference"] = "standard"
    eval_interval_updates: Count = 0
    checkpoint_interval_updates: Count = 0
    checkpoint_interval_minutes: NonNegativeFloat = 10.0
    profile: Count = 0
    head_lr_mult: NonNegativeFloat = 1.0
    backbone_lr_mult: NonNegativeFloat = 1.0
    layer_lr_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    freeze_epochs: Count = 0
    freeze_n_layers: Count = 0
    freeze_embeddings: bool = False
    class_weights: ClassWeights = None
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    early_stopping: EarlyStopping = EarlyStopping()
    resume: Resume = Resume()

    @model_validator(mode="after")
    def _schedule_is_whole(self) -> Self:
        if self.variant == "reference" and self.schedule != "cosine":
            raise ValueError(
                f"schedule {self.schedule} is not the reference's, which is cosine. Take that, or variant standard."
            )
        if self.schedule != "trapezoid":
            if self.cooldown_ratio != type(self).model_fields["cooldown_ratio"].default:
                raise ValueError(
                    f"cooldown_ratio {self.cooldown_ratio:g} has no effect with schedule {self.schedule}. Set "
                    "schedule to trapezoid, or take cooldown_ratio out."
                )
        elif self.warmup_ratio + self.cooldown_ratio > 1.0 + 1e-9:
            raise ValueError(
                f"cooldown_ratio {self.cooldown_ratio:g} and warmup_ratio {self.warmup_ratio:g} are shares of all "
                "updates, 1 at most together"
            )
        return self

    @model_validator(mode="after")
    def _reference_trains_whole_epochs(self) -> Self:
        if self.max_updates is not None and self.variant == "reference":
            raise ValueError(
                f"max_updates {self.max_updates} cannot end a run of variant reference, which trains whole epochs. Set "
                "max_updates to null, or variant to standard."
            )
        return self
