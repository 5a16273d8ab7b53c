"""The rules of the schema, each with a value that breaks it and the words that say so."""

from typing import Any

import pytest
from pydantic import ValidationError

from textclf_jax.config.schema import (
    Architecture,
    Attention,
    ClassificationHead,
    Favor,
    FinetuningConfig,
    MlmHead,
    PretrainingConfig,
)
from textclf_jax.config.training import Training

ARCHITECTURE: dict[str, Any] = {
    "max_sequence_length": 16,
    "embedding_dim": 8,
    "num_layers": 2,
    "mlp_size": 16,
    "attention": {"num_heads": 2},
}
TRAINING: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 1}


def pretraining(**sections: Any) -> dict[str, Any]:
    return {
        "experiment": {"name": "x", "kind": "pretraining", "output_dir": "experiments/pretraining/x"},
        "tokenizer": {"vocab_dir": "vocab"},
        "architecture": ARCHITECTURE,
        "training": TRAINING,
        "data": {"train": {"dataset_path": "train.pt"}},
        **sections,
    }


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        (Architecture, ARCHITECTURE | {"embedding_dim": 0}, "greater than or equal"),
        (Architecture, ARCHITECTURE | {"mlp_dropout": 1.0}, "less than 1"),
        (Architecture, ARCHITECTURE | {"attention": {"num_heads": 3}}, "3 does not divide embedding_dim 8. Use 2 or 4"),
        (Architecture, ARCHITECTURE | {"attention": {"num_heads": 8}}, "head size 8 / 8 = 1 odd"),
        (
            Architecture,
            ARCHITECTURE | {"attention": {"num_heads": 5, "attention_embedding_dim": 12}},
            "attention_embedding_dim 12. Use 4 or 6",
        ),
        (
            Architecture,
            ARCHITECTURE | {"embedding_dim": 9, "pos_encoding": "sinusoidal", "attention": {"num_heads": 3}},
            "even embedding_dim",
        ),
        (Favor, {"nb_features": 7}, "must be even"),
        (Training, TRAINING | {"warmup_ratio": 1.0}, "less than 1"),
        (Training, TRAINING | {"batch_size": 0}, "greater than or equal"),
        (Training, TRAINING | {"epochs": 1.0}, "valid integer"),
        (Training, TRAINING | {"epochs": True}, "valid integer"),
        (Training, TRAINING | {"learning_rate": float("inf")}, "finite"),
        (Training, TRAINING | {"min_lr_ratio": float("nan")}, "less than or equal"),
        (Training, TRAINING | {"use_amp": "yes"}, "valid boolean"),
        (Training, TRAINING | {"schedule": "linear", "variant": "reference"}, "reference's, which is cosine"),
        (Training, TRAINING | {"schedule": "linear", "cooldown_ratio": 0.5}, "no effect with schedule linear"),
        (Training, TRAINING | {"schedule": "trapezoid", "cooldown_ratio": 0.95}, "1 at most together"),
        (Training, TRAINING | {"mesh": {"data": 0}}, "0 is no number of devices"),
        (Training, TRAINING | {"mesh": {"fsdp": -2}}, "-2 is no number of devices"),
        (Training, TRAINING | {"mesh": {"data": -1, "fsdp": -1}}, "both -1"),
        (MlmHead, {"mask_p": 0.0}, "no token would ever"),
        (MlmHead, {"mask_p": 1.5}, "less than or equal"),
        (MlmHead, {"mask_token_p": 0.8, "random_token_p": 0.3}, "shares of the masked tokens"),
        (ClassificationHead, {"num_labels": 1}, "greater than or equal"),
        (ClassificationHead, {"num_labels": "FILL_NUM_LABELS"}, "placeholder FILL_NUM_LABELS"),
    ],
)
def test_broken_rules_are_refused(section, values, words):
    with pytest.raises(ValidationError, match=words):
        section.model_validate(values)


def test_mask_token_share_of_one_works():
    assert MlmHead(mask_token_p=1.0, random_token_p=0.0).mask_token_p == 1.0


def test_odd_head_size_is_fine_without_rope():
    architecture = Architecture.model_validate(
        ARCHITECTURE | {"pos_encoding": "learned", "attention": {"num_heads": 8}}
    )
    assert architecture.head_dim == 1


def test_only_the_chosen_kind_is_validated():
    attention = Attention.model_validate(
        {"num_heads": 2, "kind": "lsh", "lsh": {"num_hashes": 4}, "favor": {"nb_features": "FILL_ARCH"}, "mha": None}
    )
    assert attention.lsh.num_hashes == 4
    assert attention.favor == Favor()
    with pytest.raises(ValidationError, match="FILL_ARCH"):
        Attention.model_validate({"num_heads": 2, "kind": "favor", "favor": {"nb_features": "FILL_ARCH"}})


def test_kind_must_fit_the_run():
    assert PretrainingConfig.model_validate(pretraining()).mlm_head.mask_p == 0.15
    with pytest.raises(ValidationError, match="this is a finetuning run"):
        FinetuningConfig.model_validate(pretraining(classification_head={"num_labels": 2}))


def test_no_more_layers_freeze_than_there_are():
    with pytest.raises(ValidationError, match="more than the 2 layers"):
        PretrainingConfig.model_validate(pretraining(training=TRAINING | {"freeze_n_layers": 3}))


def test_configs_are_hashable_and_frozen():
    config = PretrainingConfig.model_validate(pretraining())
    assert hash(config) == hash(config.model_copy())
    with pytest.raises(ValidationError, match="frozen"):
        config.architecture.embedding_dim = 3  # pyright: ignore[reportAttributeAccessIssue]
