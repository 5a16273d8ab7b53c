"""Forward passes, layer by layer, against the reference's recorded numbers."""

from typing import Any

import jax
import numpy as np
import pytest

from tests.golden import adapters
from textclf_jax.config.schema import MlmHead
from textclf_jax.interop.reference import variables_from_state_dict
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier

pytestmark = pytest.mark.golden


def build(config: dict[str, Any]):
    """The Linen module and its configuration for a manifest entry's config."""
    architecture, head = adapters.architecture(config["model"]), adapters.head(config)
    kind = MaskedLanguageModel if isinstance(head, MlmHead) else SequenceClassifier
    return kind(architecture, head, config["model"]["vocab_size"]), architecture, head  # pyright: ignore[reportArgumentType]


def hashing(arrays: dict[str, np.ndarray], num_layers: int, prefix: str = "lsh/") -> dict[str, Any]:
    """The collection that feeds recorded rotations to every LSH layer; empty for other kinds."""
    layers = {
        f"layers_{i}": {"attention": {"rotations": arrays[f"{prefix}block_{i:02d}/R"]}}
        for i in range(num_layers)
        if f"{prefix}block_{i:02d}/R" in arrays
    }
    return {"hashing": {"encoder": layers}} if layers else {}


def test_forward_passes(golden, subtests):
    for entry in golden.entries("models"):
        with subtests.test(entry["file"]):
            check_forward(entry, golden.load(entry))


def check_forward(entry, arrays):
    """Every recorded intermediate and output of one model within its tolerance."""
    module, architecture, head = build(entry["config"])
    variables = variables_from_state_dict(adapters.state_dict(arrays), architecture, head)
    variables |= hashing(arrays, architecture.num_layers)
    optional = {
        name: arrays[f"in/{name}"].astype(np.int32)
        for name in ("token_type_ids", "position_ids")
        if f"in/{name}" in arrays
    }

    def both(module, *inputs, **options):
        # a head may ask the encoder for fewer vectors than are recorded: so the encoder runs by itself, too
        return module(*inputs, **options), module.encoder(*inputs, **options)

    (logits, _), state = jax.jit(
        lambda v, *a, **k: module.apply(v, *a, **k, method=both, capture_intermediates=True, mutable="intermediates")
    )(variables, arrays["in/input_ids"].astype(np.int32), adapters.lengths(arrays["in/attention_mask"]), **optional)
    encoder = state["intermediates"]["encoder"]
    seen = {"out/logits": logits, "out/embeddings": encoder["embeddings"]["__call__"][-1]}
    for i in range(architecture.num_layers):
        layer, name = encoder[f"layers_{i}"], f"out/block_{i:02d}"
        seen[f"{name}/attention_mechanism"] = layer["attention"]["__call__"][-1]
        seen[f"{name}/attention_block"] = layer["attention_norm"]["__call__"][-1]
        seen[name] = layer["__call__"][-1]
    seen["out/sequence_output"] = encoder["__call__"][-1]
    recorded = {key for key in arrays if key.startswith("out/") and key != "out/pooled_output"}
    assert recorded == set(seen)
    for key, value in seen.items():
        np.testing.assert_allclose(np.asarray(value), arrays[key], **entry["tolerance"], err_msg=key)
