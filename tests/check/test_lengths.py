"""Tokens, and what cutting loses."""

from textclf_jax.check.lengths import count_tokens, describe_lengths


def test_words_signs_and_characters():
    assert count_tokens("Don't stop, now!") == 7
    assert count_tokens("好电影 film") == 4
    assert count_tokens("") == 0


def test_what_cutting_loses():
    facts = describe_lengths(["word " * 62, "word " * 63, "word " * 1000])
    assert facts.percentiles == {50: 63, 95: 1000, 99: 1000, 100: 1000}
    assert facts.cut_texts[64] == 2 / 3
    assert facts.lost_tokens[64] == (1 + 938) / 1125
    assert facts.lost_tokens[1024] == 0
    assert facts.holding == 1024
    assert describe_lengths(["word " * 10_000]).holding is None
