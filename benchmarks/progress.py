"""The rows of a suite, written down one by one: a suite that is interrupted goes on when it is started again."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Row
from benchmarks.cases import Case
from benchmarks.report import read_results, results, write_results
from benchmarks.worker import REPOSITORY
from textclf_jax.files import json_text, sha256_of, write_whole

SOURCES = ("textclf_jax/**/*.py", "benchmarks/**/*.py", "configs/**/*.yaml")
SUITE = "suite"  # in an unfinished file: what is measured, by which code


def unfinished_path(path: Path) -> Path:
    """The file beside the results at `path` that holds them while the suite is not finished."""
    return path.with_suffix(".unfinished")


def code_digest(sources: Sequence[str] = SOURCES) -> str:
    """Tells one state of the code, given as patterns of paths in the repository, from another."""
    return sha256_of(sorted(path for pattern in sources for path in REPOSITORY.glob(pattern)))


class Progress:
    """The rows of a suite so far.

    Attributes:
      rows: by name, those measured; of an earlier, interrupted run of the same suite as well.
      path: the file of results; None to keep none.
    """

    def __init__(self, path: Path | None, device: str, cases: Sequence[Case], *, quickly: bool):
        """Takes over the rows of an interrupted run of this suite, and says so.

        Args:
          path: the attribute. Beside it lies `unfinished_path` while the suite is not finished.
          device: its name.
          cases: of the suite.
          quickly: whether there are fewer rounds.

        Raises:
          UserError: the file of results or the unfinished one holds something else.
        """
        self.path, self._device = path, device
        if path is not None and path.is_file():
            read_results(path)  # to know now that the rows can be written there
        self._names = [case.row for case in cases]
        self._suite = {"code": code_digest(), "rows": self._names, "quick": quickly}
        self.rows: dict[str, Row] = {} if path is None else self._taken_over(unfinished_path(path))

    def _taken_over(self, file: Path) -> dict[str, Row]:
        if not file.is_file():
            return {}
        old, now = read_results(file), results(self._device, [])
        same = {
            "another device": old["device"] == now["device"],
            "other versions of packages": old["versions"] == now["versions"],
            "other code or other rows": old.get(SUITE) == self._suite,
        }
        if different := [what for what, is_same in same.items() if not is_same]:
            print(f"{file} is of {different[0]}: all rows are measured", flush=True)
            return {}
        found = {row["row"]: row for row in old["rows"] if row["ours"]}
        print(f"going on: {len(found)} of {len(self._names)} rows are in {file} (delete it to start anew)", flush=True)
        return found

    def add(self, row: Row) -> None:
        """Adds a row that was measured, and writes all of them to the unfinished file."""
        self.rows[row["row"]] = row
        if self.path is not None:
            content = results(self._device, list(self.rows.values())) | {SUITE: self._suite}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(unfinished_path(self.path), json_text(content) + "\n")

    def finish(self, skipped: Sequence[Row]) -> list[Row]:
        """Writes the results; the unfinished file stays if there are rows without figures, for the next run.

        Args:
          skipped: rows that there was no time for.

        Returns:
          All rows, in the order of the suite.
        """
        every = self.rows | {row["row"]: row for row in skipped}
        rows = [every[name] for name in self._names]
        if self.path is not None:
            write_results(self.path, self._device, rows)
            missing = [row["row"] for row in rows if not row["ours"]]
            if missing:
                print(f"{len(missing)} rows have no figures: the same command measures those alone", flush=True)
            else:
                unfinished_path(self.path).unlink(missing_ok=True)
        return rows
