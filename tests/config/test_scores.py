"""The scores that early stopping may name: each is a metric, and better where predictions are."""

import numpy as np
import pytest
import yaml

from tests.test_options_are_used import TEMPLATES
from textclf_jax.config.file import parse_config
from textclf_jax.config.scores import PRETRAINING_SCORES, classification_scores, is_lower_better
from textclf_jax.errors import UserError
from textclf_jax.tasks.metrics import classification_metrics, mlm_metrics


def cross_entropy(logits, labels):
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]))


@pytest.mark.parametrize("num_labels", [2, 3, 4, 6, 10, 11])
def test_each_score_of_a_classifier_is_a_metric_and_the_better_one_is_that_of_better_predictions(num_labels):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(num_labels), 20))
    noise = rng.normal(size=(len(labels), num_labels))
    good, bad = (share * 4 * np.eye(num_labels)[labels] + noise for share in (1, 0))
    metrics = [classification_metrics(logits, labels, loss=cross_entropy(logits, labels)) for logits in (good, bad)]
    scores = classification_scores(num_labels)
    assert len(set(scores)) == len(scores)
    for name in scores:
        better, worse = (each[name] for each in metrics)
        assert (better < worse) == is_lower_better(name), name
        assert better != worse, name


def test_each_score_of_a_masked_language_model_is_a_metric():
    better, worse = mlm_metrics(10.0, 8, 10), mlm_metrics(20.0, 3, 10)
    for name in PRETRAINING_SCORES:
        assert (better[name] < worse[name]) == is_lower_better(name)


def refusal(kind, *overrides):
    with pytest.raises(UserError) as caught:
        parse_config(yaml.safe_dump(TEMPLATES[kind]).encode(), "c.yaml", overrides, kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("finetuning", "acc", "accuracy"),
        ("finetuning", "f1", "f1_macro"),
        ("finetuning", "macro_f1", "f1_macro"),
        ("finetuning", "eval/loss", "loss"),
        ("finetuning", "balanced-accuracy", "balanced_accuracy"),
        ("finetuning", "class_2_f1", "class_1_f1"),
        ("finetuning", "Recall", "recall_macro"),
        ("pretraining", "ppl", None),
        ("pretraining", "f1_macro", None),
    ],
)
def test_other_names_are_refused_with_the_closest_one(kind, name, meant):
    said = refusal(kind, f"training.early_stopping.metric={name}")
    assert f"training.early_stopping.metric={name}  '{name}' is no score of this run." in said
    assert ("Did you mean" in said) == (meant is not None)
    assert meant is None or f'Did you mean "{meant}"?' in said
    assert "Scores: loss, " in said


@pytest.mark.parametrize(("key", "value"), [("patience", "3"), ("metric", "accuracy")])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_needs_a_validation_split_is_refused_without_one(kind, key, value):
    overrides = "data.val.dataset_path=null", f"training.early_stopping.{key}={value}"
    said = refusal(kind, *overrides)
    assert f"training.early_stopping.{key}={value}  " in said
    assert "needs a validation split. Set data.val.dataset_path, or metric to loss and patience to 0." in said
    content = yaml.safe_dump(TEMPLATES[kind]).encode()
    parse_config(content, "c.yaml", overrides[1:], kind)
    defaults = "training.early_stopping.metric=loss", "training.early_stopping.patience=0"
    parse_config(content, "c.yaml", (overrides[0], *defaults), kind)
