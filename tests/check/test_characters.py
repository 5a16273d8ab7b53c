"""Scripts, and text that was decoded wrongly."""

from pathlib import Path

import pytest

from textclf_jax.check.characters import describe_characters
from textclf_jax.prepare.texts import Row


def describe(*texts: str):
    return describe_characters([Row(text, None, Path("a.csv"), i + 2) for i, text in enumerate(texts)], 2)


def test_scripts():
    facts = describe("plain text", "naïve café", "да нет да", "日本の映画", "กินข้าว", "ｗｉｄｅ", "123 !")
    assert facts.scripts == pytest.approx(
        {"Latin": 22 / 39, "Cyrillic": 7 / 39, "Thai": 5 / 39, "Han": 4 / 39, "Kana": 1 / 39}
    )
    assert facts.other_script == 3
    assert facts.other_script_places == ["a.csv line 4", "a.csv line 5"]


def test_wrongly_decoded_text():
    good = ["naïve café", "“Ça va” – à la carte…", "São Paulo, MÂCON, CHÂTEAU", "20 Å"]
    assert describe(*good).mojibake == 0
    bad = [text.encode().decode("cp1252", "replace") for text in good[:2]]
    facts = describe(*good, *bad, "caf\ufffd")
    assert facts.mojibake == 3
    assert facts.mojibake_places == ["a.csv line 6", "a.csv line 7"]
