"""The picture holds the curves that the CSV files hold, whatever they hold."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from textclf_jax.config.schema import Logging
from textclf_jax.observe import plots
from textclf_jax.observe.plots import learning_curves, smooth
from textclf_jax.runs.logger import RunLogger
from textclf_jax.runs.metrics_files import csv_paths


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """The figures that were saved."""
    saved, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (saved.append(self), save(self, *args, **kw)))
    return saved


def run_with(run_dir: Path, **rows) -> Path:
    """A run folder whose splits hold the given metrics, one row an update."""
    with RunLogger(run_dir, Logging(), resolved={}, keep_until_step=None) as log:
        for split, metrics in rows.items():
            for update, row in enumerate(metrics, start=1):
                log.log(split, row, step=update, update=update, epoch=0)
    return run_dir


def draw(run_dir: Path) -> Path | None:
    return learning_curves(run_dir, csv_paths(run_dir, Logging()), run_dir / "plots" / "learning_curves.png")


def panels(figure: Figure) -> dict[str, dict[str, np.ndarray]]:
    """By panel title and label of the legend: the drawn points, [N, 2]."""
    return {
        axes.get_title("left"): {str(line.get_label()): line.get_xydata() for line in axes.lines}
        for axes in figure.axes
    }  # pyright: ignore[reportReturnType]


def test_a_finetuning_run_shows_every_curve(tmp_path, figures):
    losses = [1.0 + 1 / update for update in range(1, 101)]
    run_dir = run_with(
        tmp_path / "news_1",
        train=[{"loss": loss, "lr": 1e-4} for loss in losses],
        eval=[{"loss": 1.5, "accuracy": 0.5, "f1_macro": 0.4}, {"loss": 1.25, "accuracy": 0.75, "f1_macro": 0.7}],
        test=[{"loss": 1.3, "accuracy": 0.7, "f1_macro": 0.6}],
    )
    out = draw(run_dir)
    assert out is not None
    assert out.read_bytes().startswith(b"\x89PNG")
    (figure,) = figures
    shown = panels(figure)
    assert list(shown) == ["Loss", "Scores", "Learning rate"]
    assert figure.get_suptitle() == "Learning curves of news_1"
    assert all(axes.get_ylabel() for axes in figure.axes)
    np.testing.assert_array_equal(shown["Loss"]["eval (lowest 1.25 at update 2)"], [[1, 1.5], [2, 1.25]])
    np.testing.assert_allclose(shown["Loss"]["train (smoothed; raw is faint)"][:, 1], smooth(np.array(losses)))
    np.testing.assert_array_equal(shown["Scores"]["eval macro F1"], [[1, 0.4], [2, 0.7]])
    np.testing.assert_array_equal(shown["Scores"]["test accuracy"], [[1, 0.7]])


def test_pretraining_without_evaluation_and_with_one_point(tmp_path, figures):
    assert draw(run_with(tmp_path, train=[{"loss": 2.0, "lr": 1e-3}])) is not None
    shown = panels(figures[0])
    assert list(shown) == ["Loss", "Learning rate"]
    np.testing.assert_array_equal(shown["Loss"]["train"], [[1, 2.0]])
    assert figures[0].axes[0].lines[0].get_marker() == "o", "a line of one point would be invisible"


def test_losses_that_are_not_finite_are_marked_and_leave_the_axis_alone(tmp_path, figures):
    losses = [3.0, math.nan, 2.0, math.inf, 1.5]
    assert draw(run_with(tmp_path, train=[{"loss": x} for x in losses], eval=[{"loss": math.nan}])) is not None
    axes = figures[0].axes[0]
    assert panels(figures[0])["Loss"]["loss not finite"][:, 0].tolist() == [2, 4, 1]
    assert 0 < axes.get_ylim()[0] < axes.get_ylim()[1] < 4


def test_only_nan_is_still_a_picture(tmp_path):
    assert draw(run_with(tmp_path, train=[{"loss": math.nan, "lr": 0.0}] * 40)) is not None


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (0.01, "log"), (0.0, "linear")])
def test_a_wide_range_is_drawn_on_a_log_scale(tmp_path, figures, last, scale):
    draw(run_with(tmp_path, train=[{"loss": 2.0}, {"loss": last}]))
    assert figures[0].axes[0].get_yscale() == scale


def test_nothing_to_draw_is_no_picture(tmp_path):
    assert draw(run_with(tmp_path)) is None
    assert not (tmp_path / "plots").exists()


def test_smoothing_keeps_lines_and_ends_and_steps_over_gaps():
    line = np.linspace(5.0, 1.0, 100)
    np.testing.assert_allclose(smooth(line), line)
    noisy = line + np.random.default_rng(0).normal(size=100)
    assert np.std(smooth(noisy) - line) < 0.6 * np.std(noisy - line)
    with_gap = np.where(np.arange(100) == 50, np.nan, 1.0)
    np.testing.assert_allclose(smooth(with_gap), 1.0)
    assert np.isnan(smooth(np.full(40, np.nan))).all()


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_matplotlib_gets_a_folder_where_there_is_none(monkeypatch, tmp_path):
    """Only where the usual ones cannot be had, and never against the user's own choice."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", "")
    monkeypatch.setattr(Path, "home", no_home)
    plots.give_matplotlib_a_folder()
    assert os.environ["MPLCONFIGDIR"] == ""
    (tmp_path / "file").touch()
    for name, value in (("XDG_CACHE_HOME", str(tmp_path / "file")), ("XDG_CONFIG_HOME", "")):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv("MPLCONFIGDIR", "")
        plots.give_matplotlib_a_folder()
        assert Path(os.environ["MPLCONFIGDIR"]).is_dir()
    plots.give_matplotlib_a_folder()
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    plots.give_matplotlib_a_folder()
    assert os.environ["MPLCONFIGDIR"] == "/mine"


def test_micro_f1_is_drawn_where_it_is_not_the_accuracy(tmp_path, figures):
    several = {"loss": 1.0, "subset_accuracy": 0.2, "f1_micro": 0.6, "f1_macro": 0.5}
    run_with(tmp_path / "several", train=[{"loss": 1.0, "subset_accuracy": 0.1, "lr": 0.1}], eval=[several] * 2)
    draw(tmp_path / "several")
    shown = panels(figures[0])["Scores"]
    assert {"train exact match", "eval exact match", "eval micro F1", "eval macro F1"} == set(shown)
    run_with(tmp_path / "one", eval=[{"loss": 1.0, "accuracy": 0.6, "f1_micro": 0.6}] * 2)
    draw(tmp_path / "one")
    assert set(panels(figures[1])["Scores"]) == {"eval accuracy"}
