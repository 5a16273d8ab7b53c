"""Texts that are nearly the same."""

from itertools import combinations

import numpy as np

from tests.check.cases import make_rows
from textclf_jax.check.near_duplicates import jaccard, min_hashes, near_duplicates, normalized


def exact_groups(texts):
    """Groups by comparing all pairs."""
    group = list(range(len(texts)))
    for a, b in combinations(range(len(texts)), 2):
        one, other = normalized(texts[a]), normalized(texts[b])
        if one == other or (min(len(one), len(other)) >= 30 and jaccard(one, other) >= 0.8):
            old, new = max(group[a], group[b]), min(group[a], group[b])
            group = [new if g == old else g for g in group]
    return group


def test_the_same_groups_as_by_comparing_all_pairs():
    rng = np.random.default_rng(0)
    texts = [row.text for row in make_rows(60)]
    for i in range(0, 60, 3):  # a word more, another case, other punctuation
        words = texts[i].split()
        words.insert(int(rng.integers(len(words))), "also")
        texts += [" ".join(words), texts[i].upper() + " !", "- " + texts[i].replace(" ", ", ")]
    groups = near_duplicates(texts).tolist()
    assert groups == exact_groups(texts)
    assert len(set(groups)) < 70


def test_hashes_agree_as_often_as_shingles_are_shared():
    a = "the quick brown fox jumps over the lazy dog and then it runs far away into the dark green wood"
    b = a.replace("lazy dog", "tired cat").replace("dark", "deep")
    agreeing = [(min_hashes([a, b])[0] == min_hashes([a, b])[1]).mean()]
    assert abs(agreeing[0] - jaccard(a, b)) < 4 * np.sqrt(0.25 / 32)
    assert min_hashes([a, b]).shape == (2, 32)


def test_short_empty_and_strange_texts():
    texts = ["good film", "Good film!", "good films", "", "", "!!!", "???", "กิน", "กัน", "\ud83d"]
    assert near_duplicates(texts).tolist() == [0, 0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert near_duplicates([]).tolist() == []
    long = "word " * 3000  # the beginnings are compared
    assert near_duplicates([long + "a", long + "b"]).tolist() == [0, 0]


def test_many_copies_stay_linear():
    """500 texts of one template are compared with one another's first alone."""
    texts = [
        f"Dear customer, your order {i} has been sent and will arrive at your door within three days"
        for i in range(500)
    ]
    assert len(set(near_duplicates(texts).tolist())) == 1
