"""Makes the pictures of docs/pictures/ from the runs of the tutorial.

    python -m scripts.docs_site.pictures                      # follows docs/tutorial.md in a temporary folder first
    python -m scripts.docs_site.pictures --project FOLDER     # where that has been done

To be called in the repository. Needs Chromium, whose path `--browser` says.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scripts.docs_site.tutorial import commands

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ROOT / "docs" / "pictures"
CURVES = Path("experiments/pretraining/docstrings/learning_curves.png")
REPORT = Path("experiments/finetuning/packages/report.html")
REPORT_SIZE = (1000, 760)
CURVES_WIDTH = 800
COLOURS = 64  # few are needed, and files stay small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, help="folder in which the tutorial has been followed")
    parser.add_argument("--browser", default="chromium", help="Chromium or Chrome (default: chromium)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = args.project
        if project is None:
            project = Path(folder) / "project"
            follow_tutorial(project)
        screenshot(project / REPORT, Path(folder) / "report.png", args.browser)
        save(Image.open(Path(folder) / "report.png"), PICTURES / "report.png")
    curves = Image.open(project / CURVES)
    height = round(curves.height * CURVES_WIDTH / curves.width)
    save(curves.resize((CURVES_WIDTH, height), Image.Resampling.LANCZOS), PICTURES / "learning-curves.png")


def follow_tutorial(project: Path) -> None:
    """Runs all commands of the tutorial in a new folder."""
    project.mkdir()
    starts = {"python": [sys.executable], "textclf": [sys.executable, "-m", "textclf_jax"]}
    for first, *words in commands():
        if first == "python":  # a script of the repository
            words = [str(ROOT / words[0]), *words[1:]]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([*starts[first], *words], cwd=project, env=environment, check=True)


def screenshot(page: Path, picture: Path, browser: str) -> None:
    """Writes what a browser shows of the beginning of a page."""
    size = f"--window-size={REPORT_SIZE[0]},{REPORT_SIZE[1]}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    subprocess.run([browser, *flags, size, f"--screenshot={picture}", page.resolve().as_uri()], check=True)


def save(picture: Image.Image, path: Path) -> None:
    """Writes a picture with few colours, and says how large the file is."""
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
