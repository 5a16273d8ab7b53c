"""`textclf bench` around the measuring itself: what is written where."""

import json

import pytest

from benchmarks import report, suite
from benchmarks.bench import new_row
from benchmarks.cases import CASES
from textclf_jax.cli import bench, main


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder, and a suite that measures in no time."""
    row = new_row(CASES[0]) | {"ours": 1500.0, "peer": 500.0, "ratio": 3.0}

    def run_suite(rows, *, quickly, minutes, path_for):
        if path := path_for("CPU Test"):
            report.write_results(path, "CPU Test", [row])
        return "CPU Test", [row]

    monkeypatch.setattr(suite, "run_suite", run_suite)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_whole_run_writes_results_and_table(project, capsys):
    assert main(["bench"]) == 0
    content = json.loads((project / "benchmarks" / "results" / "cpu-test.json").read_text())
    assert content["rows"][0]["ratio"] == 3.0
    assert "| mlm-small-16x128 | 1,500 | 500 | 3.00 |" in (project / report.TABLE_PATH).read_text()
    assert "1,500" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--quick"], ["--rows", "mlm-small-16x128"]])
def test_a_part_writes_only_where_it_is_told(project, options):
    assert main(["bench", *options]) == 0
    assert list(project.iterdir()) == []
    assert main(["bench", *options, "--out", "some.json"]) == 0
    assert [path.name for path in project.iterdir()] == ["some.json"]


def test_the_table_is_written_anew(project):
    main(["bench"])
    table = (project / report.TABLE_PATH).read_text()
    (project / report.TABLE_PATH).write_text("edited by hand")
    assert main(["bench", "--table"]) == 0
    assert (project / report.TABLE_PATH).read_text() == table


def test_it_needs_the_repository(project, monkeypatch, capsys):
    monkeypatch.setattr(bench, "REPOSITORY", project)
    assert main(["bench", "--table"]) == 2
    assert "textclf bench needs the project's repository: its benchmarks/ folder is not installed." in (
        capsys.readouterr().err
    )
    assert list(project.iterdir()) == []
