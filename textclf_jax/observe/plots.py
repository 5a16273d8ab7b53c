"""Learning curves of a run as a picture, drawn from its CSV files."""

import atexit
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf_jax.extras import is_installed
from textclf_jax.files import why_not_writable, write_whole
from textclf_jax.runs.metrics_files import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES_FILE = "learning_curves.png"
# from the palette of Okabe and Ito, told apart with any colour vision
COLOURS = {"train": "#0072B2", "eval": "#D55E00", "test": "#009E73"}
LINE_STYLES = ("-", "--", ":", "-.")
SCORES = {"accuracy": "accuracy", "subset_accuracy": "exact match", "f1_micro": "micro F1", "f1_macro": "macro F1"}
SMOOTHED_FROM_POINTS = 30
MARKED_UP_TO_POINTS = 60
LOG_SCALE_FROM_RATIO = 20.0

Values = NDArray[np.float64]
Series = tuple[Values, Values]  # updates, values
Curves = dict[tuple[str, str], Series]  # by split and metric


def learning_curves(run_dir: Path, csv_paths: Mapping[str, Path], out: Path) -> Path | None:
    """Draws loss, scores and learning rate over the updates of a run.

    Args:
      run_dir: the folder of the run; its name is in the title.
      csv_paths: the CSV file of each split (train, eval, test), as `metrics_files.csv_paths` gives it; any may lack.
      out: the PNG to write.

    Returns:
      The path of the picture, or None where there is nothing to draw, or nothing to draw with.
    """
    if not is_installed("matplotlib"):
        return None
    figure = curves_figure(f"Learning curves of {run_dir.resolve().name}", csv_paths)
    if figure is None:
        return None
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = io.BytesIO()
    figure.savefig(picture)
    write_whole(out, picture.getvalue())
    return out


def curves_figure(title: str, csv_paths: Mapping[str, Path]) -> "Figure | None":
    """The figure of `learning_curves`, under a title (or none, where that is empty)."""
    give_matplotlib_a_folder()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curves: Curves = {}
    for split in filter(csv_paths.__contains__, COLOURS):
        curves |= _curves_of(split, read_metrics(csv_paths[split]))
    candidates = (
        (_draw_loss, 3.4, {key: s for key, s in curves.items() if key[1] == "loss"}),
        (_draw_scores, 2.4, {key: s for key, s in curves.items() if key[1] in SCORES and not _repeats(key, curves)}),
        (_draw_learning_rate, 1.5, {key: s for key, s in curves.items() if key[1].startswith("lr")}),
    )
    panels = [panel for panel in candidates if panel[2]]
    if not panels:
        return None
    heights = [height for _, height, _ in panels]
    figure = Figure(figsize=(8.0, 0.9 + sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=13, parse_math=False)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (draw, _, chosen) in zip(grid, panels, strict=True):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, chosen)
    grid[-1].set_xlabel("update (optimizer steps)")
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def give_matplotlib_a_folder() -> None:
    """Sets MPLCONFIGDIR to a temporary folder where the usual ones cannot be had: matplotlib warns then, or fails."""
    if os.environ.get("MPLCONFIGDIR"):
        return
    try:
        if sys.platform.startswith("linux"):
            bases = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache"}
            usual = [Path(os.environ.get(name) or Path.home() / base) / "matplotlib" for name, base in bases.items()]
        else:
            usual = [Path.home() / ".matplotlib"]
    except RuntimeError:  # no home
        usual = []
    if not usual or any(map(why_not_writable, usual)):
        folder = tempfile.mkdtemp(prefix="textclf-matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder


def smooth(values: Values) -> Values:
    """Centred moving average of [N] values over about sqrt(N) of them; values that are not finite are left out.

    The window shrinks towards both ends, so that it stays centred there and a steep start is not flattened.
    """
    finite = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    half = np.minimum(np.minimum(index, index[::-1]), round(np.sqrt(len(values)) / 2))
    first, end = index - half, index + half + 1
    found = count[end] - count[first]
    return np.divide(total[end] - total[first], found, out=np.full(len(values), np.nan), where=found > 0)


def _curves_of(split: str, rows: list[dict[str, float]]) -> Curves:
    """Every metric of one split, each over the updates at which it was logged."""
    prefix = f"{split}/"
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(prefix))
    return {
        (split, name.removeprefix(prefix)): (
            np.array([row["update"] for row in rows if name in row]),
            np.array([row[name] for row in rows if name in row]),
        )
        for name in names
    }


def _repeats(key: tuple[str, str], curves: Curves) -> bool:
    """Whether a curve is another one under a second name: of one label a text, micro F1 is the accuracy."""
    split, name = key
    return name == "f1_micro" and (split, "accuracy") in curves


def _draw_loss(axes: "Axes", curves: Curves) -> None:
    """Train loss raw (faint) and smoothed, eval and test loss with their points, and where a loss was not finite."""
    shown = []
    for (split, _), (updates, values) in curves.items():
        if split == "train" and len(values) >= SMOOTHED_FROM_POINTS:
            axes.plot(updates, _finite(values), color=COLOURS[split], alpha=0.25, linewidth=0.8)
            values_shown, label = smooth(values), "train (smoothed; raw is faint)"
        else:
            values_shown, label = _finite(values), split + _lowest(split, updates, values)
        _plot(axes, updates, values_shown, split, label)
        shown.append(values_shown[np.isfinite(values_shown)])
    lost = np.concatenate([updates[~np.isfinite(values)] for updates, values in curves.values()])
    if lost.size:
        # on the lower edge of the panel: x in updates, y in shares of the height
        axes.plot(lost, np.zeros(lost.size), "x", color="black", transform=axes.get_xaxis_transform(), clip_on=False,
                  label="loss not finite")  # fmt: skip
    axes.set_title("Loss", loc="left", fontsize=11)
    axes.set_ylabel("cross-entropy (nats)")
    _log_scale_if_wide(axes, np.concatenate(shown))
    axes.legend(loc="upper right", frameon=False, fontsize=9)


def _draw_scores(axes: "Axes", curves: Curves) -> None:
    for (split, name), (updates, values) in curves.items():
        style = LINE_STYLES[list(SCORES).index(name)]
        _plot(axes, updates, _finite(values), split, f"{split} {SCORES[name]}", style)
    axes.set_title("Scores", loc="left", fontsize=11)
    axes.set_ylabel("score (0 to 1)")
    axes.legend(loc="lower right", frameon=False, fontsize=9)


def _draw_learning_rate(axes: "Axes", curves: Curves) -> None:
    for i, ((split, name), (updates, values)) in enumerate(curves.items()):
        _plot(axes, updates, values, split, name, LINE_STYLES[i % len(LINE_STYLES)])
    axes.set_title("Learning rate", loc="left", fontsize=11)
    axes.set_ylabel("rate (per update)")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(loc="upper right", frameon=False, fontsize=9)


def _plot(axes: "Axes", updates: Values, values: Values, split: str, label: str, style: str = "-") -> None:
    """One curve; few points are marked, and a test score is a star (hollow where the line would be broken)."""
    colour = COLOURS[split]
    if split == "test":
        face = colour if style == "-" else "white"
        axes.plot(updates, values, "*", color=colour, markerfacecolor=face, markersize=11, zorder=3, label=label)
        return
    few = len(updates) <= (1 if split == "train" else MARKED_UP_TO_POINTS)
    axes.plot(updates, values, style, color=colour, marker="o" if few else "", markersize=4, linewidth=1.6, label=label)


def _finite(values: Values) -> Values:
    """[N] values with NaN, which is not drawn, for every infinity, which would stretch the axis."""
    return np.where(np.isfinite(values), values, np.nan)


def _lowest(split: str, updates: Values, values: Values) -> str:
    if split != "eval" or not np.isfinite(values).any():
        return ""
    best = int(np.nanargmin(_finite(values)))
    return f" (lowest {values[best]:.4g} at update {updates[best]:.0f})"


def _log_scale_if_wide(axes: "Axes", values: Values) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    if values.size and values.min() > 0 and values.max() / values.min() > LOG_SCALE_FROM_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_ylabel("cross-entropy (nats, log scale)")
