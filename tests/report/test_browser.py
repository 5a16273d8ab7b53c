"""The page in Chromium without a window: nothing is logged, no address is asked for, and it can be printed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.test_page import EVIL, facts
from textclf_jax.report.page import draw, report_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome"),
]


def browse(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Opens a page in a fresh profile that no other program uses."""
    profile = page.with_name("profile")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    return subprocess.run([*command, *flags, page.as_uri()], capture_output=True, text=True, check=True)


@pytest.fixture
def page(tmp_path):
    csv = tmp_path / "metrics/train/metrics.csv"
    csv.parent.mkdir(parents=True)
    csv.write_text("step,update,epoch,train/loss\n1,1,1,2.0\n8,8,1,1.0\n", encoding="utf-8")
    run = facts()
    (tmp_path / "report.html").write_text(report_page(run, draw(run, tmp_path)), encoding="utf-8")
    return tmp_path / "report.html"


def test_the_page_is_quiet_and_asks_no_address(page, tmp_path):
    log = tmp_path / "net.json"
    done = browse(page, f"--log-net-log={log}", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert "&lt;script&gt;alert" in done.stdout
    assert EVIL not in done.stdout
    assert "evil.example" not in log.read_text(encoding="utf-8")
    constants = json.loads(log.read_text(encoding="utf-8"))["constants"]
    assert "logEventTypes" in constants, "the log was written"


def test_the_page_can_be_printed(page, tmp_path):
    browse(page, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
