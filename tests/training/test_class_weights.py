"""Class weights against scikit-learn and torch: what they are, and the gradient that they give."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from tests import tiny
from tests.test_options_are_used import TEMPLATES
from textclf_jax.config.file import dump_config, parse_config
from textclf_jax.errors import UserError
from textclf_jax.model.heads import forward
from textclf_jax.training.batches import training_batches
from textclf_jax.training.class_weights import class_weights
from textclf_jax.training.plan import make_plan
from textclf_jax.training.steps import train_step

TEMPLATE = dump_config(tiny.finetuning(tiny.Path("data"))).encode()
NO_DROPOUT: dict[str, Any] = {
    "architecture": tiny.architecture(
        num_layers=1, mlp_dropout=0.0, embedding_dropout=0.0, attention={"attn_dropout": 0.0, "attn_out_dropout": 0.0}
    ),
    "classification_head": {"num_labels": 3, "classifier_dropout": 0.0},
    "data": {"packing": False, "num_length_buckets": 1},
}


def balanced(labels, num_labels=4) -> Any:
    config = tiny.finetuning(
        tiny.Path("data"), training={"class_weights": "balanced"}, classification_head={"num_labels": num_labels}
    )
    data: Any = SimpleNamespace(labels=labels)
    return class_weights(config, data)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.random.default_rng(0).choice(4, 200, p=[0.6, 0.25, 0.1, 0.05]).astype(np.int32)
    np.testing.assert_allclose(balanced(labels), compute_class_weight("balanced", classes=np.arange(4), y=labels))
    # a class without rows has no weight, the others have what they have without it
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(balanced(labels, 5), [*expected, 0.0])


def test_other_weights_are_as_they_are_given():
    data: Any = SimpleNamespace(labels=np.zeros(3, np.int32))
    config = tiny.finetuning(tiny.Path("data"), training={"class_weights": [0.5, 2, 3.25]})
    np.testing.assert_array_equal(class_weights(config, data), [0.5, 2.0, 3.25])
    assert class_weights(tiny.finetuning(tiny.Path("data")), data) is None
    assert class_weights(tiny.pretraining(tiny.Path("data")), data) is None


def refusal(value, kind: Any = "finetuning", content=TEMPLATE):
    with pytest.raises(UserError) as caught:
        parse_config(content, "c.yaml", [f"training.class_weights={value}"], kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[1, 2]", "has 2 numbers for the 3 classes of classification_head.num_labels. Give each class one"),
        ("[1, 0, 1]", "0 is no weight of a class: each must be a number above 0, and finite"),
        ("[1, -2.0, 1]", "-2.0 is no weight"),
        ("[1, .inf, 1]", "inf is no weight"),
        ("[1, .nan, 1]", "nan is no weight"),
        ("[1, true, 1]", "True is no weight"),
        ("[1, a, 1]", "'a' is no weight"),
        ("balance", "expected null, balanced or a list of numbers, got 'balance'"),
        ("2.0", "expected null, balanced or a list of numbers, got 2.0"),
    ],
)
def test_other_values_are_refused(value, words):
    said = refusal(value)
    assert f"training.class_weights={value}  " in said
    assert words in said


def test_a_list_is_read_back_as_it_was_written():
    config = parse_config(TEMPLATE, "c.yaml", ["training.class_weights=[0.5, 2, 3]"]).config
    assert config.training.class_weights == (0.5, 2.0, 3.0)
    assert parse_config(dump_config(config).encode(), "c.yaml").config == config
    assert type(config).model_validate(config.model_dump(mode="json")) == config
    assert hash(config) == hash(config.model_copy())


def test_pretraining_has_no_classes():
    content = dump_config(tiny.pretraining(tiny.Path("data"))).encode()
    said = refusal("balanced", "pretraining", content)
    assert "training.class_weights balanced is for finetuning runs. Take it out." in said
    assert set(TEMPLATES["pretraining"]["training"]) == set(TEMPLATES["finetuning"]["training"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    # five steps of eight rows, of which the last one has six
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=38)


def torch_gradient(logits, targets, **options):
    """The gradient of torch's mean loss by the logits [N, C]."""
    scores = torch.tensor(np.asarray(logits, np.float64), requires_grad=True)
    weight = options.pop("weight", None)
    loss = torch.nn.CrossEntropyLoss(weight=None if weight is None else torch.tensor(weight).double(), **options)
    loss(scores, torch.tensor(np.asarray(targets), dtype=torch.int64)).backward()
    assert scores.grad is not None
    return scores.grad.numpy()


def test_accumulated_steps_have_the_gradient_of_torch_s_weighted_and_smoothed_mean(data):
    """Of each window, the last one of which has a batch with rows missing, and one without any."""
    weights = [0.02, 0.5, 0.11]  # they add up to less than 1 in a batch, which must not matter
    training = {
        "learning_rate": 1e-30,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "use_amp": False,
        "grad_accum_steps": 3,
        "epochs": 1,
        "class_weights": weights,
        "label_smoothing": 0.15,
    }
    plan = make_plan(tiny.finetuning(data, training=training, **NO_DROPOUT), tiny.Path("/"))
    start = state = plan.initial_state(plan.draw_variables())
    step = jax.jit(functools.partial(train_step, settings=plan.settings))
    look = jax.jit(functools.partial(forward, plan.module, train=False))
    windows: list[list[Any]] = [[], []]
    for batch in training_batches(plan.task, plan.train, plan.batching, plan.length, 0):
        state, sums = step(state, batch.arrays)
        plain, logits = look(start.variables, batch.arrays)
        real = batch.arrays["weights"] > 0
        assert logits is not None
        windows[batch.step // 3].append((np.asarray(logits)[real], batch.arrays["targets"][real]))
        # what is logged is without weights, as in an evaluation
        for name in ("loss", "correct", "count"):
            np.testing.assert_allclose(sums[name], plain[name], rtol=1e-5)
    assert [[len(targets) for _, targets in window] for window in windows] == [[8, 8, 8], [6, 8, 0]]
    gradients = [
        torch_gradient(
            *(np.concatenate(parts) for parts in zip(*window, strict=True)), weight=weights, label_smoothing=0.15
        ).sum(0)
        for window in windows
    ]
    expected = 0.9 * 0.1 * gradients[0] + 0.1 * gradients[1]  # Adam's first moment
    found = [tree for _, tree in optax_moments(state)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-7)


def optax_moments(state):
    """The first moments of the classifier's bias."""
    leaves = jax.tree_util.tree_leaves_with_path(state.opt_state)
    names = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    return [(name, leaf) for name, leaf in names if ".mu" in name and "['classifier']['bias']" in name]


def test_each_batch_of_the_reference_s_variant_has_its_own_mean(data):
    training = {"class_weights": [0.5, 2.0, 4.0], "grad_accum_steps": 2, "epochs": 1, "variant": "reference"}
    plan = make_plan(tiny.finetuning(data, training=training), tiny.Path("/"))
    for batch in training_batches(plan.task, plan.train, plan.batching, plan.length, 0):
        targets = batch.arrays["targets"][batch.arrays["weights"] > 0]
        assert batch.arrays["scale"] == pytest.approx(1 / np.array([0.5, 2.0, 4.0])[targets].sum())
