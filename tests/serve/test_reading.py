"""What a request may hold, and what is said of one that holds something else."""

import json

import pytest

pytest.importorskip("starlette")

from textclf_jax.serve.reading import Refusal, texts_of
from textclf_jax.serve.settings import Settings

SETTINGS = Settings(max_texts=3, max_characters=10)


def test_one_text_and_several():
    assert texts_of(b'{"text": "a"}', SETTINGS) == ["a"]
    assert texts_of(b' {"texts": ["a", "", "a"]} ', SETTINGS) == ["a", "", "a"]
    assert texts_of(b'{"texts": []}', SETTINGS) == []
    many = json.dumps({"text": "\U0001f600" * 10})  # pairs of surrogates are characters
    assert texts_of(many.encode(), SETTINGS) == ["\U0001f600" * 10]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, r"not JSON: Expecting value \(line 1, column 1\)"),
        (b'{"text": "a"', 400, r"not JSON: .*\(line 1, column 13\)"),
        (b'{"text": "a"} x', 400, "Extra data"),
        (b"\xef\xbb\xbf{}", 400, "BOM"),
        (b'{"text": "\xff"}', 400, "not UTF-8, from byte 10 on"),
        (bytes(range(256)), 400, "not UTF-8, from byte 128"),
        (b'{"text": NaN}', 400, "NaN is no number of JSON"),
        (b'{"text": "a", "text": "b"}', 400, "a key twice"),
        (b"[" * 100_000, 400, "too many levels"),
        (b"1" * 10_000, 400, "not JSON that is read here"),
        (b"[]", 422, r'must be {"text": "..."} .*; it is a list$'),
        (b"null", 422, "it is null$"),
        (b"7", 422, "it is a number$"),
        (b'"text"', 422, "it is a text$"),
        (b"{}", 422, "it has no key$"),
        (b'{"inputs": ["a"]}', 422, 'it has "inputs"$'),
        (b'{"text": "a", "texts": ["b"]}', 422, 'it has "text", "texts"$'),
        (b'{"text": ["a"]}', 422, "^text is a list, not a text$"),
        (b'{"text": true}', 422, "^text is true or false, not a text$"),
        (b'{"texts": "a"}', 422, '"texts" is a text$'),
        (b'{"texts": ["a", 1.5]}', 422, r"^texts\[1\] is a number, not a text$"),
        (b'{"texts": ["a", "b", "c", "d"]}', 422, "^4 texts are more than the limit of 3 a request$"),
        (b'{"texts": ["a", "elevenchars"]}', 422, r"^texts\[1\] has 11 characters, more than the limit of 10 a text$"),
        (b'{"text": "a\\u0000"}', 422, r"^text holds the character U\+0000"),
        (b'{"text": "\\ud83d!"}', 422, r"^text holds \\ud83d, half of a pair"),
    ],
)
def test_everything_else_is_refused_with_its_cause(body, status, told):
    with pytest.raises(Refusal, match=told) as refusal:
        texts_of(body, SETTINGS)
    assert refusal.value.status == status
