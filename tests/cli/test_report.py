"""What `textclf report` refuses and where it writes; the facts and the page are tested in tests/report/."""

import json

import pytest

from tests.report.cases import Page, write_finished
from textclf_jax.cli import main


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A finished run whose model is not there."""
    write_finished(tmp_path, "news", {"accuracy": 0.75, "f1_macro": 0.5, "loss": 0.5}, seed=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_without_its_model_is_reported_as_far_as_it_goes(project, capsys):
    (project / "check.json").write_text(json.dumps({"suspects": [{"row": 7, "text": "<b>odd</b>"}]}), encoding="utf-8")
    assert main(["report", "news", "--out", "here/it/is", "--check", "check.json"]) == 0
    printed = capsys.readouterr().out
    assert "wrote here/it/is/report.html" in printed
    assert "not told: answers of the model" in printed
    page = Page((project / "here/it/is/report.html").read_text(encoding="utf-8"))
    assert page.faults == []
    for told in ("0.7500", "as the run ended; without intervals", "<b>odd</b>", "textclf finetune news --fresh"):
        assert told in page.text
    assert (project / "here/it/is/MODEL_CARD.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nwes"], 'Did you mean "news"?'),
        (["news", "--out", "check.json"], "--out check.json is a file; name a folder"),
        (["news", "--check", "gone.json"], "--check gone.json: cannot be read"),
    ],
)
def test_what_cannot_be_reported_is_refused(project, capsys, arguments, message):
    (project / "check.json").write_text("{}")
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (project / "experiments/finetuning/news/report.html").exists()
