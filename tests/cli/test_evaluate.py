"""What `textclf evaluate` refuses; its figures are tested in tests/training/test_evaluating.py."""

import json
import shutil

import pytest

from tests.interop import bert
from textclf_jax.cli import main
from textclf_jax.interop.importing import import_huggingface
from textclf_jax.runs.checksums import sealed, unsealed


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A project with a classifier `news` and a bare encoder `wiki`."""
    root = tmp_path_factory.mktemp("project")
    for kind, name in {"BertForSequenceClassification": "news", "BertModel": "wiki"}.items():
        import_huggingface(bert.save(bert.random_model(kind), root / kind), name, root)
    return root


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nwes"], 'Did you mean "news"?'),
        (["news", "--split", "val", "--out", "file"], "--out file is a file"),
        (["wiki"], "an encoder without its MLM head"),
        (["news", "--data", "gone.pt"], "--data gone.pt: there is no such file"),
        (["news"], "had it as test split. Put it back, or name another file with --data."),
        (["news", "--out", "file/report"], "--out file/report: "),
    ],
)
def test_what_cannot_be_evaluated_is_refused(imported, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(imported)
    (imported / "file").touch()
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_split_that_the_run_did_not_have(imported, tmp_path, monkeypatch, capsys):
    shutil.copytree(imported / "experiments", tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "experiments/finetuning/news/model.ckpt/metadata.json"
    metadata = unsealed(json.loads(path.read_text()))
    metadata["config"]["data"]["test"]["dataset_path"] = None
    path.write_text(json.dumps(sealed(metadata)))
    assert main(["evaluate", "news"]) == 2
    assert "its run had no test split (data.test.dataset_path), but: train, val." in capsys.readouterr().err
