"""What the generators write."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from textclf_jax.cli import main
from textclf_jax.config.file import load_config
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig
from textclf_jax.config.yaml_reader import read_document
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import (
    SHIPPED_CONFIGS,
    Length,
    fill,
    flatten,
    generate_finetuning,
    generate_pretraining,
)
from textclf_jax.training.budget import RunCost
from textclf_jax.training.speed import MeasuredLength

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CONFIGS = REPOSITORY / "configs"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with data as `textclf prepare` leaves it."""
    data = tmp_path / "data" / "news"
    for file in ("mlm/train.pt", "mlm/val.pt", "cls/train.pt", "cls/val.pt", "cls/test.pt"):
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).touch()
    (data / "vocab").mkdir()
    (data / "vocab/vocab.txt").write_text("[PAD]\n[UNK]\n")
    (data / "labels.txt").write_text("Business\nSports\nWorld\n")
    (data / "dataset.json").write_text(json.dumps({"max_length": 96}))
    return tmp_path


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def pretraining_config(path: Path) -> PretrainingConfig:
    config = load_config(path).config
    assert isinstance(config, PretrainingConfig)
    return config


def finetuning_config(path: Path) -> FinetuningConfig:
    config = load_config(path).config
    assert isinstance(config, FinetuningConfig)
    return config


# --- filling in the template ----------------------------------------------------------------------------------


def test_fill_keeps_comments_and_their_columns():
    text = "a: 1       # one\nb:\n  c: 'x'  # see\n  d:\n"
    values = {("a",): 3e-5, ("b", "c"): "a much longer text", ("b", "d"): "on"}
    assert fill(text, values, "t") == "a: 3.0e-05  # one\nb:\n  c: a much longer text  # see\n  d: 'on'\n"


def test_fill_names_keys_that_the_template_lacks():
    with pytest.raises(UserError, match=r"my\.yaml has no line for b\.c, d"):
        fill("a: 1\n", {("b", "c"): 1, ("a",): 2, ("d",): 3}, "my.yaml")


def test_every_comment_of_the_template_survives(project):
    path = generate_pretraining("x", data="data/news", preset="bert-small", root=project)
    template, written = (file.read_text().splitlines() for file in (CONFIGS / "pretraining.yaml", path))
    assert [line.partition("#")[2] for line in written] == [line.partition("#")[2] for line in template]


def test_a_project_may_bring_its_own_template(tmp_path):
    (tmp_path / "configs").mkdir()
    template = (CONFIGS / "pretraining.yaml").read_text().replace("batch_size: 32 ", "batch_size: 77 ")
    (tmp_path / "configs" / "pretraining.yaml").write_text(template)
    assert pretraining_config(generate_pretraining("x", root=tmp_path)).training.batch_size == 77


# --- a length of its own --------------------------------------------------------------------------------------


def test_a_chosen_length_is_in_the_config_with_its_remark(project):
    asked = []

    def choose(config):
        asked.append(config)
        return Length(1234, 7, "20 minutes: 5 updates a second")

    path = generate_pretraining(
        "x", data="data/news", overrides=["training.batch_size=9"], choose_length=choose, root=project
    )
    training = pretraining_config(path).training
    assert (training.max_updates, training.epochs, training.batch_size) == (1234, 7, 9)
    assert asked[0].training.batch_size == 9
    assert "\n  max_updates: 1234  # 20 minutes: 5 updates a second\n  warmup_ratio:" in path.read_text()


def test_nothing_is_written_where_no_length_can_be_chosen(project):
    def choose(config):
        raise UserError("too few minutes")

    before = files_in(project)
    with pytest.raises(UserError, match="too few minutes"):
        generate_finetuning("x", None, data="data/news", choose_length=choose, root=project)
    assert files_in(project) == before
    assert not (project / "experiments" / "finetuning" / "x").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--minutes", "0"], "--minutes 0 must be above 0"),
        (["--minutes", "nan"], "--minutes nan must be above 0"),
        (["--minutes", "3", "--set", "training.epochs=2"], "--minutes chooses training.epochs: leave --set training"),
        (["--minutes", "3", "--set", "training.max_updates=2"], "--minutes chooses training.max_updates: leave"),
        (["--minutes", "3", "--resume-from", "y", "--everything"], "--everything goes on from a later one"),
    ],
)
def test_minutes_that_cannot_be_kept_are_refused(project, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(project)
    assert main(["new", "pretraining", "x", *flags]) == 2
    assert words in capsys.readouterr().err
    assert not (project / "experiments").exists()


def test_minutes_of_the_command_become_updates(project, monkeypatch, capsys):
    """Measured on the config that is written, with all overrides."""
    seen = {}

    def length_within(minutes, config, root, *, started):
        seen.update(minutes=minutes, rate=config.training.learning_rate, started=started)
        return MeasuredLength(60, 3, RunCost(8.0, 0.5, 2.0, 4.0, 25, 1, 0), minutes)

    monkeypatch.setattr("textclf_jax.training.speed.length_within", length_within)
    monkeypatch.chdir(project)
    command = ["new", "finetuning", "x", "--from-scratch", "--data", "data/news", "--minutes", "1.5"]
    assert main([*command, "--set", "training.learning_rate=0.125"]) == 0
    assert "60 updates, 2.4 epochs, fit into 1.5 minutes" in capsys.readouterr().out
    assert (seen["minutes"], seen["rate"]) == (1.5, 0.125)
    assert isinstance(seen["started"], float)
    path = project / "experiments/finetuning/x/config.yaml"
    assert finetuning_config(path).training.max_updates == 60
    assert (
        "# 1.5 minutes: 2 updates a second measured here, 2 s an evaluation, 12 s before and after" in path.read_text()
    )


# --- pretraining ----------------------------------------------------------------------------------------------


def test_an_existing_experiment_is_left_alone(tmp_path):
    path = generate_pretraining("x", root=tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        generate_pretraining("x", overrides=["training.epochs=3"], root=tmp_path)
    assert path.read_bytes() == before


def test_data_in_several_files_is_named_by_a_pattern(project):
    for number in range(2):
        (project / f"data/news/mlm/test-0000{number}.pt").touch()
        (project / f"data/news/mlm/train-0000{number}.pt").touch()
    (project / "data/news/mlm/train.pt").unlink()
    config = pretraining_config(generate_pretraining("x", data="data/news", root=project))
    splits = config.data.train, config.data.val, config.data.test
    names = ["data/news/mlm/train-*.pt", "data/news/mlm/val.pt", "data/news/mlm/test-*.pt"]
    assert [split.dataset_path for split in splits] == names


def test_pretraining_from_data_preset_and_overrides(project):
    overrides = ["training.batch_size=8", "architecture.attention={kind: lsh, num_heads: 4}"]
    overrides.append("architecture.attention.favor.nb_features=32")
    path = generate_pretraining("x", data="data/news/", preset="bert-small", overrides=overrides, root=project)
    config = pretraining_config(path)
    assert config.experiment.output_dir == "experiments/pretraining/x"
    assert config.tokenizer.vocab_dir == "data/news/vocab"
    assert config.data.train.dataset_path == "data/news/mlm/train.pt"
    assert (config.data.val.dataset_path, config.data.test.dataset_path) == ("data/news/mlm/val.pt", None)
    assert (config.architecture.max_sequence_length, config.architecture.embedding_dim) == (96, 512)
    assert (config.architecture.attention.kind, config.architecture.attention.num_heads) == ("lsh", 4)
    assert config.training.batch_size == 8
    # not the chosen kind, but what was typed is kept
    assert read_document(path.read_bytes()).data["architecture"]["attention"]["favor"]["nb_features"] == 32


def test_pretraining_from_an_earlier_run(project):
    overrides = ["training.epochs=3", "architecture.num_layers=2", "logging.wandb.run_name=old"]
    generate_pretraining("old", data="data/news", overrides=overrides, root=project)
    config = pretraining_config(generate_pretraining("new", resume_from="old", weights_only=False, root=project))
    old = pretraining_config(project / "experiments/pretraining/old/config.yaml")
    assert config.training.resume.path == "experiments/pretraining/old"
    assert config.training.resume.weights_only is False
    assert config.experiment.name == "new"
    assert config.logging.wandb.run_name is None
    assert (config.architecture, config.data, config.tokenizer) == (old.architecture, old.data, old.tokenizer)
    assert config.training.epochs == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"preset": "bert-huge"}, "There are: bert-base"),
        ({"data": "data/nothing"}, "textclf prepare INPUT --out data/nothing"),
        ({"resume_from": "none"}, "there is no pretraining run none"),
        ({"overrides": ["training.epoch=3"]}, 'Did you mean "epochs"'),
        ({"overrides": ["architecture.attention.num_heads=7"]}, "7 does not divide embedding_dim 256"),
    ],
)
def test_what_is_wrong_writes_nothing(project, arguments, words):
    before = files_in(project)
    with pytest.raises(UserError, match=words):
        generate_pretraining("x", **arguments, root=project)
    assert files_in(project) == before
    assert not (project / "experiments").exists()


@pytest.mark.parametrize(("names", "words"), [("a\n\nb\n", "line 2: .* is blank"), ("a\nb\na\n", "line 1 and line 3")])
def test_class_names_that_are_none_write_nothing(project, names, words):
    """Counting their lines would give a wrong number of classes."""
    (project / "data/news/labels.txt").write_text(names)
    with pytest.raises(UserError, match=rf"data/news/labels\.txt: {words}"):
        generate_finetuning("x", None, data="data/news", root=project)
    assert not (project / "experiments").exists()


@pytest.mark.parametrize("content", ["", "{}", "[1]", "not json"])
def test_a_broken_dataset_description_is_named(project, content):
    (project / "data/news/dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset\.json has no max_length"):
        generate_pretraining("x", data="data/news", root=project)


# --- finetuning -----------------------------------------------------------------------------------------------


def without_dropout(config):
    """The values of an architecture that weights depend on."""
    values = flatten(config.architecture.model_dump())
    return {path: value for path, value in values.items() if not path[-1].endswith("dropout")}


def test_finetuning_takes_over_architecture_and_tokenizer(project):
    """But not rates of dropout, which no weight depends on."""
    keys = ["architecture.num_layers=3", "architecture.mlp_dropout=0.3", "architecture.attention.attn_dropout=0.3"]
    old = pretraining_config(
        generate_pretraining("pre", data="data/news", preset="bert-tiny", overrides=keys, root=project)
    )
    config = finetuning_config(generate_finetuning("fine", "pre", data="data/news", root=project))
    assert config.tokenizer == old.tokenizer
    assert without_dropout(config) == without_dropout(old)
    architecture = config.architecture
    assert (architecture.num_layers, architecture.mlp_dropout, architecture.attention.attn_dropout) == (3, 0.1, 0.0)
    assert config.pretrained_experiment.path == "experiments/pretraining/pre"
    assert config.pretrained_experiment.checkpoint == "model.ckpt"
    assert config.classification_head.num_labels == 3
    assert config.data.test.dataset_path == "data/news/cls/test.pt"


@pytest.mark.parametrize(("told", "expected"), [("true", True), ("false", False), (None, False)])
def test_finetuning_on_several_labels_a_text(project, told, expected):
    rest = "" if told is None else f', "multi_label": {told}'
    (project / "data/news/dataset.json").write_text(f'{{"max_length": 96{rest}}}')
    generate_pretraining("pre", data="data/news", root=project)
    for name, start in (("fine", "pre"), ("scratch", None)):
        config = finetuning_config(generate_finetuning(name, start, data="data/news", root=project))
        assert config.classification_head.multi_label is expected
    (project / "data/news/dataset.json").write_text("[1]")
    with pytest.raises(UserError, match=r"dataset\.json cannot be read. Prepare the data again"):
        generate_finetuning("other", "pre", data="data/news", root=project)
    (project / "data/news/dataset.json").unlink()
    assert not finetuning_config(
        generate_finetuning("other", "pre", data="data/news", root=project)
    ).classification_head.multi_label


def test_finetuning_from_scratch(project):
    overrides = ["architecture.num_layers=1"]
    path = generate_finetuning("fine", None, data="data/news", overrides=overrides, root=project)
    config = finetuning_config(path)
    assert config.pretrained_experiment.path is None
    assert (config.architecture.max_sequence_length, config.architecture.num_layers) == (96, 1)
    assert config.tokenizer.vocab_dir == "data/news/vocab"


def test_finetuning_from_scratch_takes_a_preset(project):
    path = generate_finetuning("fine", None, data="data/news", preset="bert-tiny", root=project)
    config = finetuning_config(path)
    assert (config.architecture.embedding_dim, config.architecture.attention.num_heads) == (128, 2)
    assert (config.training.learning_rate, config.architecture.max_sequence_length) == (2e-3, 96)
    generate_pretraining("pre", data="data/news", root=project)
    with pytest.raises(UserError, match="--preset goes with --from-scratch: the architecture is that of pre"):
        generate_finetuning("other", "pre", preset="bert-tiny", root=project)


@pytest.mark.parametrize(
    ("preset", "rate"), [("bert-tiny", 5e-4), ("bert-mini", 2e-4), ("bert-small", 6e-5), ("bert-base", 3e-5)]
)
def test_the_learning_rate_fits_the_pretrained_model(project, preset, rate):
    generate_pretraining("pre", data="data/news", preset=preset, root=project)
    config = finetuning_config(generate_finetuning("fine", "pre", data="data/news", root=project))
    assert config.training.learning_rate == rate
    overrides = ["training.learning_rate=3e-5"]
    config = finetuning_config(generate_finetuning("own", "pre", overrides=overrides, root=project))
    assert config.training.learning_rate == 3e-5


def test_finetuning_refuses_data_with_another_vocabulary(project):
    generate_pretraining("pre", overrides=["tokenizer.vocab_dir=elsewhere"], root=project)
    (project / "elsewhere").mkdir()
    (project / "elsewhere/vocab.txt").write_text("[PAD]\nother\n")
    with pytest.raises(UserError, match=r"--vocab .*elsewhere"):
        generate_finetuning("fine", "pre", data="data/news", root=project)
    (project / "elsewhere/vocab.txt").write_bytes((project / "data/news/vocab/vocab.txt").read_bytes())
    config = finetuning_config(generate_finetuning("fine", "pre", data="data/news", root=project))
    assert config.tokenizer.vocab_dir == "elsewhere"


@pytest.mark.golden
@pytest.mark.parametrize("file", ["current", "legacy", "wandb_export"])
def test_finetuning_from_a_run_of_the_reference(golden, tmp_path, file):
    run = tmp_path / "experiments/pretraining/old"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/model.ckpt").touch()
    source = golden.path / f"configs/{file}_pretraining.yaml"
    (run / "config.yaml").write_bytes(source.read_bytes())
    config = finetuning_config(generate_finetuning("fine", "old", root=tmp_path))
    assert without_dropout(config) == without_dropout(load_config(source).config)
    assert config.pretrained_experiment.checkpoint == "checkpoints/model.ckpt"


# --- the commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def command(project, monkeypatch, capsys):
    """Runs `textclf` in the project's folder; gives the exit code and what was printed."""
    monkeypatch.chdir(project)

    def run(*arguments):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_the_commands_say_what_they_wrote_and_what_comes_next(command):
    made = command("new", "pretraining", "pre", "--data", "data/news", "--set", "training.epochs=2")
    assert made == (0, "wrote experiments/pretraining/pre/config.yaml\nnext: textclf pretrain pre\n", "")
    made = command("new", "finetuning", "my news", "pre", "--data", "data/news")
    assert made == (0, "wrote experiments/finetuning/my news/config.yaml\nnext: textclf finetune 'my news'\n", "")
    Path("finetune.py").touch()  # as in a copy of the repository
    made = command("new", "finetuning", "new", "--from-scratch", "--preset", "bert-tiny", "--data", "data/news")
    assert made == (0, "wrote experiments/finetuning/new/config.yaml\nnext: python finetune.py new\n", "")


WRONG = [
    ("pretraining", "../x"),
    ("pretraining", "x", "--preset", "none"),
    ("pretraining", "x", "--preset", ""),
    ("pretraining", "x", "--everything"),
    ("pretraining", "x", "--resume-from", ""),
    ("pretraining", "x", "--set", "a"),
    ("pretraining", "x", "--data", ""),
    ("finetuning", "x"),
    ("finetuning", "x", ""),
    ("finetuning", "x", "pre", "--from-scratch"),
    ("finetuning", "x", "pre", "--preset", "bert-tiny"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_the_commands_refuse_without_a_traceback(command, arguments):
    code, out, err = command("new", *arguments)
    assert (code, out, err != "") == (2, "", True)
    assert not Path("experiments").exists()


def test_commands_work_from_within_experiments(command, project, monkeypatch):
    """There, they work in the folder above: a path that was typed is the same file, and no run lies elsewhere."""
    assert command("new", "pretraining", "pre", "--data", "data/news")[0] == 0
    for folder, data in (("experiments", "../data/news"), ("experiments/pretraining/pre", "../../../data/news")):
        monkeypatch.chdir(project / folder)
        name = f"from-{len(folder)}"
        code, out, err = command("new", "pretraining", name, "--data", data)
        assert (code, out.splitlines()[0]) == (0, f"wrote experiments/pretraining/{name}/config.yaml")
        assert err == f"note: working in {project}, the folder of the project\n"
        written = pretraining_config(project / f"experiments/pretraining/{name}/config.yaml")
        assert written.data.train.dataset_path == "data/news/mlm/train.pt"
    monkeypatch.chdir(project / "experiments")
    assert "There are: from-11, from-27, pre." in command("pretrain", "none")[2]
    monkeypatch.chdir(project / "experiments")
    missing = project / "experiments/finetuning/none/config.yaml"
    assert str(missing) in command("export", "none", "--format", "hf", "--out", "x")[2]


def test_the_scripts_work_from_any_folder_without_an_installation(project):
    code = (
        "import runpy, sys; script = sys.argv[1]; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(script, run_name='__main__')\n"
        "finally: print(sys.modules['textclf_jax'].__file__)"
    )
    script = REPOSITORY / "experiments" / "generate_pretraining_experiment.py"
    words = [sys.executable, "-c", code, script, "pre", "--data", "data/news"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    made = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines() == [
        "wrote experiments/pretraining/pre/config.yaml",
        "next: textclf pretrain pre",
        str(REPOSITORY / "textclf_jax" / "__init__.py"),
    ]


def test_the_templates_lie_in_the_package():
    """An installed package has no repository around it."""
    for path in (CONFIGS / "pretraining.yaml", CONFIGS / "finetuning.yaml", *(CONFIGS / "presets").iterdir()):
        assert (SHIPPED_CONFIGS / path.relative_to(CONFIGS)).read_bytes() == path.read_bytes()
    assert REPOSITORY / "textclf_jax" in SHIPPED_CONFIGS.parents
