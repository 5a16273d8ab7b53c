"""What a run has done so far, kept in its folder: the same command goes on from there."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import run_folder
from textclf_jax.files import json_text, sha256_of, write_whole
from textclf_jax.prepare.class_folder import files_of
from textclf_jax.study.progress import is_vacant, require_same
from textclf_jax.verdict.options import RunOptions
from textclf_jax.verdict.plan import Plan
from textclf_jax.verdict.sizes import Sizes

RUN_FILE = "run.json"
PLANNING = ("--budget", "--seeds")


@dataclass
class State:
    """How far a run is.

    Attributes:
      folder: of the run.
      arguments: the flags that it was begun with.
      files: sha256 of each file and folder that is read.
      spent: seconds of work so far, interruptions left out.
      texts: how many there are by split; empty until they are written.
      sizes: of the vocabulary and the rows; None until then.
      plan: None until it is made.
    """

    folder: Path
    arguments: dict[str, Any]
    files: dict[str, str]
    spent: float = 0.0
    texts: dict[str, int] = field(default_factory=dict)
    sizes: Sizes | None = None
    plan: Plan | None = None

    def save(self) -> None:
        """Writes it into the folder."""
        content = asdict(self)
        del content["folder"]
        write_whole(self.folder / RUN_FILE, json_text(content) + "\n")


def open_state(options: RunOptions) -> State:
    """The state of a run that was begun, or of a new one.

    Raises:
      UserError: a file is missing; the folder holds something else, or a run of other arguments or texts; or
        experiments have the names of those to come.
    """
    if missing := [path for path in options.sources if not path.exists()]:
        raise UserError(f"{missing[0]}: there is no such file")
    files = {str(path): sha256_of(files_of(path)) for path in options.sources}
    arguments = json.loads(json_text(options.arguments))
    path = options.out / RUN_FILE
    if not path.exists():
        _require_room(options.out)
        return State(options.out, arguments, files)
    state = _read(path)
    if state.plan is None:  # what decides the plan alone may still change
        before = {flag: value for flag, value in state.arguments.items() if flag not in PLANNING}
        state.arguments = before | {flag: value for flag, value in arguments.items() if flag in PLANNING}
    require_same("run", state, arguments, files)
    return state


def _require_room(out: Path) -> None:
    if not is_vacant(out):
        raise UserError(f"{out}: is there already and holds no run of this command; choose another --out")
    for kind in ("pretraining", "finetuning"):
        if there := sorted(run_folder(kind, "x").parent.glob(f"{out.name}-*-seed1")):
            raise UserError(
                f"{there[0]}: is there already, and experiments of this run would have such names. Remove it, or "
                "choose another --out, whose name begins theirs."
            )


def _read(path: Path) -> State:
    try:
        content = json.loads(path.read_bytes())
        sizes, plan = content.pop("sizes"), content.pop("plan")
        state = State(path.parent, **content)
        state.sizes = None if sizes is None else Sizes(**sizes)
        state.plan = None if plan is None else Plan.of_json(plan)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read as that of a run ({error}). Choose another --out.") from None
    return state


def read_groups(path: Path) -> Sequence[str]:
    """The group of each row that was written down."""
    # not by splitlines(), for which a line ends at U+2028, too
    return [json.loads(line)["group"] for line in path.read_text(encoding="utf-8").split("\n") if line]
