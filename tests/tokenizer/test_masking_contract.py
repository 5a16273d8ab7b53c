"""What a user's masking function is passed, whatever its signature, and what its answer is held to."""

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.config.schema import MlmHead
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.masking_contract import BY_NAME, SHARES, MaskingCall, checked_masks

VALUES = {name: f"the {name}" for name in ("input_ids", *BY_NAME)}
HEAD = MlmHead(mask_p=0.5)


def received(function, *, extends_ours: bool = False):
    """What a function that returns its locals() is called with."""
    positional, named = MaskingCall.of(function, extends_ours=extends_ours).arguments(VALUES)
    return function(*positional, **named)


def shares(*names: str) -> dict[str, str]:
    return {name: VALUES[name] for name in names or SHARES}


def test_the_references_signature_gets_ids_and_shares():
    def mask(input_ids, mask_p=0.15, mask_token_p=0.8, random_token_p=0.1):
        return locals()

    assert received(mask) == {"input_ids": "the input_ids", **shares()}


def test_the_attention_mask_goes_to_a_parameter_of_that_name_alone():
    def second(input_ids, attention_mask, mask_p):
        return locals()

    def last(input_ids, mask_p, *, attention_mask=None):
        return locals()

    def keywords(input_ids, **options):
        return options

    def without(input_ids, padding=None):
        return locals()

    expected = {"input_ids": "the input_ids", "attention_mask": "the attention_mask", **shares("mask_p")}
    assert received(second) == received(last) == expected
    assert received(keywords) == shares()
    assert received(without) == {"input_ids": "the input_ids", "padding": None}


def test_positional_only_parameters_keep_their_places():
    def mask(input_ids, attention_mask, strategy="words", mask_p=0.1, /, mask_token_p=0.8, *, random_token_p):
        return locals()

    assert received(mask) == {
        "input_ids": "the input_ids",
        "attention_mask": "the attention_mask",
        "strategy": "words",
        **shares(),
    }


def test_the_ids_may_have_another_name_or_place():
    def renamed(tokens, mask_p):
        return tokens

    def behind(attention_mask, mask_p, input_ids):
        return input_ids

    def keyword(*, input_ids, mask_p):
        return input_ids

    def any_keyword(**everything):
        return everything["input_ids"]

    def anything(*positional, **options):
        assert options == shares()
        return positional[0]

    for function in (renamed, behind, keyword, any_keyword, anything):
        assert received(function) == "the input_ids"


def test_decorated_functions_are_seen_through():
    def mask(input_ids, attention_mask, mask_p):
        return locals()

    @functools.wraps(mask)
    def renaming(ids, **options):
        return mask(ids, **options)

    def hiding(*positional, **options):
        return mask(*positional, **options)

    assert received(renaming)["attention_mask"] == "the attention_mask"
    assert received(functools.partial(mask, mask_p=1))["mask_p"] == "the mask_p"
    with pytest.raises(TypeError, match="mask_token_p"):  # nothing tells what the function behind it takes
        received(hiding)


def test_a_subclass_of_ours_gets_all_that_ours_takes():
    def mask(*positional, **options):
        return options

    assert received(mask, extends_ours=True) == {name: VALUES[name] for name in BY_NAME}


def test_a_function_that_cannot_be_inspected_is_taken_for_the_references():
    class Opaque:
        __signature__ = "none"

        def __call__(self, input_ids, mask_p, mask_token_p, random_token_p):
            return locals()

    assert received(Opaque())["mask_p"] == "the mask_p"


def test_what_nobody_can_give_is_named():
    def mask(input_ids, pad_mask, mask_p, *, seed, style="plain", **options): ...

    call = MaskingCall.of(mask, extends_ours=False)
    assert call.unknown_parameters() == ["pad_mask", "seed"]
    assert call.unused_shares == []
    assert MaskingCall.of(lambda input_ids, mask_p: 0, extends_ours=False).unused_shares == [
        "mask_token_p",
        "random_token_p",
    ]


KINDS = ("positional-only", "plain", "keyword-only")


@st.composite
def functions(draw):
    """A function of any signature that can be served: it returns what it got, by name."""
    known = draw(st.sets(st.sampled_from(BY_NAME)))
    ids = draw(st.sampled_from(["input_ids", "x", "batch"]))
    names = draw(st.permutations([ids, *sorted(known), *draw(st.sets(st.sampled_from(["style", "words"])))]))
    if ids != "input_ids":  # known by its place then
        names = [ids, *(name for name in names if name != ids)]
    by_kind = {kind: [] for kind in KINDS}
    for name in names:
        allowed = KINDS if name in VALUES else KINDS[:2] if name == ids else KINDS[1:]
        by_kind[draw(st.sampled_from(allowed))].append(name)
    optional = draw(st.booleans())
    parts, seen_default = [], False
    for kind in KINDS:
        if kind == "keyword-only":
            stars = draw(st.booleans())
            parts += ["*rest"] if stars else ["*"] if by_kind[kind] else []
        for name in by_kind[kind]:
            seen_default = seen_default or name in ("style", "words") or (optional and name != ids)
            default = name in ("style", "words") or (seen_default and kind != "keyword-only")
            parts.append(f"{name}='default'" if default else name)
        if kind == "positional-only" and by_kind[kind]:
            parts.append("/")
    parts += ["**options"] if draw(st.booleans()) else []
    scope = {}
    exec(f"def mask({', '.join(parts)}): return {{**locals(), **locals().get('options', {{}})}}", scope)
    return scope["mask"], ids, known, ", ".join(parts)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(functions())
def test_strangers_signatures_get_each_value_under_its_name(case):
    function, ids, known, _ = case
    got = received(function)
    assert got.pop(ids) == "the input_ids"
    assert {name: got[name] for name in known} == {name: VALUES[name] for name in known}
    assert all(got.get(name, "default") == "default" for name in ("style", "words"))
    assert not got.get("rest")
    assert ("attention_mask" in got) == ("attention_mask" in known)


# --- the answer -----------------------------------------------------------------------------------------------

IDS = np.array([[2, 5, 6, 7, 3, 0], [2, 8, 9, 3, 0, 0]])
PROTECTED = IDS < 5


def checked(masked_ids, labels, ids=IDS, protected=PROTECTED, vocab_size=10, head=HEAD):
    answer = (np.asarray(masked_ids), np.asarray(labels))
    return checked_masks(Path("mine.py"), ids, protected, answer, vocab_size=vocab_size, settings=head)


def test_special_tokens_and_padding_are_put_back():
    masks = checked(np.full_like(IDS, 4), IDS)
    np.testing.assert_array_equal(masks.masked_ids, np.where(PROTECTED, IDS, 4))
    np.testing.assert_array_equal(masks.labels, np.where(PROTECTED, -100, IDS))
    assert (masks.num_protected, masks.num_chosen, masks.num_ordinary) == (7, 5, 5)
    # whatever stands there: also what would be out of range elsewhere
    wild = checked(np.where(PROTECTED, 99, IDS), np.where(PROTECTED, -1, -100))
    np.testing.assert_array_equal(wild.masked_ids, IDS)
    assert (wild.labels == -100).all()


def test_sound_masks_are_left_as_they_are():
    masked, labels = IDS.copy(), np.full_like(IDS, -100)
    masked[0, 1], labels[0, 1], labels[1, 2] = 4, 5, 9
    masks = checked(masked, labels)
    assert masks.num_protected == 0
    np.testing.assert_array_equal((masks.masked_ids, masks.labels), (masked, labels))


def test_predictions_of_which_none_is_hidden_are_refused():
    ids = np.full((2, 20), 7)
    everywhere = {"ids": ids, "protected": np.zeros_like(ids, bool)}
    with pytest.raises(UserError, match="chose 40 tokens to predict and changed none"):
        checked(ids, ids, **everywhere)
    keep = MlmHead(mask_p=0.5, mask_token_p=0.1, random_token_p=0.1)  # then it can be chance
    assert checked(ids, ids, **everywhere, head=keep).num_chosen == 40


def test_labels_everywhere_are_refused_where_most_of_their_tokens_are_visible():
    ids = np.full((8, 50), 7)
    everywhere = {"ids": ids, "protected": np.zeros_like(ids, bool)}
    hidden = np.random.default_rng(0).random(ids.shape) < 0.15
    with pytest.raises(
        UserError, match=r"chose 400 tokens.* left 3\d\d of them as they were.* Labels must be -100 where"
    ):
        checked(np.where(hidden, 4, ids), ids, **everywhere)
    # tokens beside those that are predicted are not what hides them
    with pytest.raises(UserError, match="changed none of them"):
        checked(np.where(hidden, 4, ids), np.where(hidden, -100, ids), **everywhere)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 10]), st.sampled_from([0.0, 0.1, 0.3]), st.integers(1, 60))
def test_strangers_masks_of_words_and_spans_with_the_shares_asked_for_are_sound(seed, span, keep, rows):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 10, (rows, 60))
    chosen, kept = (np.repeat(rng.random((rows, 60 // span)) < share, span, axis=1) for share in (0.3, keep))
    head = MlmHead(mask_token_p=1 - keep, random_token_p=0.0)
    masked, labels = np.where(chosen & ~kept, 4, ids), np.where(chosen, ids, -100)
    assert checked(masked, labels, ids, np.zeros_like(ids, bool), head=head).num_chosen == chosen.sum()


def test_far_more_predictions_than_asked_for_are_noticed():
    ids = np.full((10, 100), 7)
    everywhere = {"ids": ids, "protected": np.zeros_like(ids, bool)}
    for share, noticed in ((0.15, False), (0.2, False), (0.4, True), (1.0, True)):
        chosen = np.arange(1000).reshape(ids.shape) < 1000 * share
        masks = checked(np.where(chosen, 4, ids), np.where(chosen, ids, -100), **everywhere)
        assert masks.far_more_than(0.15) == noticed


@st.composite
def answers(draw):
    """Ids of a batch, which of them are protected, and an answer: sound, or with anything anywhere."""
    shape = draw(st.sampled_from([(1, 1), (1, 7), (3, 5), (2, 40)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids = rng.integers(0, 12, shape)
    protected = ids < 5
    chosen = rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    masked, labels = np.where(chosen, 4, ids), np.where(chosen, ids, -100)
    fault = draw(st.sampled_from(["none", "masked", "labels", "both", "aliased"]))
    if fault in ("masked", "both"):
        masked = rng.integers(-2, 14, shape)
    if fault in ("labels", "both"):
        labels = rng.integers(-101, 14, shape)
    return ids, protected, masked, masked if fault == "aliased" else labels, fault


@settings(deadline=None, derandomize=True, max_examples=30)
@given(answers())
def test_strangers_answers_are_sound_or_refused(case):
    ids, protected, masked, labels, fault = case
    try:
        masks = checked(masked, labels, ids, protected, vocab_size=12)
    except UserError:
        assert fault != "none"
        return
    assert (masks.masked_ids[protected] == ids[protected]).all()
    assert (masks.labels[protected] == -100).all()
    assert set(np.unique(masks.masked_ids)) <= set(range(12))
    chosen = masks.labels != -100
    assert (masks.labels[chosen] == ids[chosen]).all()
    assert masks.num_chosen == chosen.sum()
    assert masks.num_ordinary == Counter(protected.flat)[False]
