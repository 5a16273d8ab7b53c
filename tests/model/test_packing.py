"""Several texts in one row give what each gives in a row of its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.data.joining import Joined, spans_of
from textclf_jax.data.packing import Packed, token_places
from textclf_jax.kernels.attention import BLOCKS, Blocks
from textclf_jax.kernels.spans import attend_within_spans_reference
from textclf_jax.model.attention import attends_from_few, softmax
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier
from textclf_jax.model.packing import Packing

VOCAB_SIZE, LENGTHS = 40, np.array([5, 1, 9, 3, 7, 2])
# of scores at once: all; of a few queries, of all heads or of one
WAYS = [Blocks(2**24, False, 2**24), Blocks(1, False, 0), Blocks(1, True, 0)]
# rotations are part of attention, and so tried in all ways; other positions are added before it
POSITIONS_AND_WAYS = [*(("rope", way) for way in WAYS), ("learned", WAYS[1]), ("sinusoidal", WAYS[1])]
NO_DROPOUT = {"mlp_dropout": 0.0, "embedding_dropout": 0.0}


def architecture(kind="mha", **changes):
    sections = {"max_sequence_length": 24, "embedding_dim": 16, "num_layers": 2, "mlp_size": 24, "type_vocab_size": 2}
    attention = {"num_heads": 2, "kind": kind, "attn_out_dropout": 0.0}
    return Architecture.model_validate(sections | NO_DROPOUT | {"attention": attention} | changes)


@functools.cache
def language_model(pos_encoding):
    """A model and its parameters."""
    return with_parameters(MaskedLanguageModel(architecture(pos_encoding=pos_encoding), MlmHead(), VOCAB_SIZE))


@functools.cache
def classifier(pooling):
    head = ClassificationHead(num_labels=3, pooling=pooling, pooling_stride=4, classifier_dropout=0.0)
    return with_parameters(SequenceClassifier(architecture(), head, VOCAB_SIZE))


def with_parameters(model):
    return model, jax.jit(model.init)(jax.random.key(0), np.zeros((6, 9), np.int32), LENGTHS)


def both_with_gradients(params, one, other, *, has_aux):
    """Values and gradients of two functions of the parameters, by one program."""
    ways = [jax.value_and_grad(way, has_aux=has_aux) for way in (one, other)]
    return jax.jit(lambda params: [way(params) for way in ways])(params)


@pytest.fixture
def texts():
    """The same texts, one a row and packed: (ids [6, 9], ids [B, L], the packing, the tokens)."""
    rng = np.random.default_rng(0)
    (batch,) = Packed(len(LENGTHS), (2, 15)).epoch(LENGTHS, seed=0, epoch=0, shuffle=True)
    ids = np.where(np.arange(9) < LENGTHS[:, None], rng.integers(5, VOCAB_SIZE, (6, 9)), 0)[batch.rows]
    tokens = token_places(batch.starts, LENGTHS[batch.rows])
    packed, segments, positions = (np.zeros(batch.shape, np.int32) for _ in range(3))
    packed.reshape(-1)[tokens.place] = ids[tokens.text, tokens.column]
    segments.reshape(-1)[tokens.place] = tokens.text + 1
    positions.reshape(-1)[tokens.place] = tokens.column
    packing = Packing(*map(jnp.asarray, (segments, positions, batch.starts.astype(np.int32))))
    return ids, LENGTHS[batch.rows], packed, packing, tokens


def agree(one, other):
    for (path, a), (_, b) in zip(jax.tree.leaves_with_path(one), jax.tree.leaves_with_path(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(("pos_encoding", "blocks"), POSITIONS_AND_WAYS)
def test_tokens_and_gradients_are_those_of_one_text_a_row(texts, pos_encoding, blocks, monkeypatch):
    monkeypatch.setitem(BLOCKS, "cpu", blocks)
    ids, lengths, packed, packing, tokens = texts
    model, params = language_model(pos_encoding)
    weights = jax.random.normal(jax.random.key(1), (len(tokens.text), VOCAB_SIZE))

    def alone(params):
        logits = model.apply(params, ids, lengths)[tokens.text, tokens.column]
        return (logits * weights).sum(), logits

    def together(params):
        logits = model.apply(params, packed, lengths, packing=packing).reshape(-1, VOCAB_SIZE)[tokens.place]
        return (logits * weights).sum(), logits

    ((_, expected), expected_gradient), ((_, actual), gradient) = both_with_gradients(
        params, alone, together, has_aux=True
    )
    agree(expected, actual)
    agree(expected_gradient, gradient)


@pytest.fixture
def joined(monkeypatch):
    """The same texts end to end, told apart by spans: (ids [6, 9], lengths, ids [B, L], packing, tokens)."""
    monkeypatch.setattr(softmax, "attend_within_spans", attend_within_spans_reference)
    rng = np.random.default_rng(0)
    (batch,) = Joined(len(LENGTHS), (3, 10), 6).evaluation(LENGTHS)
    lengths = LENGTHS[batch.rows]
    ids = np.where(np.arange(9) < lengths[:, None], rng.integers(5, VOCAB_SIZE, (6, 9)), 0)
    tokens = token_places(batch.starts, lengths)
    assert len(set(tokens.place[tokens.text == 0] // 10)) == 2, "a text goes over the end of its row"
    packed, segments, positions = (np.zeros(batch.shape, np.int32) for _ in range(3))
    packed.reshape(-1)[tokens.place] = ids[tokens.text, tokens.column]
    segments.reshape(-1)[tokens.place] = tokens.text + 1
    positions.reshape(-1)[tokens.place] = tokens.column
    arrays = (segments, positions, batch.starts.astype(np.int32), *spans_of(batch, lengths, len(LENGTHS)))
    return ids, lengths, packed, Packing(*map(jnp.asarray, arrays)), tokens


@pytest.mark.parametrize("pos_encoding", ["rope", "learned", "sinusoidal"])
def test_texts_end_to_end_give_the_tokens_and_gradients_of_one_text_a_row(joined, pos_encoding):
    ids, lengths, packed, packing, tokens = joined
    model, params = language_model(pos_encoding)
    weights = jax.random.normal(jax.random.key(1), (len(tokens.text), VOCAB_SIZE))

    def alone(params):
        logits = model.apply(params, ids, lengths)[tokens.text, tokens.column]
        return (logits * weights).sum(), logits

    def together(params):
        logits = model.apply(params, packed, lengths, packing=packing).reshape(-1, VOCAB_SIZE)[tokens.place]
        return (logits * weights).sum(), logits

    agree(*both_with_gradients(params, alone, together, has_aux=True))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_texts_end_to_end_have_the_classes_of_one_text_a_row(joined, pooling):
    ids, lengths, packed, packing, _ = joined
    check_classes(pooling, ids, lengths, packed, packing)


def check_classes(pooling, ids, lengths, packed, packing):
    """Logits, weighed, and their gradients."""
    model, params = classifier(pooling)
    weights = jax.random.normal(jax.random.key(1), (len(ids), 3))

    def alone(params):
        return (model.apply(params, ids, lengths) * weights).sum()

    def together(params):
        return (model.apply(params, packed, lengths, packing=packing) * weights).sum()

    agree(*both_with_gradients(params, alone, together, has_aux=False))


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize(("pos_encoding", "blocks"), POSITIONS_AND_WAYS[:-1])
def test_a_few_tokens_and_gradients_are_those_of_all(texts, pos_encoding, blocks, packs, monkeypatch):
    """Where fewer are read than a row has, their queries are compared with the keys of the whole batch."""
    monkeypatch.setitem(BLOCKS, "cpu", blocks)
    ids, lengths, packed, packing, tokens = texts
    ids, options = (packed, {"packing": packing}) if packs else (ids, {})
    lengths = lengths.copy()
    lengths[2] = lengths[2] if packs else 0  # an empty row
    places = tokens.place if packs else tokens.text * ids.shape[1] + tokens.column
    model, params = language_model(pos_encoding)
    some = jnp.asarray(places[[0, -1, 8, 8, 11]])
    assert attends_from_few(model.config.attention, ids.shape[1], len(some))
    weights = jax.random.normal(jax.random.key(1), (len(some), VOCAB_SIZE))

    def of_all(params):
        logits = model.apply(params, ids, lengths, **options).reshape(-1, VOCAB_SIZE)[some]
        return (logits * weights).sum(), logits

    def of_few(params):
        logits = model.apply(params, ids, lengths, some, **options)
        return (logits * weights).sum(), logits

    agree(*both_with_gradients(params, of_all, of_few, has_aux=True))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "min", "strided_mean"])
def test_classes_and_gradients_are_those_of_one_text_a_row(texts, pooling):
    ids, lengths, packed, packing, _ = texts
    check_classes(pooling, ids, lengths, packed, packing)


def test_what_is_in_the_padding_does_not_matter(texts):
    _, lengths, packed, packing, _ = texts
    model, params = classifier("mean")
    run = jax.jit(model.apply)
    other = np.where(packing.segments == 0, 7, packed)
    assert not np.array_equal(other, packed)
    expected = run(params, packed, lengths, packing=packing)
    np.testing.assert_allclose(run(params, other, lengths, packing=packing), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["lsh", "favor", "local"])
def test_kinds_that_cannot_tell_texts_apart_say_so(texts, kind):
    _, lengths, packed, packing, _ = texts
    model = MaskedLanguageModel(architecture(kind), MlmHead(), VOCAB_SIZE)
    with pytest.raises(ValueError, match=f"kind {kind} cannot tell apart"):
        model.init(jax.random.key(0), packed, lengths, packing=packing)
