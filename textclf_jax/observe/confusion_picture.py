"""A confusion matrix as a picture: of many classes those that are mistaken most, and the others as one."""

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING
from unicodedata import bidirectional, normalize

import numpy as np
from jaxtyping import Int

from textclf_jax.extras import is_installed
from textclf_jax.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CLASSES = 30
NAME_CHARACTERS = 24
CELL_INCHES = 0.42
FONT = "DejaVu Sans"  # comes with matplotlib: the same picture everywhere
LEFT_TO_RIGHT = {"L", "EN", "ES", "ET", "CS", "ON", "WS", "NSM"}

Matrix = Int[np.ndarray, "C C"]


def confusion_picture(confusion: Matrix, names: Sequence[str], title: str, out: Path) -> Path | None:
    """Draws a confusion matrix: numbers of rows in the cells, their share of the true class as colour.

    Args:
      confusion: [C, C] numbers of rows by true and predicted class.
      names: C names. Those that the font cannot write have their number alone.
      title: of the picture, in letters that the font has.
      out: the PNG to write.

    Returns:
      The path of the picture, or None where there is nothing to draw with.
    """
    if not is_installed("matplotlib"):
        return None
    figure = confusion_figure(confusion, names, title)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = io.BytesIO()
    figure.savefig(picture, bbox_inches="tight", pad_inches=0.1)  # what room is left is cut off
    write_whole(out, picture.getvalue())
    return out


def confusion_figure(confusion: Matrix, names: Sequence[str], title: str) -> "Figure":
    """The figure of `confusion_picture`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    chosen = most_mistaken(confusion, MAX_CLASSES)
    shown, labels = grouped(confusion, chosen), drawable_names(names, chosen)
    others = len(names) - len(chosen)
    if others:
        labels.append(f"{others} others")
    # room for the names and those of the axes; for the title above, and for the bar of colours
    side, margin = max(CELL_INCHES * len(labels), 2.4), 0.5 + 0.085 * max(map(len, labels))
    width = margin + side + 1.3
    heading = wrap(title, int(width / 0.1))
    height = 0.15 + side + margin + 0.2 * len(heading)
    figure = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((margin / width, 0.15 / height, side / width, side / height))
    shares = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    _write_counts(axes, shown, shares)
    _name_axes(axes, labels)
    if others:
        _hatch(axes, len(chosen))
    colours = figure.add_axes(((margin + side + 0.25) / width, 0.15 / height, 0.15 / width, side / height))
    figure.colorbar(image, cax=colours)
    colours.set_ylabel("share of the true class", fontsize=8)
    colours.tick_params(labelsize=8)
    font = FontProperties(family=FONT, size=11)
    top = 1 - 0.08 / height
    figure.text(0.1 / width, top, "\n".join(heading), va="top", fontproperties=font, parse_math=False)
    return figure


def most_mistaken(confusion: Matrix, limit: int) -> list[int]:
    """All classes, or the `limit` that are in most mistakes, as true or as predicted class; by number."""
    mistakes = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * confusion.diagonal()
    return sorted(np.argsort(-mistakes, kind="stable")[:limit].tolist())


def grouped(confusion: Matrix, chosen: Sequence[int]) -> Matrix:
    """The matrix of the chosen classes; the others, where there are any, are one more class."""
    others = np.setdiff1d(np.arange(len(confusion)), chosen)
    groups = [*([i] for i in chosen), *([others] if others.size else [])]
    return np.array([[confusion[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])


def drawable_names(names: Sequence[str], chosen: Sequence[int]) -> list[str]:
    """The names of the chosen classes, short and in one line; or the numbers of those that cannot be written.

    The font lacks some scripts, and would write those from right to left letter by letter in the wrong direction.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=FONT)))

    def drawable(name: str) -> str:
        line = normalize("NFC", " ".join(name.split()))
        written = all(font.get_char_index(ord(c)) and bidirectional(c) in LEFT_TO_RIGHT for c in line)
        return line if written else ""

    def short(line: str, i: int) -> str:
        if not line:
            return f"class {i}"
        # its number, as others may begin like it
        number = f"… ({i})"
        return line if len(line) <= NAME_CHARACTERS else line[: NAME_CHARACTERS - len(number)] + number

    return [short(drawable(names[i]), i) for i in chosen]


def _write_counts(axes: "Axes", counts: Matrix, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(
                column, row, _compact(int(count)), ha="center", va="center", fontsize=7, color=colour, family=FONT
            )


def _compact(count: int) -> str:
    """In thousands or millions where it would not fit a cell."""
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1_000_000:.0f}M"


def _name_axes(axes: "Axes", labels: list[str]) -> None:
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=90, fontsize=8, family=FONT, parse_math=False)
    axes.set_yticks(ticks, labels, fontsize=8, family=FONT, parse_math=False)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=2)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted class", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)


def _hatch(axes: "Axes", place: int) -> None:
    """Marks the cell of the grouped classes on the diagonal: it holds right answers and mistakes among them."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, hatch="//", edgecolor="grey", linewidth=0))
