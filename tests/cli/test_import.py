"""`textclf import` on the command line; what it makes is tested in tests/interop/test_importing.py."""

import pytest

from textclf_jax.cli import main


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


@pytest.mark.parametrize("arguments", [[], ["--hf", "a", "--reference", "b"]])
def test_one_source_is_needed(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["import", *arguments, "--name", "new"])
    assert "--hf" in capsys.readouterr().err
