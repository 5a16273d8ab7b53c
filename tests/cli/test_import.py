"""`textclf import` on the command line; what it makes is tested in tests/interop/test_importing.py."""

from pathlib import Path

import pytest

from textclf_jax.cli import main
from textclf_jax.interop import importing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "model.ckpt"], "--reference needs --config"),
        (["--hf", "bert", "--vocab", "vocab"], "--config and --vocab go with --reference"),
        (["--hf", "bert"], "bert/config.json: there is no such file. bert does not exist."),
        (["--reference", "model.ckpt", "--config", "config.yaml"], "cannot read the config config.yaml: no such file"),
    ],
)
def test_wrong_arguments_are_messages(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["import", *arguments, "--name", "new"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--hf", "x"], ["--reference", "x", "--config", "y", "--vocab", "z"]])
def test_within_experiments_it_works_in_the_folder_above(tmp_path, monkeypatch, capsys, options):
    given = []
    for name in ("import_huggingface", "import_reference"):
        monkeypatch.setattr(importing, name, lambda *args, **named: given.append((args, named)) or (Path("a/b"), []))
    folder = tmp_path / "experiments" / "pretraining"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert main(["import", *options, "--name", "new"]) == 0
    assert Path.cwd() == tmp_path
    below = Path("experiments/pretraining")
    if len(options) == 2:
        assert given == [((below / "x", "new"), {})]
    else:
        assert given == [((below / "x", below / "y", "new"), {"vocab": below / "z"})]
    assert capsys.readouterr().err == f"note: working in {tmp_path}, the folder of the project\n"


@pytest.mark.parametrize("arguments", [[], ["--hf", "a", "--reference", "b"]])
def test_one_source_is_needed(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["import", *arguments, "--name", "new"])
    assert "--hf" in capsys.readouterr().err
