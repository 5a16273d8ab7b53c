"""The notebook and the page on the Python API do what they say."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.estimator.stand_in import train_in_no_time
from tests.estimator.texts import texts_and_labels
from textclf_jax import Classifier

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOK, PAGE = ROOT / "examples" / "python_api.ipynb", ROOT / "docs" / "python-api.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(code: str, names: dict[str, Any]) -> Any:
    """Runs statements among names; gives the value of the last one, if that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "code", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "code", "eval"), names)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {}
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    values = [run(cell, names) for cell in cells]
    assert len(values[0]) == 2
    assert values[1] == 1.0
    assert values[2].tolist() == ["sport", "money"]
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert words == ["the", "striker", "sold", "shares", "of", "the", "team"]
    assert values[4].min() > 0.9
    assert (values[5][0][0], values[5][0][2], values[5][1][2]) == ("sport", False, True)
    assert list(tmp_path.iterdir()) == []


def test_the_notebook_is_kept_without_results():
    """What it prints differs by machine, and hides what changes in it."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_snippets_of_the_page_run(tmp_path, monkeypatch, capsys):
    """With an untrained model for the first, and naive Bayes in the place of training."""
    from tests import tiny

    run_folder = tmp_path / "experiments" / "finetuning" / "topics"
    run_folder.mkdir(parents=True)
    tiny.untrained(run_folder, ("money", "sport"), classification_head={"num_labels": 2})
    monkeypatch.chdir(tmp_path)
    using, training, comparing = SNIPPET.findall(PAGE.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    run(using, names)
    assert names["classifier"].labels == ("money", "sport")
    assert capsys.readouterr().out.count("\n") == 2 + len(names["explanation"].words)
    fits = train_in_no_time(monkeypatch)
    texts, labels = texts_and_labels(24)
    names |= {"texts": texts, "labels": labels, "new_texts": texts, "new_labels": labels}
    *fitting, saving = training.strip().splitlines()
    assert run("\n".join(fitting), names) > 0.9
    assert re.fullmatch(r"estimator\.classifier_\.save\(.*\) +# and Classifier\.load\(.*\) later", saving)
    assert callable(Classifier.save)
    run(comparing, names)
    names["search"].fit(texts, labels)
    assert len(fits) == 1 + 2 + 4 * 2 + 1
