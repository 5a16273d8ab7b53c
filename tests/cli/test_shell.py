"""The command line as a person meets it: help, errors, exit codes, and how soon it answers."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from textclf_jax import __version__, cli
from textclf_jax.cli import guarded, main
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import generate_finetuning, generate_pretraining

REPOSITORY = Path(__file__).resolve().parent.parent.parent
HEAVY = ("jax", "flax", "optax", "orbax", "torch", "wandb", "matplotlib", "sklearn", "pandas", "numpy")


# modules that a short answer may import; jax alone has more
MAX_MODULES = 600


def shell(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python; the limit is for a process that hangs."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)


def answered_at_once(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python, and checks how much it imports: unlike its time, that does not grow while others use the machine."""
    done = shell("-X", "importtime", *arguments, folder=folder)
    lines = done.stderr.splitlines(keepends=True)
    modules = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert 50 < len(modules) < MAX_MODULES
    assert {name.partition(".")[0] for name in modules} & set(HEAVY) == set()
    done.stderr = "".join(line for line in lines if not line.startswith("import time:"))
    return done


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Runs in a project with one run of each kind; records the calls of `fit` instead of training."""
    generate_pretraining("wiki", root=tmp_path)
    generate_finetuning("news", None, root=tmp_path)
    monkeypatch.chdir(tmp_path)
    recorded = []
    module = ModuleType("textclf_jax.training.fit")
    module.fit = lambda *args, **kwargs: recorded.append((args, kwargs)) or 7  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "textclf_jax.training.fit", module)
    return recorded


@pytest.mark.parametrize(
    ("command", "kind", "name"), [("pretrain", "pretraining", "wiki"), ("finetune", "finetuning", "news")]
)
def test_training_passes_the_config_and_returns_the_exit_code(calls, command, kind, name):
    code = main([command, name, "--dry-run", "--set", "training.epochs=3", "--set", "training.batch_size=5"])
    ((config, folder), flags) = calls[0]
    assert code == 7
    assert folder == Path("experiments") / kind / name
    assert (config.experiment.name, config.training.epochs, config.training.batch_size) == (name, 3, 5)
    assert flags == {"dry_run": True, "fresh": False, "changed_data": False, "pretrained": None}


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_one_tells_what_a_dry_run_found(calls, monkeypatch, capsys, first):
    monkeypatch.setattr(sys.modules["textclf_jax.training.fit"], "fit", lambda *_, **__: 0)
    monkeypatch.setattr("textclf_jax.runtime.processes.is_first", lambda: first)
    assert main(["pretrain", "wiki", "--dry-run"]) == 0
    assert ("can be exported as" in capsys.readouterr().out) == first


def test_profile_is_a_key_of_the_config(calls):
    main(["pretrain", "wiki", "--profile", "7"])
    ((config, _), _) = calls[0]
    assert config.training.profile == 7


def test_profile_takes_a_number(calls, capsys):
    assert main(["pretrain", "wiki", "--profile", "many"]) == 2
    assert "training.profile" in capsys.readouterr().err
    assert calls == []


def test_notes_are_shown(calls, capsys):
    path = Path("experiments/pretraining/wiki/config.yaml")
    path.write_text(path.read_text().replace("training:\n", "training:\n  loss: cross_entropy\n"))
    main(["pretrain", "wiki"])
    assert capsys.readouterr().err == "note: ignored training.loss: it is always cross_entropy\n"


def test_a_run_of_the_other_kind_is_refused(calls, capsys):
    path = Path("experiments/finetuning/wiki/config.yaml")
    path.parent.mkdir()
    path.write_text(Path("experiments/pretraining/wiki/config.yaml").read_text())
    assert main(["finetune", "wiki"]) == 2
    assert "this is a pretraining run, not a finetuning run" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize("name", ["wikki", "../x", "a/b", ""])
def test_a_wrong_name_is_a_message(calls, capsys, name):
    assert main(["pretrain", name]) == 2
    assert capsys.readouterr().err
    assert calls == []


def test_exit_codes(capsys):
    def raises(error):
        def command():
            raise error

        return command

    assert guarded(lambda: 5) == 5
    assert guarded(raises(UserError("mend this"))) == 2
    assert guarded(raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "mend this\ninterrupted\n"
    with pytest.raises(ZeroDivisionError):  # a bug stays a traceback
        guarded(raises(ZeroDivisionError()))


def test_a_reader_that_leaves_is_no_traceback():
    code = "import sys; from textclf_jax.cli import guarded; sys.exit(guarded(lambda: print('x' * 100_000) or 0))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_version_and_module(tmp_path):
    assert shell("-m", "textclf_jax", "--version", folder=tmp_path).stdout == f"textclf {__version__}\n"


def test_help_names_every_command_and_answers_at_once(tmp_path):
    files = Path(cli.__path__[0]).glob("*.py")
    commands = sorted(path.stem.rstrip("_") for path in files if "\ndef add_parser(" in path.read_text())
    done = answered_at_once("-m", "textclf_jax", "--help", folder=tmp_path)
    assert done.returncode == 0
    assert {"prepare", "pretrain", "finetune", "predict"} <= set(commands)
    listed = re.findall(r"^    ([a-z]+)(?: |$)", done.stdout, re.MULTILINE)
    assert [name for name in commands if name not in listed] == []


@pytest.mark.parametrize("script", ["pretrain.py", "finetune.py"])
def test_a_wrong_key_is_answered_at_once(calls, tmp_path, script):
    name = {"pretrain.py": "wiki", "finetune.py": "news"}[script]
    done = answered_at_once(REPOSITORY / script, name, "--set", "training.learning_rte=1", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.endswith('--set training.learning_rte=1  unknown key. Did you mean "learning_rate"?\n')
    assert "Traceback" not in done.stderr


def test_no_heavy_module_is_imported_before_the_work(tmp_path):
    code = (
        "import sys, contextlib\nfrom textclf_jax.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "main(['pretrain', 'none'])\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    assert shell("-c", code, folder=tmp_path).stdout.splitlines()[-1] == "[]"
