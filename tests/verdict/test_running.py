"""A run from its file to its verdict, with stand-ins for training and measuring: what is done, kept and said."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.check.cases import make_rows, write
from tests.prepare.cases import snapshot
from tests.verdict.cases import MEASURING, Machine, cost, options, write_news
from textclf_jax.check.data import CheckOptions
from textclf_jax.config.file import load_config
from textclf_jax.errors import UserError
from textclf_jax.evaluation.baselines import tfidf_logistic_regression
from textclf_jax.evaluation.confidence import Confidence
from textclf_jax.observe.progress import say
from textclf_jax.training.speed import PLOTS_SECONDS
from textclf_jax.verdict import outcome as outcome_room
from textclf_jax.verdict import running
from textclf_jax.verdict.plan import SHARES
from textclf_jax.verdict.running import run
from textclf_jax.verdict.strength import VALUES, choose_strength

PARTS = ("scratch", "pretraining", "pretrained", "pretrained-linear")
OUT = Path("runs/news")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    write_news()
    return Machine(monkeypatch)


def go(machine: Machine, *, plan_only: bool = False, **changes: Any) -> int:
    return run(options(**changes), machine.tools, plan_only=plan_only)


def outcome() -> dict[str, Any]:
    return json.loads((OUT / "verdict.json").read_text())


def kept() -> dict[str, Any]:
    """What must be the same of equal runs: all but seconds."""
    found = {path.name: path.read_bytes() for path in OUT.rglob("*.npy")}
    found |= {f"{path}": path.read_bytes() for path in Path("experiments").rglob("config.yaml")}
    found |= {name: (OUT / name).read_bytes() for name in ("check.json", "forecast.json", "suspects.csv")}
    told = outcome()
    results = {name: told["results"][name] for name in ("differences", "test_rows", "seeds", "preset")}
    scores = [(each["method"], each["accuracy"], each["f1_macro"]) for each in told["results"]["methods"]]
    told = {name: value for name, value in told.items() if name not in ("results", "seconds")}
    return found | {"told": told, "results": results, "scores": scores}


def test_from_a_file_to_a_verdict_within_its_time(machine, capsys):
    assert go(machine, seeds=2) == 0
    assert machine.trained == [f"news-{part}-seed{seed}" for seed in (1, 2) for part in PARTS]
    assert machine.measured == ["pretraining", "finetuning", "finetuning"]
    told = outcome()
    assert 0.9 * 600 <= told["seconds"] <= 600
    assert told["verdict"][0].startswith(("The winner", "There is a tie", "No clear winner"))
    assert told["reported_method"] == "pretrained+linear"
    assert machine.reports == [told["reported_run"]] == ["news-pretrained-linear-seed1"]
    calibration = {each["method"]: (each["before"], each["after"]) for each in told["calibration"]}
    assert calibration == dict.fromkeys(("scratch", "pretrained", "pretrained+linear"), (0.2, 0.1))
    scores = {each["method"]: each["accuracy"]["value"] for each in told["results"]["methods"]}
    assert scores["majority"] == pytest.approx(7 / 15)
    assert (scores["pretrained+linear"], scores["pretrained"], scores["scratch"]) == pytest.approx(
        (1.0, 0.8, 0.6), abs=0.1
    )
    shown = capsys.readouterr().out
    assert "pretrained encoder + linear path" in shown
    assert "more labels would give cannot be told" in shown
    assert "textclf predict news-pretrained-linear-seed1" in shown
    chosen = json.loads((OUT / "tfidf.json").read_text())
    assert told["strength"]["value"] == chosen["value"] in VALUES
    assert f"TF-IDF + logistic regression has C = {chosen['value']:g}, the best of" in shown
    assert told["abstention"] is None
    assert told["results"]["finetuning_share"] == SHARES["pretrained"]
    assert "of 10.0 minutes" in shown


def test_of_each_training_there_are_two_lines(machine, capsys):
    """What else it tells is in a file."""

    def train(kind, folder):
        say("device cpu", "warning: a split has few predictions")
        return machine.train(kind, folder)

    assert run(options(seeds=2), machine.tools._replace(train=train)) == 0
    shown = capsys.readouterr().out
    assert "device cpu" not in shown
    assert "compiling" not in shown
    lines = shown.splitlines()
    first = lines.index("training 1 of 8: news-scratch-seed1")
    assert lines[first - 1] == "what each training tells is in runs/news/logs"
    assert lines[first + 1] == "warning: a split has few predictions"
    assert re.fullmatch(r"  validation accuracy 50\.0% after [\d.]+ (s|minutes)", lines[first + 2])
    assert lines[first + 3] == "training 2 of 8: news-pretraining-seed1"
    assert [line.partition(": ")[2] for line in lines if line.startswith("training ")] == machine.trained
    for name in machine.trained:
        assert "device cpu\n" in (OUT / f"logs/{name}.log").read_text()


def test_every_training_is_an_ordinary_experiment(machine):
    go(machine, seeds=1)
    plan = json.loads((OUT / "run.json").read_text())["plan"]
    for part in PARTS:
        kind = "pretraining" if part == "pretraining" else "finetuning"
        config: Any = load_config(Path(f"experiments/{kind}/news-{part}-seed1/config.yaml")).config
        assert config.training.max_updates == plan["parts"][part]["updates"]
        assert config.training.epochs == plan["parts"][part]["epochs"]
        assert config.data.train.dataset_path.startswith("runs/news/data/")
        if kind == "pretraining":
            assert config.data.test.dataset_path is None
            continue
        assert config.training.early_stopping.metric == "accuracy"
        assert config.classification_head.linear.enabled == (part == "pretrained-linear")
        start = None if part == "scratch" else "experiments/pretraining/news-pretraining-seed1"
        assert config.pretrained_experiment.path == start


def test_an_interrupted_run_goes_on_and_ends_the_same(machine, monkeypatch, capsys):
    go(machine, seeds=2)
    whole = kept()
    Path("runs").rename("finished")
    Path("experiments").rename("trained")
    again = Machine(monkeypatch)
    again.stops = ["news-scratch-seed1", "news-pretraining-seed2", "news-pretrained-linear-seed2"]
    while again.stops:
        assert go(again, seeds=2) == 130
        assert "stopped; to go on from here: textclf run news.csv" in capsys.readouterr().out
        assert not (OUT / "verdict.json").exists()
    assert go(again, seeds=2) == 0
    assert again.trained == machine.trained
    assert again.measured == machine.measured
    assert kept() == whole


def test_a_finished_run_says_what_is_there_and_changes_nothing(machine, capsys):
    go(machine)
    shown = capsys.readouterr().out
    files = snapshot(Path("runs")) | snapshot(Path("experiments"))
    count = len(machine.trained)
    assert go(machine) == 0
    again = capsys.readouterr().out
    assert again.startswith("runs/news: this run is finished; nothing is done again")
    assert outcome()["verdict"][0] in again
    assert outcome()["verdict"][0] in shown
    assert snapshot(Path("runs")) | snapshot(Path("experiments")) == files
    assert len(machine.trained) == count


def test_a_plan_is_shown_and_kept(machine, capsys):
    assert go(machine, plan_only=True) == 0
    shown = capsys.readouterr().out
    assert "plan: bert-tiny" in shown
    assert "later load on this machine is not foreseen" in shown
    assert "to go on: textclf run news.csv" in shown
    assert machine.trained == []
    plan = json.loads((OUT / "run.json").read_text())["plan"]
    machine.speed = 3.0
    assert go(machine) == 0
    assert json.loads((OUT / "run.json").read_text())["plan"] == plan
    assert len(machine.measured) == 3
    assert outcome()["seconds"] > 600


def test_tfidf_of_the_verdict_has_the_chosen_regularisation(machine):
    go(machine, plan_only=True)
    lines = {name: (OUT / f"texts/{name}.jsonl").read_text().split("\n")[:-1] for name in ("train", "test")}
    rows = {name: [json.loads(line) for line in part] for name, part in lines.items()}
    labels = np.array([int(row["label"] == "sport") for row in rows["train"]])
    texts = {name: [row["text"] for row in part] for name, part in rows.items()}
    groups = np.unique([row["group"] for row in rows["train"]], return_inverse=True)[1]
    value = choose_strength(texts["train"], labels, groups).value
    assert json.loads((OUT / "tfidf.json").read_text())["value"] == value
    expected = tfidf_logistic_regression(texts["train"], labels, texts["test"], value).argmax(axis=1)
    np.testing.assert_array_equal(np.load(OUT / "predictions/tfidf.npy"), expected)


def test_a_limit_on_errors_is_kept_by_the_best_model(machine, monkeypatch, capsys):
    asked = []

    def calibrate(model, limit, note):
        asked.append((model, limit))
        return Confidence(1.0, 0.2, 0.1, 0.75, 0.03, limit)

    monkeypatch.setattr(outcome_room, "calibrate", calibrate)
    test = SimpleNamespace(confidence=Confidence(1.0, 0.2, 0.1, 0.7, 0.04, 0.1))
    monkeypatch.setattr(outcome_room, "evaluate_saved", lambda model, split, note: test)
    assert go(machine, max_error=0.1) == 0
    assert asked == [(Path("experiments/finetuning/news-pretrained-linear-seed1/model.ckpt"), 0.1)]
    kept = outcome()["abstention"]
    assert (kept["val"], kept["test"]) == ({"answered": 0.75, "wrong": 0.03}, {"answered": 0.7, "wrong": 0.04})
    shown = capsys.readouterr().out
    assert "on average at most 10.0% of all texts get a wrong label: on the validation split 25.0% of the" in shown
    assert "on the test split 30.0% of the texts get no label, 4.0% a wrong one" in shown
    assert kept["sentence"] in shown


def test_a_limit_that_cannot_be_promised_is_refused_before_anything_is_trained(machine):
    with pytest.raises(UserError, match=r"--max-error 0\.01 cannot be promised by 15 rows: 99 or more.*0\.063 or more"):
        go(machine, max_error=0.01)
    assert not OUT.exists()
    assert machine.trained == []
    assert go(machine, max_error=0.063, plan_only=True) == 0


def test_a_model_that_cannot_be_calibrated_does_not_cost_the_verdict(machine, monkeypatch, capsys):
    def calibrate(model, limit, note):
        raise UserError(f"{model}: this model gives NaN or infinity")

    monkeypatch.setattr(outcome_room, "calibrate", calibrate)
    assert go(machine, max_error=0.2) == 0
    assert 'is to say "don\'t know" could not be chosen: ' in outcome()["abstention"]["sentence"]
    assert outcome()["verdict"]
    assert "gives NaN or infinity" in capsys.readouterr().out


def test_the_plan_has_time_for_a_limit_on_errors(machine):
    go(machine, plan_only=True)
    without = json.loads((OUT / "run.json").read_text())["plan"]["after"]
    Path("runs").rename("other")
    go(machine, plan_only=True, max_error=0.2)
    each = cost()
    testing = 2 * each.end - PLOTS_SECONDS  # twice, and plots once
    assert json.loads((OUT / "run.json").read_text())["plan"]["after"] == without + each.evaluation + testing


def test_a_run_whose_regularisation_is_not_known_is_refused(machine):
    go(machine, plan_only=True)
    (OUT / "tfidf.json").unlink()
    with pytest.raises(UserError, match=r"tfidf\.json: cannot be read .* Choose another --out"):
        go(machine)


def test_a_verdict_of_an_earlier_version_is_shown(machine, capsys):
    go(machine)
    told = {name: value for name, value in outcome().items() if name not in ("strength", "abstention")}
    (OUT / "verdict.json").write_text(json.dumps(told))
    assert go(machine) == 0
    assert told["verdict"][0] in capsys.readouterr().out


def test_class_names_that_do_not_fit_are_refused_at_once(machine):
    """The message names the row of the user's file, and mending the names is all that is to be done."""
    Path("names.txt").write_text("sport\nmuney\n")
    data = CheckOptions(inputs=(Path("news.csv"),), label_names=Path("names.txt"))
    with pytest.raises(UserError, match=r"news\.csv line \d+: label 'money' is neither one of the 2 label names"):
        go(machine, data=data)
    assert not OUT.exists()
    Path("names.txt").write_text("sport\nmoney\n")
    assert go(machine, data=data, plan_only=True) == 0


def test_class_names_are_told_everywhere(machine):
    """Where the file has numbers, the check, its suspects and the texts have names, in the order of the names' file."""
    rows = [row._replace(label={"money": "0", "sport": "1"}[str(row.label)]) for row in make_rows(150)]
    rows[7] = rows[7]._replace(label="0" if rows[7].label == "1" else "1")
    write(Path("news.csv"), rows)
    Path("names.txt").write_text("money\nsport\n")
    data = CheckOptions(inputs=(Path("news.csv"),), label_names=Path("names.txt"))
    assert go(machine, data=data, plan_only=True) == 0
    found = json.loads((OUT / "check.json").read_text())
    assert set(found["classes"]["counts"]) == {"money", "sport"}
    first = found["suspects"]["rows"][0]
    assert {first["label"], first["suggested_label"]} == {"money", "sport"}
    assert (OUT / "data/labels.txt").read_text() == "money\nsport\n"
    lines = (OUT / "texts/train.jsonl").read_text().splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"money", "sport"}


def test_merged_classes_need_a_name(machine):
    rows = [row._replace(label={"money": "0", "sport": "1"}[str(row.label)]) for row in make_rows(150)]
    rows += [rows[i]._replace(label=label) for i, label in enumerate("223")]
    write(Path("news.csv"), rows)
    names = Path("names.txt")
    names.write_text("money\nsport\nfood\nart\n")
    data = CheckOptions(inputs=(Path("news.csv"),), label_names=names, rare_classes="merge")
    with pytest.raises(UserError, match=r"names\.txt: has no line 'other', the class that --rare-classes merge makes"):
        go(machine, data=data)
    names.write_text("money\nsport\nfood\nart\nother\n")
    assert go(machine, data=data, plan_only=True) == 0


def test_a_vocabulary_has_room_for_all_characters(machine):
    """A small survey in Chinese has more of them than a vocabulary by its number of words would hold."""
    rows = make_rows(150)
    for i, row in enumerate(rows):
        rows[i] = row._replace(text="".join(chr(0x4E00 + 8 * i + j) for j in range(8)) + row.text[:20])
    write(Path("news.csv"), rows)
    assert go(machine, plan_only=True) == 0
    described = json.loads((OUT / "data/dataset.json").read_text())
    assert 1200 < described["vocabulary"]["size"] <= 3000
    assert described["splits"]["train"]["unknown_tokens"] == 0


def test_long_words_are_read(machine):
    """They would be [UNK] with the usual length of words."""
    rows = [row._replace(text=row.text.replace(" ", "")[:40] * 5) for row in make_rows(150)]
    assert min(len(row.text) for row in rows) > 100
    write(Path("news.csv"), rows)
    assert go(machine, plan_only=True) == 0
    described = json.loads((OUT / "data/dataset.json").read_text())
    assert described["splits"]["test"]["unknown_tokens"] == 0
    assert described["max_length"] >= 64


def test_a_budget_that_is_too_short_may_be_raised(machine):
    """With the same folder: what is done already stays."""
    with pytest.raises(UserError, match=r"--budget of 40 s is too short here: .* Give --budget 3m or more"):
        go(machine, budget=40.0, arguments={"INPUT": ["news.csv"], "--budget": "40s"})
    texts = snapshot(OUT / "texts")
    assert go(machine, budget=180.0, arguments={"INPUT": ["news.csv"], "--budget": "3m"}) == 0
    assert snapshot(OUT / "texts") == texts
    assert outcome()["seconds"] <= 180
    (OUT / "verdict.json").unlink()
    with pytest.raises(UserError, match="--group-column: not given before, x now"):
        go(machine, arguments={"INPUT": ["news.csv"], "--budget": "3m", "--group-column": "x"})


def test_other_arguments_or_texts_are_refused(machine):
    machine.stops = ["news-scratch-seed1"]
    go(machine)
    with pytest.raises(UserError, match="--budget: not given before, 1h now"):
        go(machine, arguments={"INPUT": ["news.csv"], "--budget": "1h"})
    Path("news.csv").write_text(Path("news.csv").read_text() + "more,sport\n")
    with pytest.raises(UserError, match=r"news\.csv: its content has changed"):
        go(machine)


def test_texts_that_are_refused_leave_nothing(machine):
    Path("news.csv").write_text("text,label\n" + "".join(f"words of {i},x\n" for i in range(60)))
    with pytest.raises(UserError):
        go(machine)
    assert not OUT.exists()
    with pytest.raises(UserError, match=r"gone\.csv: there is no such file"):
        go(machine, extra_text=(Path("gone.csv"),))


def test_folders_of_something_else_are_left_alone(machine):
    OUT.mkdir(parents=True)
    (OUT / "notes.txt").touch()
    with pytest.raises(UserError, match="is there already and holds no run"):
        go(machine)
    (OUT / "notes.txt").unlink()
    Path("experiments/finetuning/news-scratch-seed1").mkdir(parents=True)
    with pytest.raises(UserError, match="news-scratch-seed1: is there already, and experiments of this run"):
        go(machine)


def test_a_damaged_state_is_refused(machine):
    go(machine, plan_only=True)
    (OUT / "run.json").write_text('{"arguments": 3}')
    with pytest.raises(UserError, match=r"run\.json: cannot be read as that of a run"):
        go(machine)


def test_groups_stay_together_from_the_file_to_the_data(machine):
    """No author is in two splits of the dataset, and the check says that nothing leaks."""
    authors = [f"author {i % 13}" for i in range(156)]
    write(Path("news.csv"), make_rows(156), author=authors)
    data = CheckOptions(inputs=(Path("news.csv"),), group_column="author")
    assert go(machine, data=data, plan_only=True) == 0
    lines = {name: (OUT / f"texts/{name}.jsonl").read_text().splitlines() for name in ("train", "val", "test")}
    groups = {name: {json.loads(line)["group"] for line in part} for name, part in lines.items()}
    assert sum(len(part) for part in lines.values()) == 156
    assert sum(len(found) for found in groups.values()) == 13
    described = json.loads((OUT / "data/dataset.json").read_text())["splits"]
    assert {name: described[name]["cls_rows"] for name in lines} == {name: len(part) for name, part in lines.items()}
    assert json.loads((OUT / "check.json").read_text())["groups"]["leaked_rows"] == 0


def test_a_messy_survey_goes_on_after_one_error(machine):
    """UTF-16 with semicolons, line breaks in texts, rare classes, rows without text or label, and other columns."""
    rows = make_rows(150)
    lines = [
        "id;When;Comment;Rating",
        *(f'{i};2026;"{row.text}\nand ""more""";{row.label}' for i, row in enumerate(rows)),
    ]
    lines += [
        "150;2026;something else;rare",
        "151;2026;again something;rarer",
        "152;2026;;sport",
        "153;2026;nobody knows;",
    ]
    Path("news.csv").write_bytes("\r\n".join(lines).encode("utf-16"))
    with pytest.raises(UserError, match=r"2 of 4 classes have fewer rows.*Leave them out with --rare-classes drop"):
        go(machine)
    data = CheckOptions(inputs=(Path("news.csv"),), rare_classes="drop")
    assert go(machine, data=data) == 0
    described = json.loads((OUT / "data/dataset.json").read_text())
    assert described["label_names"] == ["money", "sport"]
    assert sum(described["splits"][name]["cls_rows"] for name in ("train", "val", "test")) == 150
    assert machine.reports == ["news-pretrained-linear-seed1"]


def test_rows_without_a_label_are_for_pretraining_alone(machine):
    rows = [row._replace(label=None) if i % 5 == 0 else row for i, row in enumerate(make_rows(150))]
    write(Path("news.csv"), [*rows, rows[1]._replace(text="")])
    Path("more.txt").write_text("goals of a team\nmarkets of a bank\n")
    assert go(machine, plan_only=True, extra_text=(Path("more.txt"),)) == 0
    described = json.loads((OUT / "data/dataset.json").read_text())
    assert sum(described["splits"][name]["cls_rows"] for name in ("train", "val", "test")) == 120
    assert described["rows"]["used"]["extra"] == 32
    assert described["splits"]["train"]["mlm_rows"] == described["splits"]["train"]["cls_rows"] + 32


def test_measuring_goes_on_with_a_larger_preset_where_there_is_time(machine, monkeypatch):
    widths = []

    def measure(config, root, minutes, started, clock):
        machine.measure(config, root, minutes, started, clock)
        widths.append(config.architecture.embedding_dim)
        return cost(update=0.002 * (widths[-1] / 128) ** 2, evaluation=0.01)

    monkeypatch.setattr(running, "measure_cost", measure)
    assert go(machine, plan_only=True, budget=3600.0, seeds=1) == 0
    assert widths == [128, 512, 512, 512]
    plan = json.loads((OUT / "run.json").read_text())["plan"]
    assert plan["preset"] == "bert-small"
    assert plan["before"] >= 4 * MEASURING


def test_options_of_files_that_are_split(machine):
    rows = make_rows(150)
    write(Path("train.csv"), rows[:100])
    write(Path("test.csv"), rows[100:])
    data = CheckOptions(train=(Path("train.csv"),), test=(Path("test.csv"),))
    assert go(machine, plan_only=True, data=data) == 0
    assert json.loads((OUT / "run.json").read_text())["texts"] == {"train": 90, "val": 10, "test": 50}
