"""Cross-entropy against float64, and of parts of a vocabulary against the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import normal
from textclf_jax.kernels import cross_entropy as cross_entropy_module
from textclf_jax.kernels.cross_entropy import (
    LOGITS_AT_ONCE,
    Decoder,
    binary_cross_entropy,
    cross_entropy,
    cross_entropy_reference,
    decoder_cross_entropy,
    smoothed_cross_entropy,
)
from textclf_jax.kernels.precision import FULL, Precision

ROUNDED = Precision(jnp.float32, jnp.bfloat16)
COUNT, WIDTH = 24, 16


def test_cross_entropy_matches_float64():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 7)) * np.array([1, 30, 1e3, 1e-3])[:, None].repeat(5, 0).reshape(20, 1)
    targets = rng.integers(0, 7, 20)
    shifted = logits - logits.max(1, keepdims=True)
    expected = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(20), targets]
    found, hits = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(targets))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(hits, logits.argmax(1) == targets)


def test_values_and_gradients_are_those_of_the_reference():
    logits, targets, weights = normal((20, 7)) * 4, np.arange(20) % 7, normal((20,), seed=1)

    def results(function):
        def total(logits):
            losses, hits = function(logits, targets)
            return (losses * weights).sum(), (losses, hits)

        return jax.value_and_grad(total, has_aux=True)(logits)

    found, expected = results(cross_entropy), results(cross_entropy_reference)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("weights", [None, [0.5, 0.02, 3.0, 1.0, 7.0]])
def test_smoothing_and_class_weights_are_those_of_torch(smoothing, weights):
    """Values, and gradients of the mean over the weights of the targets."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(40, 5)) * 6, rng.integers(0, 5, 40)
    scores = torch.tensor(logits, requires_grad=True)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor(targets), weight, label_smoothing=smoothing)
    expected.backward()
    by_class = np.ones(5) if weights is None else np.array(weights)

    def mean(logits):
        losses = smoothed_cross_entropy(logits, jnp.asarray(targets), jnp.asarray(by_class, jnp.float32), smoothing)
        return losses.sum() / by_class[targets].sum()

    found, gradient = jax.value_and_grad(mean)(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(found, expected.item(), rtol=1e-5)
    assert scores.grad is not None
    np.testing.assert_allclose(gradient, scores.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_binary_cross_entropy_is_torch_s_in_float64():
    """Its mean over texts is the mean over all decisions, in values and gradients, far out too."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(24, 5)) * np.array([1, 30, 1e3, 1e-3])[:, None].repeat(6, 0).reshape(24, 1)
    logits[0, 0] = 0.0
    logits = logits.astype(np.float32)
    targets = rng.integers(0, 2, logits.shape)
    targets[3] = logits[3] >= 0
    theirs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.BCEWithLogitsLoss(reduction="none")(theirs, torch.tensor(targets, dtype=torch.float64))
    expected.mean().backward()

    def mean(logits):
        losses, hits = binary_cross_entropy(logits, jnp.asarray(targets, jnp.float32))
        return losses.mean(), (losses, hits)

    (total, (losses, hits)), gradient = jax.value_and_grad(mean, has_aux=True)(jnp.asarray(logits))
    np.testing.assert_allclose(total, expected.mean().item(), rtol=1e-6)
    np.testing.assert_allclose(losses, expected.mean(dim=1).detach(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradient, theirs.grad, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(hits, ((logits >= 0) == targets).all(axis=1))
    assert hits[3] == 1.0


def decoded(at_once, monkeypatch, x, kernel, bias, targets, precision, transposed):
    """Losses, hits and gradients with at most so many logits at once."""
    monkeypatch.setitem(LOGITS_AT_ONCE, "cpu", at_once)
    weights = np.linspace(0.5, 2.0, len(targets))

    def weighted_sum(x, kernel, bias):
        found, hits = decoder_cross_entropy(x, Decoder(kernel, bias, precision, transposed), targets)
        return (found * weights).sum(), (found, hits)

    wanted = (0, 1) if bias is None else (0, 1, 2)
    (_, outputs), gradients = jax.jit(jax.value_and_grad(weighted_sum, wanted, has_aux=True))(x, kernel, bias)
    return *outputs, *gradients


@pytest.mark.parametrize("vocab_size", [512, 500, 130], ids=["even parts", "a smaller last part", "a last part of two"])
@pytest.mark.parametrize("precision", [FULL, ROUNDED], ids=["float32", "bfloat16 products"])
@pytest.mark.parametrize(("transposed", "has_bias"), [(True, False), (True, True), (False, False), (False, True)])
def test_parts_of_the_vocabulary_give_what_all_of_it_gives(vocab_size, precision, transposed, has_bias, monkeypatch):
    x, kernel = normal((COUNT, WIDTH)), normal((vocab_size, WIDTH), seed=1)
    bias = normal((vocab_size,), seed=2) if has_bias else None
    targets = np.arange(COUNT) * (vocab_size - 1) // (COUNT - 1)
    arguments = x, kernel if transposed else kernel.T, bias, targets, precision, transposed
    whole = decoded(np.inf, monkeypatch, *arguments)
    in_parts = decoded(COUNT * 128, monkeypatch, *arguments)
    for found, expected in zip(in_parts[:2], whole[:2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for found, expected in zip(in_parts[2:], whole[2:], strict=True):
        tolerance = 1e-5 if precision == FULL else 1e-2
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("precision", [FULL, ROUNDED], ids=["float32", "bfloat16 products"])
@pytest.mark.parametrize(("transposed", "has_bias"), [(True, False), (True, True), (False, False), (False, True)])
def test_what_gpus_compute_is_the_same(precision, transposed, has_bias, monkeypatch):
    """A vocabulary filled up to a multiple of 128, and largest logit and sum in one pass."""
    x, kernel = 3 * normal((COUNT, WIDTH)), normal((500, WIDTH), seed=1)
    bias = normal((500,), seed=2) if has_bias else None
    arguments = x, kernel if transposed else kernel.T, bias, np.arange(COUNT) * 499 // 23, precision, transposed
    expected = decoded(np.inf, monkeypatch, *arguments)
    monkeypatch.setattr(cross_entropy_module, "platform", lambda: "gpu")
    found = decoded(np.inf, monkeypatch, *arguments)
    assert [array.shape for array in found] == [array.shape for array in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_in_one_pass_logits_far_apart_and_not_finite_give_what_two_passes_give(monkeypatch):
    rows = [[1e4, -1e4, 0.0], [-1e30, -1e30, -1e30], [1e30, 0.0, 1e30], [np.nan, 0.0, 1.0], [-np.inf, 2.0, 1.0]]
    logits, targets = jnp.asarray(rows, jnp.float32), jnp.asarray([0, 1, 2, 1, 1])
    expected = cross_entropy(logits, targets)
    monkeypatch.setattr(cross_entropy_module, "platform", lambda: "gpu")
    for one, other in zip(cross_entropy(logits, targets), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_logits_that_stand_for_no_class_change_nothing(monkeypatch):
    """However large they are; their gradient is zero."""
    logits, targets = normal((20, 7)), np.arange(20) % 5
    logits[:, 5:] = 50.0

    def results(logits, *num_classes):
        def total(logits):
            losses, hits = cross_entropy(logits, targets, *num_classes)
            return losses.sum(), (losses, hits)

        return jax.value_and_grad(total, has_aux=True)(logits)

    expected, gradient = results(logits[:, :5])
    for platform in ("cpu", "gpu"):
        monkeypatch.setattr(cross_entropy_module, "platform", lambda name=platform: name)
        found, of_all = results(logits, 5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
        np.testing.assert_allclose(of_all[:, :5], gradient, rtol=1e-5, atol=1e-6)
        assert not of_all[:, 5:].any()


def test_a_vocabulary_is_filled_up_to_a_multiple():
    decoder = Decoder(normal((256, WIDTH)), normal((256,)), FULL, True)
    assert decoder.filled_up(128) is decoder
    assert decoder.filled_up(1) is decoder
    filled, x = decoder.filled_up(100), normal((WIDTH,))
    assert filled.vocab_size == 300
    np.testing.assert_allclose(filled.logits(x)[:256], decoder.logits(x), rtol=1e-5)


def test_a_vocabulary_is_decoded_in_parts_where_its_logits_are_many(monkeypatch):
    def loops(at_once):
        monkeypatch.setitem(LOGITS_AT_ONCE, "cpu", at_once)
        decoder = Decoder(normal((300, WIDTH)), None, FULL, True)
        return str(jax.make_jaxpr(lambda x: decoder_cross_entropy(x, decoder, np.zeros(8, int)))(normal((8, WIDTH))))

    assert "scan" in loops(8 * 128)
    assert "scan" not in loops(8 * 300)


def test_the_gradient_of_a_token_that_is_almost_certain_keeps_its_digits(monkeypatch):
    """p - 1 of a p that was rounded to 8 bits would be 0."""
    x, kernel = np.eye(8, WIDTH, dtype=np.float32), np.zeros((256, WIDTH), np.float32)
    kernel[np.arange(8) * 30, np.arange(8)] = 12.0
    arguments = x, kernel, None, np.arange(8) * 30, ROUNDED, True
    _, _, dx, _ = decoded(8 * 128, monkeypatch, *arguments)
    *_, expected, _ = decoded(np.inf, monkeypatch, *arguments[:4], FULL, True)
    target = np.arange(8), np.arange(8)
    assert (np.abs(expected[target]) > 1e-3).all()
    np.testing.assert_allclose(dx[target], expected[target], rtol=2e-2)
