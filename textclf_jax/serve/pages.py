"""The pages for a browser: one to try the model, one that describes the paths. They ask nothing of a network."""

import base64
import hashlib
import html
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from textclf_jax.tokenizer.text_files import well_formed

if TYPE_CHECKING:
    from textclf_jax.evaluation.classifier import Classifier

TEMPLATES = Path(__file__).parent / "templates"


class Page(NamedTuple):
    """A page.

    Attributes:
      html: its text.
      headers: of the answer; they let nothing run, and nothing be loaded, but what the page holds.
    """

    html: str
    headers: dict[str, str]


class Safe(str):
    """HTML of ours, which is not escaped again."""

    __slots__ = ()


def fill(template: str, **values: str) -> Safe:
    """Fills in `$names`; what is not `Safe` is escaped."""
    escaped = {
        name: value if isinstance(value, Safe) else html.escape(well_formed(value)) for name, value in values.items()
    }
    return Safe(string.Template(template).substitute(escaped))


def trial_page(classifier: "Classifier", name: str) -> Page:
    """The page to try a model of this name."""
    kind = "any number of" if classifier.multi_label else "one of"
    items = Safe("".join(fill("<li>$label</li>", label=label) for label in classifier.labels))
    reads = f"{classifier.max_length:,}"
    main = fill(_file("trial.html"), name=name, kind=kind, count=str(len(classifier.labels)), items=items, reads=reads)
    return _page(name, main, _file("trial.js"))


def api_page(api: dict[str, Any]) -> Page:
    """The page for a description by OpenAPI."""
    sections = Safe("".join(_sections(api)))
    return _page(api["info"]["title"], fill(_file("api.html"), title=api["info"]["title"], sections=sections), "")


def _sections(api: dict[str, Any]) -> Iterator[Safe]:
    for path, methods in api["paths"].items():
        for method, about in methods.items():
            rows = "".join(
                fill("<tr><th scope=row>$status</th><td>$told</td></tr>", status=status, told=found["description"])
                for status, found in about["responses"].items()
            )
            content = about.get("requestBody", {}).get("content", {})
            bodies = "".join(
                fill("<pre tabindex=0>$body</pre>", body=json.dumps(example["value"]))
                for kind in content.values()
                for example in kind["examples"].values()
            )
            yield fill(
                _file("path.html"),
                method=method.upper(),
                path=path,
                summary=about["summary"],
                rows=Safe(rows),
                bodies=Safe(bodies),
            )
    for name, schema in api["components"]["schemas"].items():
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        yield fill("<h2>$name</h2>\n<pre tabindex=0>$text</pre>\n", name=name, text=text)


def _page(title: str, main: Safe, script: str) -> Page:
    style = _file("style.css")
    text = fill(_file("base.html"), title=title, style=Safe(style), main=main, script=Safe(script))
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text, {"content-security-policy": policy, "x-content-type-options": "nosniff"})


def _digest(text: str) -> str:
    """How a policy names what stands in the page itself."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
