"""Options that are given as 0, below 0 or empty are used or refused; no default takes their place."""

import ast
import itertools
import re
from pathlib import Path

import pytest
import yaml

from tests.prepare.cases import write_csv
from tests.test_commands import SOURCES, label
from textclf_jax.cli import main
from textclf_jax.config.file import parse_config
from textclf_jax.config.problems import key_paths, section_at
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig
from textclf_jax.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"pretraining": PretrainingConfig, "finetuning": FinetuningConfig}
TEMPLATES = {kind: yaml.safe_load((ROOT / "configs" / f"{kind}.yaml").read_text(encoding="utf-8")) for kind in MODELS}
# attributes of these hold what a user has given
GIVEN = {"args", "options", "read", "training", "settings", "config"}
# names and paths, of which none is false
NAMES = {"options.task", "args.out", "args.packages"}


def number_keys():
    for kind, model in MODELS.items():
        for path in key_paths(model):
            value = TEMPLATES[kind]
            for name in path:
                value = value[name]
            if section_at(model, path) is None and isinstance(value, int | float) and not isinstance(value, bool):
                yield kind, ".".join(path)


@pytest.mark.parametrize("kind", MODELS)
def test_a_number_in_a_config_is_used_or_refused(kind):
    text = yaml.safe_dump(TEMPLATES[kind]).encode()
    keys = [key for of, key in number_keys() if of == kind]
    assert len(keys) > 30
    for key, value in itertools.product(keys, (0, -1, -0.5)):
        refusal, used = "", value
        attention = re.findall(r"attention\.(\w+)\.", key)  # the sections of other kinds are not read
        overrides = [f"architecture.attention.kind={name}" for name in attention]
        try:
            used = parse_config(text, "c.yaml", [*overrides, f"{key}={value}"], kind).config
            for name in key.split("."):
                used = getattr(used, name)
        except UserError as error:
            refusal = str(error)
        assert used == value
        assert refusal == "" or key in refusal


def fallbacks(text: str) -> list[str]:
    """The options in a source that another value replaces where they are false: `options.x or DEFAULT`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and isinstance(node.values[0], ast.Attribute):
            option = ast.unparse(node.values[0])
            if option.split(".")[0] in GIVEN and not isinstance(node.values[1], ast.Attribute):
                found.append(option)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_no_default_takes_the_place_of_a_false_option(path):
    assert set(fallbacks(path.read_text(encoding="utf-8"))) - NAMES == set()


def test_the_check_sees_what_it_looks_for():
    assert fallbacks("size = options.size or 5; ok = DEFAULT if options.x is None else options.x") == ["options.size"]


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    write_csv(tmp_path / "a.csv", [(f"text number {i}", "ab"[i % 2]) for i in range(20)])
    monkeypatch.chdir(tmp_path)

    def run(*flags):
        command = ["prepare", "a.csv", "--out", "o", "--force", "--vocab-size", "60", "--max-length", "9", *flags]
        return main(command), capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--max-length", "0"), "--max-length 0 must be at least 3"),
        (("--max-length", "-4"), "--max-length -4 must be at least 3"),
        (("--val-fraction", "-0.1"), "--val-fraction -0.1 must be at least 0"),
        (("--test-fraction", "nan"), "--test-fraction nan must be at least 0"),
        (("--seed", "-1"), "--seed -1 must not be negative"),
        (("--text-column", ""), "has no column ''"),
        (("--label-column", ""), "has no column ''"),
    ],
)
def test_prepare_refuses(prepare, flags, words):
    code, printed = prepare(*flags)
    assert (code, words in printed.err) == (2, True)
    assert not Path("o").exists()


def test_prepare_uses_zeros(prepare):
    assert prepare("--val-fraction", "0", "--test-fraction", "0")[0] == 0
    assert [path.name for path in Path("o/cls").iterdir()] == ["train.pt"]
    assert prepare("--seed", "0")[0] == 0
    first = Path("o/splits/train.csv").read_text()
    assert prepare()[0] == 0
    assert Path("o/splits/train.csv").read_text() != first
    # a column that pandas writes without a name
    Path("a.csv").write_text(Path("a.csv").read_text().replace("text,label", ",label"))
    assert prepare("--text-column", "")[0] == 0


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_bench_refuses_no_time(minutes, capsys):
    assert main(["bench", "--minutes", minutes]) == 2
    assert f"--minutes {minutes} must be more than 0" in capsys.readouterr().err


def test_an_empty_flag_is_no_flag_that_lacks(tmp_path, monkeypatch, capsys):
    """An empty number of steps is wrong, not the same as no flag."""
    folder = tmp_path / "experiments" / "pretraining" / "x"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text((ROOT / "configs" / "pretraining.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "x", "--profile", ""]) == 2
    assert "training.profile=  expected an integer" in capsys.readouterr().err
