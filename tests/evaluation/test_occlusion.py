"""Which words decide, on a model whose answer is a known sum over words."""

import numpy as np
import pytest

from textclf_jax.evaluation.occlusion import effects, spans_of, without

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "the", ".", "##", "<script>"]
SPECIAL = np.arange(len(TOKENS)) < 5
IDS = np.array([2, 7, 5, 6, 8, 1, 6, 10, 3])


def texts(spans):
    return [span.text for span in spans]


def test_pieces_become_words_without_special_tokens():
    spans = spans_of(IDS, TOKENS, SPECIAL, most=100)
    assert texts(spans) == ["the", " playing", " .", " [UNK]ing", " <script>"]
    assert [(span.start, span.stop) for span in spans] == [(1, 2), (2, 4), (4, 5), (5, 7), (7, 8)]


@pytest.mark.parametrize(("most", "expected"), [(2, ["the playing .", " [UNK]ing <script>"]), (1, None), (3, None)])
def test_words_are_grouped_where_there_are_many(most, expected):
    spans = spans_of(IDS, TOKENS, SPECIAL, most)
    assert len(spans) <= most
    assert "".join(texts(spans)) == "the playing . [UNK]ing <script>"
    assert expected is None or texts(spans) == expected


def test_other_vocabularies_mark_where_words_begin():
    tokens = ["<s>", "\u2581the", "\u2581play", "ing", "."]
    spans = spans_of(np.array([0, 1, 2, 3, 4, 0, 3]), tokens, np.arange(5) < 1, most=9)
    assert texts(spans) == ["the", " playing.", " ing"], "a special token ends a word, too"


def test_a_text_of_special_tokens_has_no_words():
    assert spans_of(np.array([2, 3]), TOKENS, SPECIAL, most=9) == []


def test_each_text_lacks_one_span():
    spans = spans_of(IDS, TOKENS, SPECIAL, most=100)
    rows = without(IDS, spans)
    assert rows[1].tolist() == [2, 7, 8, 1, 6, 10, 3]
    assert len(rows) == 5


def test_of_a_sum_over_words_each_effect_is_its_summand():
    """The model adds a weight for each token, for two classes: the answer is their difference."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(len(TOKENS), 2))
    calls = []

    def score(rows):
        calls.append(len(rows))
        return np.stack([weights[row].sum(axis=0) for row in rows])

    def margin(i, scores):
        return scores[:, i] - scores[:, 1 - i]

    other = np.array([2, 8, 8, 5, 3])
    spans = [spans_of(ids, TOKENS, SPECIAL, most=100) for ids in (IDS, other)]
    found = effects([IDS, other], spans, score, margin)
    difference = weights[:, 0] - weights[:, 1]
    np.testing.assert_allclose(found[0], [difference[IDS[s.start : s.stop]].sum() for s in spans[0]], atol=1e-12)
    np.testing.assert_allclose(found[1], [-difference[8], -difference[8], -difference[5]], atol=1e-12)
    assert calls == [6 + 4], "all texts in one call"
