"""Pages in Chromium without a window: quiet, without a network, on a phone, in light and dark, and printed."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.cases import write_finished
from tests.report.test_page import EVIL, LONG, answers, facts
from textclf_jax.cli import main
from textclf_jax.report.facts import Verdict, Word
from textclf_jax.report.page import draw, report_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome"),
]
UNBROKEN = "x" * 10_000
PHONE, SMALL_PHONE, DESK = 390, 320, 1200
GRAVE = ("serious", "critical")  # of what axe-core finds


def verdict() -> Verdict:
    """Of two methods, one of which strangers have named."""
    columns = ("method", "accuracy, %", "95% interval", "macro-F1, %", "95% interval", "minutes")
    rows = [(name, "80.12", "77.00 to 83.00", "79.95", "76.10 to 83.20", "1.5") for name in ("encoder", EVIL)]
    differences = (("method", "less", "accuracy, points", "95% interval", "p"), [("a", "b", "+1.00", "0 to 2", "0.04")])
    return Verdict(
        sentences=("The winner: an encoder.", f"Pretraining was worth it: {EVIL}."),
        methods=(columns, rows),
        differences=differences,
        forecast="200 more labels: +1.0 to +2.1 points.",
        strength="TF-IDF + logistic regression has C = 3.",
        abstention='news says "don\'t know" where it is not sure enough.',
        calibration=(("encoder", "0.1000", "0.0500"),),
        command=f"textclf run survey.csv --label-column '{EVIL}'",
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report with every section, and texts of 10,000 characters, one of them without a space."""
    folder = tmp_path_factory.mktemp("run")
    csv = folder / "metrics/train/metrics.csv"
    csv.parent.mkdir(parents=True)
    csv.write_text("step,update,epoch,train/loss\n1,1,1,2.0\n8,8,1,1.0\n", encoding="utf-8")
    (mistake,) = answers().mistakes
    unbroken = replace(mistake, row=4, predicted=UNBROKEN[:400], words=(Word(UNBROKEN, 0.5),))
    run = facts(
        answers=answers(mistakes=(mistake, unbroken)), verdict=verdict(), remarks=(UNBROKEN[:300], f"remark {EVIL}")
    )
    (folder / "report.html").write_text(report_page(run, draw(run, folder)), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    """The page of three runs."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for seed, accuracy in enumerate((0.8, 0.7, 0.9), start=1):
            write_finished(root, f"run{seed}", {"accuracy": accuracy, "loss": 1.0}, seed=seed)
        assert main(["compare", "run1", "run2", "run3", "--out", "compared.html"]) == 0
    (page,) = root.rglob("*.html")
    return page


@pytest.fixture(params=["report", "comparison"])
def page_file(request) -> Path:
    return request.getfixturevalue(request.param)


# --- by Chromium alone ------------------------------------------------------------------------------------------


def browse(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Opens a page in a fresh profile that no other program uses."""
    profile = page.with_name("profile")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    return subprocess.run([*command, *flags, page.as_uri()], capture_output=True, text=True, check=True)


def test_the_page_is_quiet_and_asks_no_address(report, tmp_path):
    log = tmp_path / "net.json"
    done = browse(report, f"--log-net-log={log}", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert "&lt;script&gt;alert" in done.stdout
    assert EVIL not in done.stdout
    assert "evil.example" not in log.read_text(encoding="utf-8")
    constants = json.loads(log.read_text(encoding="utf-8"))["constants"]
    assert "logEventTypes" in constants, "the log was written"


def test_the_page_can_be_printed(report, tmp_path):
    browse(report, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


# --- by Playwright ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page at a width, in a colour scheme; what it says and asks for is in its lists `said` and `asked`."""
    contexts = []

    def open_page(path: Path, width: int = DESK, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_nothing_is_logged_and_nothing_but_the_page_is_asked_for(opened, page_file):
    page = opened(page_file)
    page.keyboard.press("Tab")
    for summary in page.locator("summary").all():
        summary.click()
    assert page.said == []
    assert page.asked == [page_file.as_uri()]


def test_texts_of_strangers_are_shown_as_text(opened, report):
    page = opened(report)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.scripts.length + document.images.length") == 0
    shown = page.inner_text("body")
    assert shown.count('<script>alert("x")</script>') >= 8
    assert LONG.strip() in shown
    assert UNBROKEN in shown


@pytest.mark.parametrize("width", [SMALL_PHONE, PHONE, DESK])
def test_the_page_never_scrolls_to_the_side(opened, page_file, width):
    page = opened(page_file, width)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("window.scrollTo(1000, 0)")
    assert page.evaluate("window.scrollX") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_axe_finds_no_serious_fault(opened, page_file, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(page_file, width, scheme)
    for summary in page.locator("summary").all():
        summary.click()
    found = axe.run(page).response
    assert len(found["passes"]) > 10, "it has looked"
    grave = [each for each in found["violations"] if each["impact"] in GRAVE]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in grave] == []


def test_dark_and_light_differ_and_print_is_light(opened, report):
    def colours(page) -> list[str]:
        return page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")

    light, dark = (opened(report, scheme=scheme) for scheme in ("light", "dark"))
    assert colours(light) != colours(dark)
    dark.emulate_media(media="print", color_scheme="dark")
    assert colours(dark)[0] == "rgb(255, 255, 255)"
    assert dark.locator("nav").is_hidden()
