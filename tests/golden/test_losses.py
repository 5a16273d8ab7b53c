"""Losses and the gradients of every parameter against the reference's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.golden import adapters
from tests.golden.test_models import build, hashing
from textclf_jax.interop.reference import state_dict_from_variables, variables_from_state_dict

pytestmark = pytest.mark.golden

IGNORED_LABEL = -100
PADDED_POSITIONS = 5


def cross_entropy(logits, labels, weights):
    """Mean over the weighted rows; labels where the weight is 0 are not looked at."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(weights > 0, labels, 0))
    return (losses * weights).sum() / weights.sum()


def masked_positions(labels: np.ndarray):
    """Positions [P], labels [P] and weights [P] of the masked tokens of [B, L] labels, with some padding behind."""
    (places,) = np.nonzero(labels.reshape(-1) != IGNORED_LABEL)
    positions, weights = np.pad(places, (0, PADDED_POSITIONS)), np.pad(np.ones(len(places)), (0, PADDED_POSITIONS))
    return positions.astype(np.int32), labels.reshape(-1)[positions].astype(np.int32), weights.astype(np.float32)


def test_losses_and_gradients(golden, subtests):
    for entry in golden.entries("losses"):
        with subtests.test(entry["file"]):
            check_losses(entry, golden.load(entry))


def check_losses(entry, arrays):
    """All logits, the loss, the gradient of every parameter and their norm; MLM decodes masked positions alone."""
    module, architecture, head = build(entry["config"])
    variables = variables_from_state_dict(adapters.state_dict(arrays), architecture, head)
    params = variables.pop("params")
    constants = variables | hashing(arrays, architecture.num_layers)
    ids, lengths = arrays["in/input_ids"].astype(np.int32), adapters.lengths(arrays["in/attention_mask"])
    labels, weights, places = arrays["in/labels"].astype(np.int32), np.ones(len(ids)), ()
    if labels.ndim == 2:
        *places, labels, weights = masked_positions(labels)

    def loss_of(params):
        logits = module.apply({"params": params, **constants}, ids, lengths, *places, train=True)
        return cross_entropy(logits, labels, weights), logits

    (loss, logits), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params)
    recorded = arrays["out/logits"].reshape(-1, logits.shape[-1])
    np.testing.assert_allclose(logits, recorded[places[0]] if places else recorded, **entry["tolerance"])
    np.testing.assert_allclose(loss, arrays["out/loss"], **entry["tolerance"])
    np.testing.assert_allclose(optax.tree.norm(grads), arrays["out/grad_norm"], **entry["tolerance"])
    check_gradients(entry, arrays, state_dict_from_variables({**constants, "params": grads}, architecture, head))
    if places:
        everything = jax.jit(partial(module.apply, train=True))({"params": params, **constants}, ids, lengths)
        np.testing.assert_allclose(everything, arrays["out/logits"], **entry["tolerance"])
        by_label = cross_entropy(everything, arrays["in/labels"], (arrays["in/labels"] != IGNORED_LABEL).astype(float))
        np.testing.assert_allclose(by_label, arrays["out/loss"], **entry["tolerance"])


def check_gradients(entry, arrays, by_name):
    """Every recorded gradient against ours of that name; ours are all recorded."""
    ours = {f"grad/{name}": value for name, value in by_name.items() if not name.endswith("_omega")}
    recorded = {key for key in arrays if key.startswith("grad/")}
    assert recorded <= set(ours)
    assert set(ours) - recorded <= {"grad/mlm.decoder.weight"}  # a tied matrix is recorded once
    for key in recorded:
        np.testing.assert_allclose(ours[key], arrays[key], **entry["tolerance"], err_msg=key)


def test_the_key_bias_of_plain_softmax_has_no_gradient(golden):
    """What is recorded there is rounding noise: the comparison above holds only because both are close to zero."""
    arrays = golden.load("losses/grad_00_mlm_mha_learned_tied.npz")
    gradient = arrays["grad/layers.0.attention_block.attention_mechanism.Uqkv.bias"]
    width = len(gradient) // 3
    assert np.abs(gradient[width : 2 * width]).max() < 1e-6 < np.abs(gradient[:width]).max()
