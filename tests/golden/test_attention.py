"""One attention module at a time against the reference: outputs, gradients, hash codes, feature maps."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import adapters
from textclf_jax.config.schema import Architecture
from textclf_jax.interop.reference import parameter_names
from textclf_jax.model.attention import SelfAttention
from textclf_jax.model.attention.favor import feature_map
from textclf_jax.model.attention.lsh import hash_and_sort, num_buckets, padded_length
from textclf_jax.model.rope import rotary_tables, rotate

pytestmark = pytest.mark.golden

MECHANISM = "layers.0.attention_block.attention_mechanism."
MODULE = ("encoder", "layers_0", "attention")


def architecture(config: dict[str, Any], length: int) -> Architecture:
    """A model of one layer around the attention of a manifest entry's config."""
    return adapters.architecture(
        {
            "max_sequence_length": length,
            "embedding_dim": config["embed_dim"],
            "num_layers": 1,
            "mlp_size": 1,
            "num_heads": config["num_heads"],
            "attention_embedding_dim": config["attention_embed_dim"],
            "attn_projection_bias": config["bias"],
            "attention_kind": config["kind"],
            "attention_params": config["params"],
            "pos_encoding": "rope" if config["rope"] else "learned",
            "pos_encoding_params": config["rope"] or {},
        }
    )


def paths(config: Architecture) -> dict[str, tuple[str, ...]]:
    """(collection, layer, leaf) in our module's variables of each of the attention's parameters."""
    return {
        name.removeprefix(MECHANISM): (path[0], *path[1 + len(MODULE) :])
        for name, path in parameter_names(config, None).items()
        if name.startswith(MECHANISM)
    }


def module_variables(arrays: dict[str, np.ndarray], config: Architecture) -> dict[str, Any]:
    """The recorded parameters, directions and rotations as our module's variables."""
    variables: dict[str, Any] = {"params": {}}
    for name, (collection, *place) in paths(config).items():
        value = arrays[f"sd/{name}"]
        if len(place) == 1:  # directions; the reference stores an empty array where a kernel has none
            variables |= {collection: {place[0]: value}} if value.size else {}
        else:
            variables[collection].setdefault(place[0], {})[place[1]] = value.T if place[1] == "kernel" else value
    return variables | ({"hashing": {"rotations": arrays["lsh/R"]}} if "lsh/R" in arrays else {})


def real_lengths(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """[B] real tokens; no recorded mask means no padding."""
    if "in/key_padding_mask" in arrays:
        return adapters.lengths(arrays["in/key_padding_mask"])
    return np.full(arrays["in/x"].shape[0], arrays["in/x"].shape[1], np.int32)


@partial(jax.jit, static_argnums=0)
def forward_and_back(module: SelfAttention, params, constants, x, lengths, cotangent):
    """The output, and the gradients of sum(output * cotangent) by parameters and input."""
    y, backward = jax.vjp(lambda p, x: module.apply({"params": p, **constants}, x, lengths, train=False), params, x)
    return y, *backward(cotangent)


def projected_heads(arrays: dict[str, np.ndarray], config: Architecture) -> list[np.ndarray]:
    """The projections of x after rope, each [B, L, H, K] and zero at padding: q, k, v, or qk, v for LSH."""
    weight = next(name for name in arrays if name.startswith("sd/Uq") and name.endswith("weight"))
    bias = arrays.get(weight.replace("weight", "bias"), np.float32(0))
    parts = np.split(arrays["in/x"] @ arrays[weight].T + bias, arrays[weight].shape[0] // config.attention_dim, axis=-1)
    heads = [part.reshape(*part.shape[:2], config.attention.num_heads, -1) for part in parts]
    if config.pos_encoding == "rope":
        heads[:-1] = [np.asarray(rotate(jnp.asarray(part), config.rope)) for part in heads[:-1]]
    real = np.arange(heads[0].shape[1]) < real_lengths(arrays)[:, None]
    return [np.where(real[..., None, None], part, 0) for part in heads]


def test_outputs_and_gradients(golden, subtests):
    for entry in golden.entries("attention"):
        with subtests.test(entry["file"]):
            check_outputs_and_gradients(entry, golden.load(entry))


def check_outputs_and_gradients(entry, arrays):
    """The output and every recorded gradient of one file; one of them (SDPA with a row of padding) has only outputs."""
    x = arrays["in/x"]
    config = architecture(entry["config"], x.shape[1])
    variables = module_variables(arrays, config)
    params = variables.pop("params")
    cotangent = arrays.get("in/cotangent", np.zeros_like(x))
    y, param_grads, x_grad = forward_and_back(
        SelfAttention(config), params, variables, x, real_lengths(arrays), cotangent
    )
    seen = {"out/y": y}
    if "in/cotangent" in arrays:
        seen["grad/x"] = x_grad
        for name, (collection, *place) in paths(config).items():
            if collection == "params":
                value = param_grads[place[0]][place[1]]
                seen[f"grad/{name}"] = value.T if place[1] == "kernel" else value
    assert {key for key in arrays if key.startswith(("out/", "grad/"))} == set(seen)
    for key, value in seen.items():
        np.testing.assert_allclose(np.asarray(value), arrays[key], **entry["tolerance"], err_msg=key)


def test_hash_codes_and_orders_are_exact(golden, subtests):
    entries = [entry for entry in golden.entries("attention") if entry["config"]["kind"] == "lsh"]
    assert entries
    for entry in entries:
        arrays = golden.load(entry)
        with subtests.test(entry["file"]):
            length = arrays["in/x"].shape[1]
            config = architecture(entry["config"], length)
            settings = config.attention.lsh
            total = padded_length(length, settings)
            assert [num_buckets(total, length, settings)] == entry["expected"]["n_buckets"]
            qk = projected_heads(arrays, config)[0].swapaxes(1, 2)
            qk = np.pad(qk, ((0, 0), (0, 0), (0, total - length), (0, 0)))
            real = (np.arange(total) < real_lengths(arrays)[:, None])[:, None]
            hashed = jax.jit(hash_and_sort, static_argnums=3)(qk, real, arrays["lsh/R"], settings)
            np.testing.assert_array_equal(hashed.codes, arrays["lsh/hash_codes"])
            np.testing.assert_array_equal(hashed.order, arrays["lsh/sort_indices"])
            np.testing.assert_array_equal(hashed.inverse, arrays["lsh/undo_sort"])


def test_feature_maps(golden, subtests):
    entries = [entry for entry in golden.entries("attention") if "aux/phi_q" in entry["arrays"]]
    assert entries
    for entry in entries:
        arrays = golden.load(entry)
        with subtests.test(entry["file"]):
            config = architecture(entry["config"], arrays["in/x"].shape[1])
            omega = arrays["sd/_omega"] if arrays["sd/_omega"].size else None
            q, k, _ = projected_heads(arrays, config)
            for key, part in {"aux/phi_q": q, "aux/phi_k": k}.items():
                mapped = jax.jit(partial(feature_map, settings=config.attention.favor, is_query=key == "aux/phi_q"))
                expected = arrays[key].reshape(-1, *arrays[key].shape[2:])
                features = mapped(
                    part.swapaxes(1, 2).reshape(*expected.shape[:2], -1),
                    None if omega is None else np.tile(omega, (len(part), 1, 1)),
                )
                np.testing.assert_allclose(features, expected, **entry["tolerance"], err_msg=key)


def test_rotary_tables_of_attention(golden):
    for entry in golden.entries("attention"):
        if entry["config"]["rope"]:
            arrays = golden.load(entry)
            length, head_dim = arrays["in/rope_cos"].shape[2:]
            settings = architecture(entry["config"], length).rope
            for table, key in zip(
                rotary_tables(length, head_dim, settings), ("in/rope_cos", "in/rope_sin"), strict=True
            ):
                np.testing.assert_allclose(table, arrays[key][0, 0], rtol=1e-5, atol=1e-5, err_msg=entry["file"])
