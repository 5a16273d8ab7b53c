"""What a request for predictions holds, or why it is refused."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from textclf_jax.errors import listed
from textclf_jax.files import LONE_SURROGATE
from textclf_jax.serve.settings import Settings

READ_SECONDS = 10.0  # in which a body must have arrived
TEXT, TEXTS = "text", "texts"
WANTED = f'The body must be {{"{TEXT}": "..."}} for one text, or {{"{TEXTS}": ["...", "..."]}}'
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
CHARSET = re.compile(r'charset\s*=\s*"?([^\s";]*)')


class Refusal(Exception):
    """A request that gets no prediction; the message is for who sent it.

    Attributes:
      status: of the answer.
      headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers


async def read_texts(request: Request, settings: Settings) -> list[str]:
    """Reads the texts of a request.

    Raises:
      Refusal: it is too large, too slow, or something else than is wanted.
    """
    _check_headers(request.headers)
    return texts_of(await _read_body(request, settings.max_body), settings)


def texts_of(body: bytes, settings: Settings) -> list[str]:
    """The texts that a body of JSON holds; raises Refusal."""
    content = _parsed(body)
    if not isinstance(content, dict):
        raise Refusal(422, f"{WANTED}; it is {_kind(content)}")
    if len(content.keys() & {TEXT, TEXTS}) != 1 or len(content) != 1:
        keys = listed([json.dumps(key) for key in content]) if content else "no key"
        raise Refusal(422, f"{WANTED}; it has {keys}")
    if TEXT in content:
        return [_checked(content[TEXT], TEXT, settings)]
    texts = content[TEXTS]
    if not isinstance(texts, list):
        raise Refusal(422, f'{WANTED}; "{TEXTS}" is {_kind(texts)}')
    if len(texts) > settings.max_texts:
        raise Refusal(422, f"{len(texts):,} texts are more than the limit of {settings.max_texts:,} a request")
    return [_checked(text, f"{TEXTS}[{i}]", settings) for i, text in enumerate(texts)]


def _check_headers(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "")
    charset = CHARSET.search(kind.lower())
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, f"{WANTED}, with the header Content-Type: application/json")
    if charset and charset[1] not in ("utf-8", "utf8"):
        raise Refusal(415, "JSON must be in UTF-8")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(415, "compressed bodies are not read: leave out the header Content-Encoding, and the compression")


async def _read_body(request: Request, most: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise Refusal(413, f"the body is larger than the limit of {most:,} bytes: send fewer texts at once")
    except TimeoutError:
        told = f"the body did not arrive within {READ_SECONDS:g} seconds"
        raise Refusal(408, told, {"connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(400, "the body is not complete") from None
    return bytes(body)


def _parsed(body: bytes) -> Any:
    """What JSON means; raises Refusal where readers of JSON would not agree about it, too."""
    try:
        return json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_unequal_keys)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8, from byte {error.start} on") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal(400, f"the body is not JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise Refusal(400, "the body has too many levels of brackets") from None
    except ValueError as error:  # of the functions above, and of numbers with thousands of digits
        raise Refusal(400, f"the body is not JSON that is read here: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _unequal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("an object has a key twice")
    return content


def _kind(value: Any) -> str:
    return KINDS.get(type(value), "a number")


def _checked(text: Any, name: str, settings: Settings) -> str:
    """The text, if it is one that can be classified; raises Refusal."""
    if not isinstance(text, str):
        raise Refusal(422, f"{name} is {_kind(text)}, not a text")
    if len(text) > settings.max_characters:
        raise Refusal(
            422, f"{name} has {len(text):,} characters, more than the limit of {settings.max_characters:,} a text"
        )
    if "\0" in text:
        raise Refusal(422, f"{name} holds the character U+0000, which no text has")
    if half := LONE_SURROGATE.search(text):
        raise Refusal(422, f"{name} holds \\u{ord(half[0]):04x}, half of a pair without the other: no character")
    return text
