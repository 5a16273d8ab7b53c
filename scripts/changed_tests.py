"""Prints the tests of what has changed since a branch, `main` by default: what `make check` runs.

    python scripts/changed_tests.py [BRANCH]

Changed is what differs from the commit where the current branch left the other one, committed or not, and new files.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# quick, and true of the whole repository
ALWAYS = ("tests/test_docs.py", "tests/test_import_directions.py")


def git(*arguments: str, root: Path) -> list[str]:
    """The lines that a git command prints; none where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed_files(branch: str, root: Path = ROOT) -> list[str]:
    """Paths that differ from where this branch left `branch` (from the last commit where there is no such branch)."""
    base = git("merge-base", "HEAD", branch, root=root) or ["HEAD"]
    changed = git("diff", "--name-only", "--no-renames", base[0], root=root)
    return [*changed, *git("ls-files", "--others", "--exclude-standard", root=root)]


def matching_tests(path: str, root: Path = ROOT) -> str | None:
    """The test file or folder of a changed file; None where there is none.

    textclf_jax/<room>/<module>.py has tests/<room>/test_<module>.py, or else all of tests/<room>. So have
    benchmarks/<module>.py and the like. scripts/<module>.py has tests/test_<module>.py. A test has itself, and a helper
    of tests/<room> all of them.
    """
    folder, file = Path(path).parent, Path(path).name
    if not file.endswith(".py") or not folder.parts:
        return None
    if folder.parts[0] == "tests" and file.startswith("test_"):
        return path if (root / path).is_file() else None
    # with an empty last part where a file lies in no room
    has_rooms = folder.parts[0] in ("textclf_jax", "tests", "scripts")
    room = Path("tests", (*folder.parts, "")[1] if has_rooms else folder.parts[0])
    own = room / f"test_{folder.name if file == '__init__.py' else Path(file).stem}.py"
    if (root / own).is_file():
        return own.as_posix()
    return room.as_posix() if room.name != "tests" and (root / room).is_dir() else None


def select(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """The tests to run for changed files, without those that lie in a folder that is run as a whole."""
    found = {*ALWAYS, *(tests for path in changed if (tests := matching_tests(path, root)))}
    return sorted(tests for tests in found if not found & {str(folder) for folder in Path(tests).parents})


if __name__ == "__main__":
    print("\n".join(select(changed_files(sys.argv[1] if sys.argv[1:] else "main"))))
