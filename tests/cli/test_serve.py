"""`textclf serve`: what is refused before anything is loaded."""

import pytest

from textclf_jax.cli import main
from textclf_jax.extras import install_line


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--port", "70000", "--port 70000 must be from 1 to 65535, or 0"),
        ("--port", "-1", "--port -1 must be from 1 to 65535, or 0"),
        ("--latency-ms", "-1", "--latency-ms -1 must be 0 or more"),
        ("--latency-ms", "nan", "--latency-ms nan must be 0 or more"),
        ("--max-batch", "0", "--max-batch 0 must be at least 1"),
        ("--max-waiting", "0", "--max-waiting 0 must be at least 1"),
        ("--max-body", "0", "--max-body 0 must be at least 1"),
        ("--max-texts", "-3", "--max-texts -3 must be at least 1"),
        ("--max-characters", "0", "--max-characters 0 must be at least 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(flag, value, told, capsys):
    assert main(["serve", "topics", flag, value]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_said_with_its_line(package, monkeypatch, capsys):
    monkeypatch.setattr("textclf_jax.extras.is_installed", lambda module: module != package)
    assert main(["serve", "topics"]) == 2
    told = f"`textclf serve` needs {package}, which is not installed: {install_line('serve')}"
    assert told in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textclf_jax.extras.is_installed", lambda module: True)
    assert main(["serve", "topics"]) == 2
    assert "there is no finetuning run topics" in capsys.readouterr().err
