"""Every name of the reference's state dicts has one place here, and comes back unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import adapters
from tests.golden.test_models import build
from textclf_jax.interop.reference import state_dict_from_variables, variables_from_state_dict

pytestmark = pytest.mark.golden


def recorded_states(golden):
    """(name, config, state dict) of every recorded whole model."""
    for entry in golden.entries("models") + golden.entries("losses"):
        yield entry["file"], entry["config"], adapters.state_dict(golden.load(entry))
    config = next(e["config"] for e in golden.entries("torch_files") if e["file"] == "torch_files/model.ckpt")
    for file in ("torch_files/model_ckpt_contents.npz", "torch_files/best_model_ckpt_contents.npz"):
        yield file, config, adapters.state_dict(golden.load(file), MODEL_STATE)


MODEL_STATE = "model_state/"


def test_round_trip_is_exact(golden, subtests):
    for file, config, state in recorded_states(golden):
        with subtests.test(file):
            _, architecture, head = build(config)
            variables = variables_from_state_dict(state, architecture, head)
            back = state_dict_from_variables(variables, architecture, head)
            assert set(back) == set(state)
            for name, value in state.items():
                np.testing.assert_array_equal(back[name], value, err_msg=name)
                assert back[name].dtype == value.dtype, name


def test_paths_and_shapes_are_those_of_a_fresh_model(golden, subtests):
    """Nothing is left at its initial value when a checkpoint is read, and nothing fits only by broadcasting."""
    for file, config, state in recorded_states(golden):
        with subtests.test(file):
            module, architecture, head = build(config)
            ids, lengths = jnp.zeros((1, 2), jnp.int32), jnp.ones(1, jnp.int32)
            fresh = jax.eval_shape(module.init, jax.random.key(0), ids, lengths)
            read = variables_from_state_dict(state, architecture, head)
            assert jax.tree.map(np.shape, read) == jax.tree.map(np.shape, fresh)


def test_an_encoder_is_read_without_its_head(golden):
    entry = next(e for e in golden.entries("torch_files") if e["file"] == "torch_files/model.ckpt")
    state = adapters.state_dict(golden.load("torch_files/model_ckpt_contents.npz"), MODEL_STATE)
    _, architecture, _ = build(entry["config"])
    variables = variables_from_state_dict(state, architecture, None)
    read = {key for key in state if key not in entry["expected"]["load_into_classifier"]["unexpected_keys"]}
    assert set(variables["params"]) == {"encoder"}
    assert len(jax.tree.leaves(variables)) == len(read)
