"""Checkpoints: `checkpoints/<step>` to resume from, and `model.ckpt`, the trained model by itself.

Orbax restores flipped bits in array data silently, so a checksum of every array is stored beside it and compared.
"""

import json
import logging
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from textclf_jax.errors import UserError

STATE, POSITION = "state", "position"
MODEL_FOLDER, METADATA_FILE = "model.ckpt", "metadata.json"
KEPT = 2
logging.getLogger("absl").setLevel(logging.ERROR)


def _checksums(tree: Any) -> dict[str, int]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).data) for path, leaf in leaves}


def _differing(tree: Any, expected: dict[str, int]) -> list[str]:
    # fields of a NamedTuple come back as keys of a dict where the structure is not known
    found, expected = ({_plain(name): crc for name, crc in sums.items()} for sums in (_checksums(tree), expected))
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def _plain(name: str) -> str:
    """.a[0]['b'] and ['a'][0]['b'] -> a/0/b."""
    return re.sub(r"[.\[\]']+", "/", name).strip("/")


def _on_host(tree: Any) -> Any:
    # a copy: on CPU a view of device memory would change under the writer, since the state is donated
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


class Checkpoints:
    """The folder of checkpoints to resume from; the newest two are kept. Saving goes on in the background."""

    def __init__(self, folder: Path, *, fresh: bool = False, read_only: bool = False):
        """Opens the folder; `fresh` removes what is in it, `read_only` leaves everything as it is."""
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else KEPT, cleanup_tmp_directories=not read_only, read_only=read_only
        )
        self._folder = folder.resolve()
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_names=(STATE, POSITION))

    def save(self, step: int, state: Any, position: dict[str, Any]) -> None:
        """Saves the state and the JSON-able position of a step, unless that step is saved already.

        Raises:
          UserError: the checkpoint could not be written.
        """
        if step in self._manager.all_steps():
            return
        host = _on_host(state)
        position = {"position": position, "checksums": _checksums(host)}
        arguments = {STATE: ocp.args.StandardSave(host), POSITION: ocp.args.JsonSave(position)}
        try:
            saved = self._manager.save(step, args=ocp.args.Composite(**arguments))
        except OSError as error:
            raise UserError(f"{self._folder}: the checkpoint of step {step} could not be saved: {error}") from error
        if not saved:
            raise UserError(f"{self._folder}: the checkpoint of step {step} was not saved: a later one exists")

    def restore(
        self, like: Any, notes: list[str], check: Callable[[dict[str, Any]], None] = lambda position: None
    ) -> tuple[Any, dict[str, Any]] | None:
        """Restores the newest sound checkpoint.

        Args:
          like: a state of the same structure, or its shapes and dtypes; None: nested dicts of whatever there is.
          notes: gets a line for each damaged checkpoint that was passed over.
          check: sees the position before any array is read; its UserError ends the search.

        Returns:
          The state and the position, or None where there is no checkpoint.

        Raises:
          UserError: there are checkpoints, but none is sound.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._restore_step(step, like, check)
            except UserError:
                raise
            except Exception as error:  # whatever Orbax and its stores raise on damaged files
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                notes.append(
                    f"the checkpoint of step {step} in {self._folder} is damaged ({reason}); trying an older one"
                )
        if steps:
            raise UserError(
                "\n".join([*notes, f"{self._folder}: no sound checkpoint is left. Start over with --fresh."])
            )
        return None

    def _restore_step(self, step: int, like: Any, check: Callable[[dict[str, Any]], None]):
        # the position holds the checksums, and tells whether the arrays are wanted at all
        saved = self._manager.restore(step, args=ocp.args.Composite(**{POSITION: ocp.args.JsonRestore()}))[POSITION]
        check(saved["position"])
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), like)
        arguments = {STATE: ocp.args.StandardRestore(shapes)}
        state = self._manager.restore(step, args=ocp.args.Composite(**arguments))[STATE]
        if differing := _differing(state, saved["checksums"]):
            raise ValueError(f"checksum of {differing[0]} differs")
        return state, saved["position"]

    def wait(self) -> None:
        """Waits until all is on disk. Raises UserError if a save in the background failed."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise UserError(f"{self._folder}: a checkpoint could not be saved: {error}") from error

    def close(self) -> None:
        """Waits, then frees the manager's threads."""
        self.wait()
        self._manager.close()


@dataclass(frozen=True)
class SavedModel:
    """What a `model.ckpt` folder holds.

    Attributes:
      folder: where it is.
      variables: {"params": ..., "features": ...} as numpy arrays.
      metadata: config (the resolved sections), vocab_size, which (best or last), step, score, labels, data, versions.
    """

    folder: Path
    variables: Any
    metadata: dict[str, Any]

    @property
    def vocab_dir(self) -> Path:
        """The folder of the vocabulary that came with the model."""
        return self.folder / "vocab"


def save_model(run_dir: Path, variables: Any, metadata: dict[str, Any], vocabulary: Iterable[Path]) -> Path:
    """Writes `model.ckpt` into a run folder: arrays, metadata and vocabulary; replaces an earlier one at one stroke.

    Raises:
      UserError: it could not be written; an earlier model stays as it was.
    """
    target = run_dir / MODEL_FOLDER
    try:
        # beside the target, so that renaming never copies
        temporary = Path(tempfile.mkdtemp(prefix=f".{MODEL_FOLDER}-", dir=run_dir))
        host = _on_host(variables)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((temporary / "variables").resolve(), host)
        (temporary / "vocab").mkdir()
        for file in vocabulary:
            shutil.copy2(file, temporary / "vocab" / file.name)
        metadata = metadata | {"checksums": _checksums(host)}
        (temporary / METADATA_FILE).write_text(json.dumps(metadata, indent=1), encoding="utf-8")
        _replace(temporary, target)
    except OSError as error:
        raise UserError(f"{target}: the model could not be saved: {error}") from error
    return target


def _replace(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.chmod(0o755)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def contents_of(folder: Path) -> str:
    """What a folder holds, as a sentence for messages."""
    if not folder.is_dir():
        return f"{folder} does not exist."
    return f"{folder} holds: {', '.join(sorted(path.name for path in folder.iterdir())) or 'nothing'}."


def load_model(folder: Path) -> SavedModel:
    """Loads a `model.ckpt` folder with nothing but the folder itself.

    Raises:
      UserError: it is missing, of another kind, or damaged.
    """
    metadata_path = folder / METADATA_FILE
    if not metadata_path.is_file():
        raise UserError(
            f"{folder}: there is no saved model. {contents_of(folder if folder.is_dir() else folder.parent)}"
        )
    try:
        metadata = json.loads(metadata_path.read_text(encoding="utf-8"))
        with ocp.StandardCheckpointer() as checkpointer:
            path = (folder / "variables").resolve()
            shapes = checkpointer.metadata(path).item_metadata.tree
            like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
            variables = checkpointer.restore(path, like)
        differing = _differing(variables, metadata["checksums"])
    except Exception as error:  # whatever json, Orbax and its stores raise on damaged files
        raise UserError(f"{folder}: the saved model is damaged: {error}") from error
    if differing:
        raise UserError(f"{folder}: the saved model is damaged: the checksum of {differing[0]} differs")
    return SavedModel(folder, variables, metadata)
