"""The pages: escaped, self-contained, and in Chromium without a window."""

import base64
import hashlib
import re
import shutil
import subprocess

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from tests.serve.fakes import FakeClassifier, at_address, ready, running
from textclf_jax.serve import pages
from textclf_jax.serve.app import make_app
from textclf_jax.serve.pages import Safe, fill

NAME = '<script>alert("1")</script>'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_what_is_filled_in_is_escaped():
    assert fill("<p>$a $b</p>", a='<i> & "x" \ud83d', b=Safe("<br>")) == "<p>&lt;i&gt; &amp; &quot;x&quot; � <br></p>"
    with pytest.raises(KeyError):
        fill("$gone")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_holds_all_that_it_needs(path):
    with running(FakeClassifier()) as service:
        answer = TestClient(make_app(ready(service), NAME)).get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (NAME in answer.text, "&lt;script&gt;alert" in answer.text) == (False, True)
    assert "&lt;b&gt;&amp;" in answer.text  # a label
    assert re.findall(r"https?:|//\w|@import|url\(", answer.text.replace("// texts of", "")) == []
    assert "<html lang=" in answer.text
    assert "prefers-color-scheme: dark" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_each_field_has_a_label():
    with running(FakeClassifier()) as service:
        text = TestClient(make_app(ready(service), "topics")).get("/").text
    fields = re.findall(r'<(?:textarea|input)[^>]* id="(\w+)"', text)
    assert sorted(fields) == sorted(re.findall(r'<label for="(\w+)"', text)) == ["lines", "text"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome")
def test_the_page_classifies_in_a_browser(tmp_path, monkeypatch):
    """Its own script sends what is in the field; nothing is logged."""
    pytest.importorskip("uvicorn")

    def typing(name: str) -> str:
        typed = 'text.value = "<i>a goal</i>"; form.requestSubmit();' if name == "trial.js" else ""
        return (pages.TEMPLATES / name).read_text(encoding="utf-8") + typed

    monkeypatch.setattr(pages, "_file", typing)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=5000"]
    command += ["--enable-logging=stderr", "--dump-dom"]
    with running(FakeClassifier()) as service, at_address(make_app(ready(service), "topics")) as url:
        done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    assert "CONSOLE" not in done.stderr
    assert '<p id="status" role="status">1 text</p>' in done.stdout
    assert service.metrics_text().count("textclf_texts_total 1\n") == 1
