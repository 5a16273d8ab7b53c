"""Reading and writing the PyTorch reference's state dicts."""

from typing import Any

import jax
import numpy as np
import pytest

from tests.model.cases import VOCAB_SIZE, architecture, batch, random_variables
from textclf_jax.config.schema import ClassificationHead, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.interop.reference import parameter_names, state_dict_from_variables, variables_from_state_dict
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier

IDS, LENGTHS = batch((5, 2), 5)
WORDS = "embeddings.word_embeddings.weight"

CASES = {
    "mha": (architecture("mha", pos_encoding="learned", type_vocab_size=2), MlmHead()),
    "lsh": (architecture("lsh", attention_embedding_dim=24), MlmHead(tie_mlm_weights=False)),
    "favor": (architecture("favor", projection_bias=False), ClassificationHead(num_labels=3)),
    "favor_elu": (architecture("favor", {"phi": "elu"}), ClassificationHead(num_labels=2, pooler_type="roberta")),
    "no_pooler": (architecture("mha"), ClassificationHead(num_labels=2, pooler_type=None)),
}


def drawn_variables(config, head):
    """Random variables of a model."""
    kind: Any = MaskedLanguageModel if isinstance(head, MlmHead) else SequenceClassifier
    return random_variables(kind(config, head, VOCAB_SIZE), IDS, LENGTHS)


@pytest.fixture(scope="module")
def exported():
    """{case: (config, head, variables, state dict)}."""
    drawn = {name: (*case, drawn_variables(*case)) for name, case in CASES.items()}
    return {name: (*case, state_dict_from_variables(case[2], *case[:2])) for name, case in drawn.items()}


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_again(exported, case):
    config, head, variables, state = exported[case]
    back = variables_from_state_dict(state, config, head)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_every_parameter_has_a_name_of_its_own(exported):
    for config, head, variables, _ in exported.values():
        named = {path for path in parameter_names(config, head).values() if path[-1] != "omega"}
        paths = jax.tree_util.tree_leaves_with_path(variables["params"])
        assert named == {("params", *(key.key for key in path)) for path, _ in paths}
        assert len(set(parameter_names(config, head).values())) == len(parameter_names(config, head))


def test_linear_weights_are_transposed_and_nothing_else(exported):
    _, _, variables, state = exported["lsh"]
    block = variables["params"]["encoder"]["layers_0"]
    mechanism = "layers.0.attention_block.attention_mechanism"
    np.testing.assert_array_equal(state[f"{mechanism}.Uqv.weight"], block["attention"]["qkv"]["kernel"].T)
    assert state[f"{mechanism}.Uqv.weight"].shape == (48, 16)
    np.testing.assert_array_equal(
        state["layers.0.mlp_block.mlp.2.weight"], np.asarray(block["mlp"]["down"]["kernel"]).T
    )
    assert state[WORDS].shape == (VOCAB_SIZE, 16)
    scale = variables["params"]["encoder"]["layers_1"]["mlp_norm"]["scale"]
    np.testing.assert_array_equal(state["layers.1.mlp_block.layer_norm.weight"], scale)


def test_tied_weights_have_both_names(exported):
    _, _, _, state = exported["mha"]
    np.testing.assert_array_equal(state["mlm.decoder.weight"], state[WORDS])


def test_kernels_without_directions_have_an_empty_tensor(exported):
    config, head, _, state = exported["favor_elu"]
    assert state["layers.0.attention_block.attention_mechanism._omega"].shape == (0,)
    assert "features" not in variables_from_state_dict(state, config, head)
    assert exported["favor"][3]["layers.1.attention_block.attention_mechanism._omega"].shape == (2, 8, 8)


@pytest.mark.parametrize("case", CASES)
def test_the_encoder_alone(exported, case):
    config, _, variables, state = exported[case]
    read = variables_from_state_dict(state, config, None)
    assert set(read["params"]) == {"encoder"}
    jax.tree.map(np.testing.assert_array_equal, read["params"]["encoder"], variables["params"]["encoder"])


def test_missing_and_left_over_tensors_are_named(exported):
    config, head, _, state = exported["mha"]
    lacking = {name: value for name, value in state.items() if name != "mlm.transform.0.bias"}
    with pytest.raises(UserError, match=r"missing: mlm\.transform\.0\.bias\n.*left over: nothing"):
        variables_from_state_dict(lacking, config, head)
    with pytest.raises(UserError, match=r"missing: nothing\n.*left over: pooler\.weight"):
        variables_from_state_dict(state | {"pooler.weight": np.zeros(1)}, config, head)
    with pytest.raises(UserError, match=r"left over: head\.weight"):
        variables_from_state_dict(state | {"head.weight": np.zeros(1)}, config, None)


def test_another_architecture_is_refused(exported):
    _, head, _, state = exported["mha"]
    with pytest.raises(UserError, match=r"missing:.*Uqv\.weight"):
        variables_from_state_dict(state, CASES["lsh"][0], head)


def test_tied_weights_that_differ_are_refused(exported):
    config, head, _, state = exported["mha"]
    with pytest.raises(UserError, match="tie_mlm_weights to false"):
        variables_from_state_dict(state | {"mlm.decoder.weight": state[WORDS] + 1}, config, head)
