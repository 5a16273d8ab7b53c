import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.bench import COLUMNS, new_row
from benchmarks.cases import CASES
from textclf_jax.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def a_row(i: int, **figures):
    return new_row(CASES[i]) | figures


def test_the_committed_table_is_the_generated_one():
    assert (REPOSITORY / report.TABLE_PATH).read_text() == report.table(REPOSITORY / report.RESULTS_FOLDER)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / report.RESULTS_FOLDER).glob("*.json")), ids=lambda path: path.stem
)
def test_committed_results_have_all_columns(path):
    content = report.read_results(path)
    assert content.keys() == {"device", "versions", "date", "rows"}
    for row in content["rows"]:
        assert {"row", *COLUMNS} <= row.keys()
        assert row["ours"] or row["note"]


def test_the_file_of_a_cpu_says_so():
    assert str(report.results_path("CPU AMD EPYC, 2 cores")) == "benchmarks/results/cpu-amd-epyc-2-cores.json"


def test_new_rows_replace_old_ones_of_the_same_device(tmp_path):
    path = tmp_path / "results.json"
    report.write_results(path, "one", [a_row(0, ours=1.23456), a_row(1, ours=2.0)])
    report.write_results(path, "one", [a_row(1, ours=3.0), a_row(2, ours=4.0)])
    assert [row["ours"] for row in json.loads(path.read_text())["rows"]] == [1.235, 3.0, 4.0]
    report.write_results(path, "another", [a_row(2, ours=5.0)])
    assert [row["ours"] for row in json.loads(path.read_text())["rows"]] == [5.0]


def test_results_from_before_the_peer_had_modes_are_read(tmp_path):
    row = {name: value for name, value in a_row(0, ours=1.0, peer=2.0).items() if name != "peer_mode"}
    report.write_results(tmp_path / "x.json", "CPU", [row])
    assert "peer_mode" not in json.loads((tmp_path / "x.json").read_text())["rows"][0]
    assert "| mlm-small-16x128 | 1 | 2 | – | – | – | – | – | – | – |" in report.table(tmp_path)


def test_no_results_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"rows": 3}')
    with pytest.raises(UserError, match="no results of"):
        report.table(tmp_path)


def test_what_does_not_apply_is_a_dash_and_notes_stand_below(tmp_path):
    rows = [
        a_row(0, ours=12345.0, peer=1000.0, ratio=12.345, flops=5e11, limit_share=0.52, padding_waste=0.0),
        a_row(1, note="skipped: no time"),
        {**a_row(2), "unit": "s", "ours": 9.87},
        a_row(3, ours=1.0, mfu=0.4512, idle=0.0123, batch_wait=0.002),
        a_row(4, ours=1.0, texts=1_000_000, seconds=12.34, idle=None),
    ]
    report.write_results(tmp_path / "x.json", "CPU", rows)
    text = report.table(tmp_path)
    assert "| mlm-small-16x128 | 12,340 | 1,000 | 12.35 | 0.500 | 52% | – | – | 0.0% |" in text
    assert "- `mlm-small-4x512`: skipped: no time" in text
    assert "| 9.9 s |" in text
    notes = [line for line in text.splitlines() if line.startswith(("- `mlm-small-64x512`", "- `mlm-small-64x512-r"))]
    assert [note.partition(": ")[2] for note in notes] == [
        "MFU 45.1% of what the data sheet names",
        "the device waited for the host 1.2% of the time",
        "0.2% of the time went by until a batch was there",
        "1,000,000 texts in 12.3 s",
    ]
