"""The verdict says what the figures say, whatever they are."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from textclf_jax.study.design import TITLES
from textclf_jax.verdict.sentences import CHANCE, Figures, verdict

LINEAR = "pretrained+linear"
METHODS = tuple(TITLES)
VALUE = st.integers(0, 100)
HALF, P = st.floats(0.0, 0.2), st.floats(0.0, 1.0)


def results(accuracies: dict[str, float], sure: dict[tuple[str, str], tuple[float, float]]):
    """Figures of these accuracies; `sure` has the half width of the interval of each difference, and its p-value."""
    methods = [
        {"method": name, "accuracy": {"value": value, "low": value - 0.01, "high": value + 0.01}}
        for name, value in accuracies.items()
    ]
    differences = []
    for other, name in itertools.combinations(accuracies, 2):
        value = accuracies[name] - accuracies[other]
        half, p_value = sure[name, other]
        interval = {"value": value, "low": value - half, "high": value + half}
        differences.append({"method": name, "less": other, "accuracy": interval, "p_value": p_value})
    return {"test_rows": 1000, "methods": methods, "differences": differences}


def plain(accuracies: dict[str, float], half: float = 0.01, p_value: float = 0.001):
    sure = {(name, other): (half, p_value) for other, name in itertools.combinations(METHODS, 2)}
    return results(dict(zip(METHODS, accuracies.values(), strict=True)), sure)


def of(majority=0.25, tfidf=0.8, alone=0.5, scratch=0.75, pretrained=0.82, linear=0.85, **changes):
    figures = {"m": majority, "t": tfidf, "a": alone, "s": scratch, "p": pretrained, "l": linear}
    return verdict(plain(figures, **changes))


@st.composite
def made_up(draw):
    pairs = [(name, other) for other, name in itertools.combinations(METHODS, 2)]
    return results({name: draw(VALUE) / 100 for name in METHODS}, {pair: (draw(HALF), draw(P)) for pair in pairs})


@given(made_up())
def test_whatever_the_figures_are_it_is_true(found):
    accuracy = {each["method"]: each["accuracy"]["value"] for each in found["methods"]}
    differences = {}
    for each in found["differences"]:
        low, high = each["accuracy"]["low"], each["accuracy"]["high"]
        differences[each["method"], each["less"]] = low > 0 and each["p_value"] < CHANCE
        differences[each["less"], each["method"]] = -high > 0 and each["p_value"] < CHANCE
    told = verdict(found)
    most = max(accuracy.values())
    best = Figures(found).best(METHODS)
    assert accuracy[best] == most
    if told[0].startswith("No method is better by more than chance"):
        assert best == "majority" or not differences[best, "majority"]
        assert len(told) == 1
        return
    assert TITLES[best] in told[0]
    assert f"{100 * most:.1f}% of the answers right" in told[0]
    others = sorted((value for name, value in accuracy.items() if name != best), reverse=True)
    assert told[0].startswith("There is a tie") == (others[0] == most and not told[0].startswith("The winner"))
    seconds = [name for name in METHODS if name != best and accuracy[name] == others[0]]
    if told[0].startswith("The winner"):
        assert any(differences[best, name] for name in seconds)
    if told[0].startswith("No clear winner"):
        assert not all(differences[best, name] for name in seconds)
        assert others[0] < most
    on = max(accuracy["pretrained"], accuracy[LINEAR])
    without = ("majority", "tfidf", "linear", "scratch")
    off = max(accuracy[name] for name in without)
    is_ahead = any(
        differences[a, b] for a in ("pretrained", LINEAR) for b in without if (accuracy[a], accuracy[b]) == (on, off)
    )
    if told[1].startswith("Pretraining was worth it"):
        assert on > off
        assert is_ahead
        assert differences["pretrained", "scratch"]
    if not is_ahead:
        assert told[1].startswith(("Pretraining was not worth it", "That pretraining was worth it cannot be told"))
    off_is_ahead = any(
        differences[b, a] for a in ("pretrained", LINEAR) for b in without if (accuracy[a], accuracy[b]) == (on, off)
    )
    if told[1].startswith("Pretraining was not worth it"):
        assert off_is_ahead


def test_pretraining_wins():
    first, second = of()
    assert first == (
        "The winner: pretrained encoder + linear path has 85.0% of the answers right (95%: 84.0 to 86.0) on 1,000 test "
        "texts, and is ahead of pretrained encoder by more than chance (+3.0 points, 95%: +2.0 to +4.0, p = 0.0010)."
    )
    assert second.startswith("Pretraining was worth it")
    assert "pretrained encoder + linear path less TF-IDF + logistic regression: +5.0 points" in second
    assert "pretrained less from scratch +7.0 points" in second


def test_tfidf_wins():
    first, second = of(tfidf=0.9)
    assert first.startswith("The winner: TF-IDF + logistic regression has 90.0%")
    assert second.startswith("Pretraining was not worth it: TF-IDF + logistic regression needs none and is ahead")


def test_what_may_be_chance():
    first, second = of(tfidf=0.845, half=0.02)
    assert first.startswith("No clear winner: pretrained encoder + linear path has 85.0%")
    assert second.startswith("That pretraining was worth it cannot be told: TF-IDF")


def test_a_tie_is_one():
    first, _ = of(tfidf=0.85)
    assert first.startswith("There is a tie: TF-IDF + logistic regression has 85.0%")


def test_the_linear_path_alone_does_not_make_pretraining_worth_it():
    assert of(scratch=0.82, linear=0.9)[1].startswith("Whether pretraining was worth it cannot be told")
    first, second = of(alone=0.85, linear=0.85)
    assert first.startswith("There is a tie: linear path alone has 85.0%")
    assert second.startswith("That pretraining was worth it cannot be told: linear path alone needs none")
    assert of(alone=0.9)[1].startswith("Pretraining was not worth it: linear path alone needs none and is ahead")
    assert of(scratch=0.86, tfidf=0.7, linear=0.9)[1].startswith("Pretraining was not what helped")


def test_nothing_learned():
    (told,) = of(majority=0.9)
    assert told.startswith("No method is better by more than chance than always answering with the largest class")
    (told,) = of(p_value=0.2)
    assert "pretrained encoder + linear path is ahead by +60.0 points" in told
