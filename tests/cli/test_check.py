"""`textclf check` as a command: planted faults are found, and files that need none of it are read at once."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.check.cases import make_rows, write
from textclf_jax.cli import main


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["check", *arguments])
        return code, *capsys.readouterr()

    return run


def findings(path: str = "f.json") -> dict[str, str]:
    """The severity of each finding, by the beginning of its sentence."""
    return {
        each["what"].partition(":")[0].partition(" (")[0]: each["severity"]
        for each in json.loads(Path(path).read_text())["findings"]
    }


def test_clean_data_has_no_serious_finding(check):
    write(Path("a.csv"), make_rows(200))
    code, out, err = check("a.csv", "--strict", "--json", "f.json", "--out", "o")
    assert code == 0, out
    assert "labels: the column 'label', which is called so" in out
    assert "sport   100  50.0%" in out
    assert "serious: 0" in out or "nothing wrong" in out
    assert err.splitlines()[0] == "reading"
    facts = json.loads(Path("f.json").read_text())
    assert facts["rows"]["splits"] == {"train": 160, "val": 20, "test": 20}
    assert Path("o/suspects.csv").read_text().startswith("file,line,text,label,suggested_label")
    code, _, err = check("a.csv", "--out", "o")
    assert (code, "o/suspects.csv: is there already" in err) == (2, True)


def test_labels_are_told_by_their_names_and_in_one_spelling(check):
    rows = [row._replace(label={"sport": "1", "money": "0"}[str(row.label)]) for row in make_rows(200)]
    write(Path("a.csv"), rows)
    Path("names.txt").write_text("money\nsport\n")
    code, out, _ = check("a.csv", "--label-names", "names.txt", "--json", "f.json")
    assert code == 0
    assert "sport   100  50.0%" in out
    assert set(json.loads(Path("f.json").read_text())["classes"]["by_split"]["test"]) == {"sport", "money"}
    Path("names.txt").write_text("money\n")
    code, _, err = check("a.csv", "--label-names", "names.txt")
    assert code == 2
    assert re.search(r"a\.csv line \d+: label '1' is neither one of the 1 label names nor a number from 0 to 0", err)
    rows = make_rows(200)
    rows[0] = rows[0]._replace(label=str(rows[0].label).upper())
    write(Path("b.csv"), rows)
    _, out, _ = check("b.csv", "--alike-labels", "merge")
    assert "note: labels that look alike are one class, in the first spelling: " in out
    assert "sport   100  50.0%" in out
    assert "differ only by case" not in out


def test_planted_faults_are_found(check):
    """In files that are split: repeats, a leak, two labels, spellings, an untrained class, empty and broken texts."""
    rows = make_rows(240)
    train, test = rows[:200], rows[200:]
    train += [train[0], train[1]._replace(text=train[1].text.upper() + "!"), train[2]._replace(label="money")]
    train += [
        train[3]._replace(text="", label="sport"),
        train[4]._replace(text="cafÃ© " * 3),
        train[5]._replace(label=None),
    ]
    train[10] = train[10]._replace(label="Sport")
    test += [
        train[20],
        train[21]._replace(text="so " + train[21].text),
        test[0]._replace(text="alone here", label="new"),
    ]
    write(
        Path("train.csv"),
        train,
        author=[str(i % 30) for i in range(206)],
        day=[f"2026-01-{1 + i % 28:02}" for i in range(206)],
    )
    write(Path("test.csv"), test, author=[str(25 + i % 30) for i in range(43)], day=["2026-01-15"] * 43)
    flags = ("--train", "train.csv", "--test", "test.csv", "--group-column", "author", "--time-column", "day")
    assert check(*flags, "--json", "f.json", "--strict")[0] == 1
    assert check(*flags)[0] == 0
    facts = json.loads(Path("f.json").read_text())
    assert facts["repeats"]["exact"] == {"train": 3, "test in train": 1}
    assert facts["repeats"]["near"] == {"train": 1, "test in train": 1}
    assert facts["repeats"]["contradicted"] == 1
    assert facts["classes"]["untrained"] == ["new"]
    assert facts["classes"]["alike"] == ["'sport' (122), 'Sport' (1)"]
    assert facts["rows"]["without_label"] == facts["rows"]["without_text"] == 1
    assert facts["groups"]["leaked_rows"] == sum(25 + i % 30 < 30 for i in range(43))
    found = findings()
    for what in (
        "Texts that are in several splits",
        "Labelled rows without visible text",
        "Classes that the training rows lack",
    ):
        assert found[what] == "serious"
    assert found["Labels that differ only by case, width, spaces or the like"] == "serious"
    assert found["Texts that occur with several labels"] == found["Rows with text, but without a label"] == "warning"
    severities = [each["severity"] for each in json.loads(Path("f.json").read_text())["findings"]]
    assert severities == sorted(severities, key=["serious", "warning", "note"].index)
    assert severities.count("serious") >= 6


def test_a_messy_survey_needs_one_error_at_most(check):
    """UTF-16, semicolons, line breaks in cells, rare classes, case variants, two columns of texts."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=";", lineterminator="\r\n")
    writer.writerow(["Nr", "Was war gut?", "Was war schlecht?", "Abteilung"])
    names = ["Einkauf", "Vertrieb", "vertrieb ", "IT"]
    for i, row in enumerate(make_rows(120)):
        words = row.text.split()
        cells = [" ".join(words[:7]) + "\nund größer", " ".join(words[7:]), "Labor" if i == 7 else names[i % 4]]
        writer.writerow([i, *cells])
    Path("umfrage.csv").write_bytes(stream.getvalue().encode("utf-16"))
    code, _, err = check("umfrage.csv")
    assert code == 2
    assert "--text-column 'Was war gut?' or --text-column 'Was war schlecht?'" in err
    code, out, _ = check("umfrage.csv", "--text-column", "Was war gut?", "--json", "f.json")
    assert code == 0
    assert "labels: the column 'Abteilung', the only one whose values recur (5 different ones)" in out
    assert "'Vertrieb' (30), 'vertrieb' (30)" in out
    facts = json.loads(Path("f.json").read_text())
    assert facts["classes"]["rare"] == {"Labor": 1}
    assert findings()["1 of 5 classes have fewer rows than the 3 splits"] == "serious"
    code, out, _ = check("umfrage.csv", "--text-column", "Was war gut?", "--rare-classes", "drop")
    assert code == 0
    assert "rare classes: 1 of 5 classes have fewer rows than the 3 splits: Labor (1); left out, with 1 rows" in out
    assert "Labor" not in out.partition("classes\n")[2]


def test_labels_that_are_none(check):
    """Scores to regress on are said to be none; the rest is checked."""
    rows = [row._replace(label=f"{i * 0.137:.3f}") for i, row in enumerate(make_rows(80))]
    write(Path("a.csv"), rows)
    code, out, _ = check("a.csv", "--strict")
    assert code == 1
    assert "1. serious: a.csv: the labels do not look like classes" in out
    write(Path("b.csv"), [row._replace(label=None) for row in rows])
    code, out, _ = check("b.csv", "--strict")
    assert (code, "There are no labels: the texts alone were checked." in out) == (0, True)


def test_several_labels(check):
    rows = [row._replace(label=f"{row.label}|all" if i % 3 else row.label) for i, row in enumerate(make_rows(60))]
    write(Path("a.csv"), rows)
    code, out, _ = check("a.csv", "--label-separator", "|", "--json", "f.json")
    assert code == 0, out
    assert json.loads(Path("f.json").read_text())["classes"]["counts"] == {"all": 40, "money": 30, "sport": 30}
    assert "pass --label-separator '|'" in check("a.csv")[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give either DATA, or --train"),
        (("a.csv", "--val", "a.csv"), "--val and --test go with --train"),
        (("--train", "a.csv", "--rare-classes", "drop"), "--rare-classes is for DATA that is to be split"),
        (("a.csv", "--group-column", "x"), "has no column 'x'.*--group-column"),
        (("a.csv", "--time-column", "label"), "--time-column 'label' is the column of --label-column, too"),
        (("a.csv", "--json", "a.csv"), "--json a.csv: is a file that is read"),
        (("a.csv", "--json", "no/f.json"), "must be a file in a folder that is there"),
        (("gone.csv",), "gone.csv: there is no such text file"),
        (("a.xls",), "a.xls: is neither .csv"),
    ],
)
def test_refusals(check, flags, message):
    write(Path("a.csv"), make_rows(30))
    code, _, err = check(*flags)
    assert code == 2
    assert re.search(message, err), err
