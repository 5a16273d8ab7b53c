"""Encodings that are guessed."""

import gzip

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.encodings import guess_common_encoding, guess_encoding

GERMAN = "Schöne Grüße aus Köln; das Café war leider zu – für Ärzte auch. Müller’s “Haus”\nÜBERFÜLLT\n"
FRENCH = "L’été dernier, où étiez-vous ? À Nîmes, chez le garçon qui œuvre. « Voilà »\n"


@pytest.mark.parametrize("text", [GERMAN, FRENCH, "¿Qué pasó en el año 2020, señor?\n", "naïve\n", "100 €\n"])
def test_western_text(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("cp1252"))
    guess = guess_encoding(path)
    assert guess.name == "windows-1252"
    assert "--encoding decides" in guess.note
    path.write_bytes(gzip.compress(text.encode("cp1252")))
    assert guess_encoding(path) == guess
    for other in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):  # which reading tells by itself
        path.write_bytes(text.encode(other))
        assert guess_encoding(path).name is None
    for other in ("utf-16-le", "utf-16-be"):
        path.write_bytes(text.encode(other))
        assert guess_encoding(path).name == other


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Это было очень хорошо и тепло", "cp1251"),
        ("Była wspaniała żółta łąka, którą wziął", "cp1250"),
        ("Ήταν πολύ καλό", "cp1253"),
        ("这是一个很好的电影", "gb18030"),
        ("とても良い映画でした", "shift_jis"),
        ("été où déjà vécu médecin", "mac_roman"),
        ("Schöne Grüße, bööse Bären", "cp437"),
    ],
)
def test_other_encodings_are_asked_for(tmp_path, text, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\n" + text.encode(encoding))
    with pytest.raises(UserError, match=r"line 2: is neither UTF-8 nor.*--encoding"):
        guess_encoding(path)


def test_files_that_are_read_together_agree(tmp_path):
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path, raw in zip(paths, (b"plain\n", "schön\n".encode("cp1252"), "schön\n".encode()), strict=True):
        path.write_bytes(raw)
    assert guess_common_encoding(paths[:2]).name == "windows-1252"
    assert guess_common_encoding(paths[::2]).name is None
    with pytest.raises(UserError, match=r"b\.txt seems to be windows-1252, but .*c\.txt utf-8.*iconv"):
        guess_common_encoding(paths)
