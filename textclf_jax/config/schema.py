"""The typed configuration of a run: a frozen section for each topic, and every rule beside the keys it is about.

`config/file.py` reads config files and overrides, and gives errors their line numbers.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from textclf_jax.config.data import Data
from textclf_jax.config.scores import PRETRAINING_SCORES, classification_scores, multi_label_scores
from textclf_jax.config.section import (
    Count,
    DropoutRate,
    Positive,
    PositiveFloat,
    Probability,
    Section,
    only_chosen,
)
from textclf_jax.config.training import Training

DEFAULT_WRAPPER = "textclf_jax/tokenizer/wordpiece_tokenizer_wrapper.py"


# --- experiment, logging, tokenizer ---------------------------------------------------------------------------


class Experiment(Section):
    name: Annotated[str, Field(min_length=1)]
    kind: Literal["pretraining", "finetuning"]
    output_dir: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42


class Wandb(Section):
    entity: str | None = None
    project: str | None = None
    run_name: str | None = None


class Logging(Section):
    use_wandb: bool = False
    wandb: Wandb = Wandb()
    use_tensorboard: bool = False
    log_interval_updates: Positive = 10
    csv_train_metrics_path: str = "metrics/train/metrics.csv"
    csv_eval_metrics_path: str = "metrics/eval/metrics.csv"
    csv_test_metrics_path: str = "metrics/test/metrics.csv"


class Tokenizer(Section):
    wrapper_path: str = DEFAULT_WRAPPER
    vocab_dir: Annotated[str, Field(min_length=1)]


# --- architecture ---------------------------------------------------------------------------------------------


class Mha(Section):
    """Exact softmax attention."""

    implementation: Literal["auto", "xla", "cudnn"] = "auto"


class Lsh(Section):
    """Locality-sensitive hashing attention (Kitaev et al. 2020, Reformer)."""

    num_hashes: Positive = 2
    chunk_size: Positive = 64
    mask_within_chunks: bool = False
    combine: Literal["mean", "logsumexp"] = "mean"
    variant: Literal["standard", "reference"] = "standard"


class Favor(Section):
    """FAVOR+ kernel attention (Choromanski et al. 2021, Performer)."""

    nb_features: Annotated[int, Field(ge=2)] = 128
    ortho_features: bool = True
    redraw_interval: Count = 0
    phi: Literal["exp", "elu", "relu2"] = "exp"
    stabilize: bool = True
    eps: PositiveFloat = 1e-6

    @model_validator(mode="after")
    def _features_come_in_pairs(self) -> Self:
        if self.phi == "exp" and self.nb_features % 2:
            raise ValueError(f"nb_features {self.nb_features} must be even for phi exp: features are exp(x), exp(-x)")
        return self


class Local(Section):
    """Sliding-window attention with global tokens (Beltagy et al. 2020, Longformer)."""

    window: Positive = 128
    global_tokens: Count = 1
    global_every_n_layers: Count = 0


class Attention(Section):
    kind: Literal["mha", "lsh", "favor", "local"] = "mha"
    num_heads: Positive
    attention_embedding_dim: Positive | None = None
    projection_bias: bool = True
    attn_dropout: DropoutRate = 0.0
    attn_out_dropout: DropoutRate = 0.1
    mha: Mha = Mha()
    lsh: Lsh = Lsh()
    favor: Favor = Favor()
    local: Local = Local()

    @model_validator(mode="before")
    @classmethod
    def _only_the_chosen_kind(cls, data: Any) -> Any:
        kind = data.get("kind", "mha") if isinstance(data, dict) else None
        return only_chosen(data, kind, ("mha", "lsh", "favor", "local"))


class Rope(Section):
    """Rotary positions (Su et al. 2021, RoFormer)."""

    rope_base: PositiveFloat = 10_000.0
    rope_scale: PositiveFloat = 1.0
    variant: Literal["standard", "reference"] = "standard"


class Architecture(Section):
    max_sequence_length: Positive
    embedding_dim: Positive
    num_layers: Positive
    mlp_size: Positive
    mlp_dropout: DropoutRate = 0.1
    embedding_dropout: DropoutRate = 0.1
    type_vocab_size: Count = 0
    pos_encoding: Literal["learned", "sinusoidal", "rope"] = "rope"
    rope: Rope = Rope()
    attention: Attention

    @property
    def attention_dim(self) -> int:
        """The width of queries, keys and values: H * K."""
        return self.attention.attention_embedding_dim or self.embedding_dim

    @property
    def head_dim(self) -> int:
        """K, the size of one head."""
        return self.attention_dim // self.attention.num_heads

    @model_validator(mode="before")
    @classmethod
    def _rope_only_where_chosen(cls, data: Any) -> Any:
        chosen = data.get("pos_encoding", "rope") if isinstance(data, dict) else None
        return only_chosen(data, chosen, ("rope",))

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        heads, width = self.attention.num_heads, self.attention_dim
        key = "attention_embedding_dim" if self.attention.attention_embedding_dim else "embedding_dim"
        if width % heads:
            fitting = [h for h in range(1, width + 1) if width % h == 0]
            near = sorted(sorted(fitting, key=lambda h: abs(h - heads))[:2])
            raise ValueError(
                f"attention.num_heads {heads} does not divide {key} {width}. Use {' or '.join(map(str, near))}."
            )
        if self.pos_encoding == "rope" and self.head_dim % 2:
            raise ValueError(
                f"attention.num_heads {heads} makes the head size {width} / {heads} = {self.head_dim} odd, "
                "but rope rotates pairs of channels"
            )
        if self.pos_encoding == "sinusoidal" and self.embedding_dim % 2:
            raise ValueError(f"sinusoidal positions need an even embedding_dim, not {self.embedding_dim}")
        return self

    # --- heads ----------------------------------------------------------------------------------------------------


class MlmHead(Section):
    mask_p: Probability = 0.15
    mask_token_p: Probability = 0.8
    random_token_p: Probability = 0.1
    random_tokens: Literal["ordinary", "any"] = "ordinary"
    tie_mlm_weights: bool = True
    decoder_bias: bool = False

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        total = self.mask_token_p + self.random_token_p
        if total > 1.0 + 1e-9:
            raise ValueError(
                f"mask_token_p + random_token_p = {total:g}: they are shares of the masked tokens, 1 at most together"
            )
        if self.mask_p == 0.0:
            raise ValueError("mask_p is 0: no token would ever be predicted")
        return self


class Linear(Section):
    """A linear path beside the encoder, on n-grams of tokens (Cheng et al. 2016, Wide & Deep)."""

    enabled: bool = False
    max_n: Annotated[int, Field(ge=1, le=8)] = 2
    max_features: Annotated[int, Field(ge=1, le=2**24)] = 100_000
    inverse_regularisation: PositiveFloat = 10.0
    max_tokens: Positive | None = None


class ClassificationHead(Section):
    num_labels: Annotated[int, Field(ge=2)]
    multi_label: bool = False
    pooling: Literal["cls", "mean", "max", "min", "strided_mean"] = "cls"
    pooling_stride: Positive = 512
    pooler_type: Literal["bert", "roberta"] | None = "bert"
    classifier_dropout: DropoutRate = 0.1
    linear: Linear = Linear()


class PretrainedExperiment(Section):
    path: str | None = None
    checkpoint: str = "model.ckpt"


# --- the two kinds of run -------------------------------------------------------------------------------------


class RunConfig(Section):
    """What pretraining and finetuning have in common."""

    experiment: Experiment
    logging: Logging = Logging()
    tokenizer: Tokenizer
    architecture: Architecture
    training: Training
    data: Data

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        kind = "finetuning" if isinstance(self, FinetuningConfig) else "pretraining"
        if self.experiment.kind != kind:
            raise ValueError(f"experiment.kind is {self.experiment.kind}, but this is a {kind} run")
        if self.training.freeze_n_layers > self.architecture.num_layers:
            raise ValueError(
                f"training.freeze_n_layers {self.training.freeze_n_layers} is more than the "
                f"{self.architecture.num_layers} layers there are"
            )
        return self

    @property
    def scores(self) -> tuple[str, ...]:
        """The metrics that `training.early_stopping.metric` may name."""
        return PRETRAINING_SCORES

    @model_validator(mode="after")
    def _early_stopping_fits(self) -> Self:
        self.training.early_stopping.check(self.scores, has_validation=self.data.val.dataset_path is not None)
        return self


# keys of `training` that a pretraining run has no use for
CLASSIFIER_KEYS = ("layer_lr_decay", "class_weights", "label_smoothing")


class PretrainingConfig(RunConfig):
    mlm_head: MlmHead = MlmHead()

    @model_validator(mode="after")
    def _trains_no_classifier(self) -> Self:
        for name in CLASSIFIER_KEYS:
            if (value := getattr(self.training, name)) != Training.model_fields[name].default:
                raise ValueError(f"training.{name} {value} is for finetuning runs. Take it out.")
        return self


class FinetuningConfig(RunConfig):
    classification_head: ClassificationHead
    pretrained_experiment: PretrainedExperiment = PretrainedExperiment()

    @property
    def scores(self) -> tuple[str, ...]:
        """See `RunConfig`."""
        head = self.classification_head
        return (multi_label_scores if head.multi_label else classification_scores)(head.num_labels)

    @model_validator(mode="after")
    def _each_class_has_a_weight(self) -> Self:
        weights, classes = self.training.class_weights, self.classification_head.num_labels
        if isinstance(weights, tuple) and len(weights) != classes:
            raise ValueError(
                f"training.class_weights has {len(weights)} numbers for the {classes} classes of "
                "classification_head.num_labels. Give each class one, in the order of their numbers."
            )
        return self

    @model_validator(mode="after")
    def _several_labels_have_no_single_target(self) -> Self:
        for name in ("class_weights", "label_smoothing") if self.classification_head.multi_label else ():
            if (value := getattr(self.training, name)) != Training.model_fields[name].default:
                raise ValueError(
                    f"training.{name} {value} is for one label a text, and classification_head.multi_label is true. "
                    "Take it out."
                )
        return self

    @model_validator(mode="after")
    def _resumes_nothing(self) -> Self:
        if self.training.resume.path:
            raise ValueError(
                f"training.resume.path {self.training.resume.path} is for pretraining runs; "
                "pretrained_experiment.path says what finetuning starts from"
            )
        return self
