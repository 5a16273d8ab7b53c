"""CSV files: whole rows, headers that widen, cut back on resuming; nothing else is touched."""

from pathlib import Path

import pytest

from tests.runs.logs import EVAL, TRAIN, open_log, write_steps
from textclf_jax.errors import UserError
from textclf_jax.runs.metrics_files import CsvFile, read_metrics


def test_a_new_name_widens_the_header_and_leaves_gaps(tmp_path):
    with open_log(tmp_path) as log:
        for step, metrics in enumerate([{"loss": 1.0}, {"accuracy": 0.5}, {"loss": 2.0, "f1": 0.1}]):
            log.log("eval", metrics, step=step, update=step, epoch=0)
    assert (tmp_path / EVAL).read_text().splitlines() == [
        "step,update,epoch,eval/loss,eval/accuracy,eval/f1",
        "0,0,0,1.0,,",
        "1,1,0,,0.5,",
        "2,2,0,2.0,,0.1",
    ]
    assert read_metrics(tmp_path / EVAL)[1] == {"step": 1.0, "update": 1.0, "epoch": 0.0, "eval/accuracy": 0.5}
    assert not list(tmp_path.rglob("*.partial"))


def test_a_file_that_ends_in_its_header_is_begun_anew(tmp_path):
    (tmp_path / "metrics/train").mkdir(parents=True)
    (tmp_path / TRAIN).write_text("step,upd")
    with open_log(tmp_path, keep_until_step=3) as log:
        write_steps(log, [4])
    assert [row["step"] for row in read_metrics(tmp_path / TRAIN)] == [4.0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("a,b\n1,2\n", "line is not the header"), ("step,update,epoch,train/loss\n1,1,0,2.0\nx,1,0\n", "line 3")],
)
def test_a_file_of_something_else_is_not_continued(tmp_path, text, complaint):
    (tmp_path / "metrics/train").mkdir(parents=True)
    (tmp_path / TRAIN).write_text(text)
    with pytest.raises(UserError, match=complaint):
        open_log(tmp_path, keep_until_step=5)
    assert (tmp_path / TRAIN).read_text() == text


@pytest.mark.parametrize("path", ["../metrics.csv", "/tmp/metrics.csv", "a/../../b.csv", "config.yaml", "linked/m.csv"])
def test_paths_stay_inside_the_run_folder(tmp_path, path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "linked").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"logging\.csv_eval_metrics_path.*inside the run folder"):
        open_log(tmp_path / "run", csv_eval_metrics_path=path)


@pytest.mark.parametrize("path", [TRAIN, "metrics/./train/metrics.csv", "metrics/train/throughput.csv"])
def test_two_files_of_one_name_are_refused(tmp_path, path):
    with pytest.raises(UserError, match="already used by"):
        open_log(tmp_path, csv_test_metrics_path=path)


def test_a_full_disk_names_the_file(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "m.csv").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"m\.csv: a row could not be written \(No space left"):
        CsvFile(tmp_path / "m.csv").append({"step": 1})
