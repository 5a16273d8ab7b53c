"""Names of runs, and where their folders may lie."""

import pytest

from textclf_jax.config.file import load_config
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import find_model, find_run, run_folder, validate_name
from textclf_jax.experiments.generate import generate_finetuning, generate_pretraining


@pytest.mark.parametrize("name", ["wiki", "wiki-2.1_b", "Ωμέγα", "a b", "x" * 100, "1e-4", "null"])
def test_usable_names(name, tmp_path):
    path = generate_pretraining(validate_name(name), root=tmp_path)
    assert path == tmp_path / "experiments/pretraining" / name / "config.yaml"
    assert load_config(path).config.experiment.name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "../x",
        "/x",
        "a/b",
        "a\\b",
        "a\nb",
        "a\0b",
        "\x1b[31m",
        ".",
        "..",
        ".x",
        "-x",
        "x ",
        "x" * 101,
        "\udcff",
    ],
)
def test_unusable_names_write_nothing(name, tmp_path):
    with pytest.raises(UserError, match="experiment name"):
        generate_pretraining(name, root=tmp_path)
    with pytest.raises(UserError, match="experiment name"):
        generate_finetuning(name, None, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_out_of_experiments_is_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    kind = tmp_path / "experiments" / "pretraining"
    kind.mkdir(parents=True)
    (kind / "escape").symlink_to(outside)
    (kind / "loop").symlink_to(kind / "loop")
    for name in ("escape", "loop"):
        with pytest.raises(UserError, match=r"leads out of|exists already"):
            generate_pretraining(name, root=tmp_path)
    (tmp_path / "experiments" / "finetuning").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of"):
        generate_finetuning("x", None, root=tmp_path)
    assert list(outside.iterdir()) == []


def test_experiments_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "experiments").symlink_to(tmp_path / "disk")
    assert generate_pretraining("x", root=tmp_path).is_file()


def test_a_missing_run_lists_what_is_there(tmp_path):
    with pytest.raises(UserError, match=r"textclf new pretraining wiki --data data/DATASET"):
        find_run("pretraining", "wiki", tmp_path)
    generate_pretraining("wiki", root=tmp_path)
    with pytest.raises(UserError, match='Did you mean "wiki"'):
        find_run("pretraining", "wkii", tmp_path)
    assert find_run("pretraining", "wiki", tmp_path) == run_folder("pretraining", "wiki", tmp_path)


def test_a_model_is_found_by_the_path_of_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = generate_pretraining("p1").parent
    kinds = ("finetuning", "pretraining")
    assert find_model("p1", kinds) == find_model(str(folder), kinds) == folder / "model.ckpt"
    assert find_model(str(tmp_path / folder) + "/", kinds) == tmp_path / folder / "model.ckpt"
    with pytest.raises(UserError, match="is a path"):
        find_model("experiments/pretraining/none", kinds)


def test_a_pretraining_run_is_told_from_a_missing_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate_pretraining("p1")
    with pytest.raises(UserError, match=r"p1 is a pretraining run.*textclf new finetuning NAME p1 --data"):
        find_model("p1", ("finetuning",))
