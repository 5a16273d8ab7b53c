"""Checkpoints: `checkpoints/<step>` to resume from, and `model.ckpt`, the trained model by itself.

Orbax restores flipped bits in array data silently, so checksums of all that is stored are saved beside it and compared.
"""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import METADATA_FILE, MODEL_FOLDER
from textclf_jax.files import finite, json_text
from textclf_jax.runs.arrays import orbax_by_itself, read_arrays, write_arrays
from textclf_jax.runs.checksums import check_arrays, check_files, checksums, file_checksums, sealed, unsealed
from textclf_jax.runs.host_copy import copy_to_host, host_memory
from textclf_jax.runs.quiet import quiet_orbax

STATE, POSITION = "state", "position"
CHECKPOINTS_FOLDER = "checkpoints"
MAX_CHECKPOINTS = 2


class Checkpoints:
    """The folder of checkpoints to resume from, of which the newest two stay. Saves run in a thread of their own.

    Attributes:
      saved_step: the latest step that was given to `save` or is in the folder; None where there is none.
    """

    @quiet_orbax()
    def __init__(self, folder: Path, *, fresh: bool = False, read_only: bool = False):
        """Opens the folder; `fresh` removes what is in it, `read_only` leaves everything as it is."""
        import orbax.checkpoint as ocp  # takes longer than loading a small model, which does not need it

        self._folder, self._read_only = folder.resolve(), read_only
        if fresh:
            remove(self._folder)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else MAX_CHECKPOINTS,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            enable_async_checkpointing=False,  # our own thread computes checksums and saves the model, too
            multiprocessing_options=(alone := orbax_by_itself()),
            create=False,  # which Orbax leaves to one of several processes
        )
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
        kinds = {STATE: ocp.StandardCheckpointHandler, POSITION: ocp.JsonCheckpointHandler}
        handlers = {name: kind(multiprocessing_options=alone) for name, kind in kinds.items()}
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)
        self.saved_step = self._manager.latest_step()
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._job: Future[None] | None = None
        self._host: PyTree[np.ndarray] | None = None
        self._failed_step: int | None = None

    def reserve(self, like: PyTree) -> None:
        """Reserves, in the background, the host memory that saving states of these shapes takes.

        Args:
          like: a state, or its shapes and dtypes.
        """

        def reserve() -> None:
            self._host = host_memory(like)

        self._submit(reserve)

    def save(
        self,
        step: int,
        state: PyTree,
        position: dict[str, Any],
        *,
        before_save: Callable[[PyTree[np.ndarray]], None] = lambda host: None,
    ) -> None:
        """Copies the state, and saves the copy in the background; waits for an earlier save to end.

        Args:
          step: its number; one that is saved already is not saved again.
          state: what to save.
          position: JSON-able; what is saved beside it.
          before_save: called in the background with the copy of the state, before that is saved.

        Raises:
          UserError: an earlier save has failed.
        """
        self.wait()
        if self._host is None:
            self._host = host_memory(state)
        # not a view: while there is one the next step cannot reuse the state's memory, and fresh memory costs it more
        copy_to_host(self._host, state)
        host, is_new = self._host, step != self.saved_step

        def save() -> None:
            before_save(host)
            if is_new:
                self._write(step, host, position)

        self._submit(save)
        self.saved_step = step

    def _submit(self, job: Callable[[], None]) -> None:
        """Starts a job once the one before it has ended. Raises what that raised, so nothing follows a failed job."""
        self.wait()
        self._job = self._thread.submit(job)

    def check(self) -> None:
        """Raises UserError if a save has failed; does not wait."""
        if self._job is not None and self._job.done():
            self._job.result()

    def wait(self) -> None:
        """Waits until all is on disk. Raises UserError if a save has failed."""
        if self._job is not None:
            self._job.result()

    @quiet_orbax()
    def close(self) -> None:
        """Lets the running save end, and frees the threads; raises nothing if it fails.

        To be called before the process ends: while the interpreter shuts down Orbax can save nothing.
        """
        self._thread.shutdown()
        self._manager.close()
        # only now: until here other tasks of a save that has failed may write
        for partial in self._folder.glob(f"{self._failed_step}.*"):
            shutil.rmtree(partial, ignore_errors=True)

    @quiet_orbax()
    def _write(self, step: int, host: PyTree[np.ndarray], position: dict[str, Any]) -> None:
        import orbax.checkpoint as ocp

        content = sealed({"position": position, "checksums": checksums(host)})
        arguments = {STATE: ocp.args.StandardSave(host), POSITION: ocp.args.JsonSave(content)}
        try:
            saved = self._manager.save(step, args=ocp.args.Composite(**arguments))
        except Exception as error:  # whatever Orbax and its stores raise
            self._failed_step = step
            raise UserError(
                f"{self._folder}: the checkpoint of step {step} could not be saved ({_reason(error)}). Free some space "
                "or mend the folder, then resume the run: earlier checkpoints are as they were."
            ) from error
        if not saved:
            raise UserError(f"{self._folder}: the checkpoint of step {step} was not saved: a later one exists")

    def restore(
        self, like: PyTree, notes: list[str], check: Callable[[dict[str, Any]], None] = lambda position: None
    ) -> tuple[PyTree, dict[str, Any]] | None:
        """Restores the newest sound checkpoint; damaged ones that are newer are removed (unless `read_only`).

        Args:
          like: a state of the same structure, or its shapes and dtypes; None: nested dicts of whatever there is.
          notes: gets a line for each damaged checkpoint that was passed over.
          check: sees the position before any array is read; its UserError ends the search.

        Returns:
          The state and the position, or None where there is no checkpoint.

        Raises:
          UserError: there are checkpoints, but none is sound.
        """
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore_step(step, like, check)
            except UserError:
                raise
            except Exception as error:  # whatever Orbax and its stores raise on damaged files
                damaged.append(step)
                notes.append(f"warning: the checkpoint of step {step} in {self._folder} is damaged ({_reason(error)})")
            else:
                self._drop(damaged)
                if damaged:
                    notes.append(f"warning: going back to the checkpoint of step {step}")
                return restored
        if damaged:
            raise UserError(
                "\n".join([*notes, f"{self._folder}: no sound checkpoint is left. Start over with --fresh."])
            )
        return None

    @quiet_orbax()
    def _restore_step(
        self, step: int, like: PyTree, check: Callable[[dict[str, Any]], None]
    ) -> tuple[PyTree, dict[str, Any]]:
        import orbax.checkpoint as ocp

        # first the position: it has the checksums, and `check` may find that the arrays are not wanted
        saved = self._manager.restore(step, args=ocp.args.Composite(**{POSITION: ocp.args.JsonRestore()}))[POSITION]
        saved = unsealed(saved)
        check(saved["position"])
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), like)
        arguments = {STATE: ocp.args.StandardRestore(shapes)}
        state = self._manager.restore(step, args=ocp.args.Composite(**arguments))[STATE]
        check_arrays(state, saved["checksums"])
        return state, saved["position"]

    @quiet_orbax()
    def _drop(self, damaged: list[int]) -> None:
        """Removes checkpoints, so that the run can save those steps again."""
        if self._read_only or not damaged:
            return
        for step in damaged:
            shutil.rmtree(self._folder / str(step))
        self._manager.reload()
        self.saved_step = self._manager.latest_step()


def remove(path: Path) -> None:
    """Removes a file or folder if it is there. It is renamed first: a kill must leave no half folder under its name."""
    removed = path.with_name(f".{path.name}-removed")
    shutil.rmtree(removed, ignore_errors=True)
    if path.is_file() or path.is_symlink():
        path.unlink()
    elif path.exists():
        path.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@dataclass(frozen=True)
class SavedModel:
    """What a `model.ckpt` folder holds.

    Attributes:
      folder: where it is.
      variables: {"params": ..., "features": ...} as numpy arrays.
      metadata: config (the resolved sections), vocab_size, which (best or last), step, score, metric, labels, data,
        versions.
    """

    folder: Path
    variables: PyTree[np.ndarray]
    metadata: dict[str, Any]

    @property
    def vocab_dir(self) -> Path:
        """The folder of the vocabulary that came with the model."""
        return self.folder / "vocab"


@quiet_orbax()
def save_model(
    run_dir: Path, variables: PyTree, metadata: dict[str, Any], save_vocabulary: Callable[[Path], None]
) -> Path:
    """Writes `model.ckpt` into a run folder: arrays, metadata and vocabulary; replaces an earlier one by renaming.

    Args:
      run_dir: the folder of the run.
      variables: {"params": ..., ...}.
      metadata: JSON-able.
      save_vocabulary: writes what the tokenizer is loaded from into a folder.

    Raises:
      UserError: it could not be written; an earlier model stays as it was.
    """
    target = run_dir / MODEL_FOLDER
    temporary = run_dir / f".{MODEL_FOLDER}-unfinished"  # beside the target, so that renaming never copies
    host = jax.tree.map(np.asarray, variables)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        write_arrays(temporary / "variables", host)
        (temporary / "vocab").mkdir()
        save_vocabulary(temporary / "vocab")
        sums = {"checksums": checksums(host), "files": file_checksums(temporary / "vocab")}
        metadata = sealed(finite(metadata | sums))
        (temporary / METADATA_FILE).write_text(json_text(metadata), encoding="utf-8")
        _replace(temporary, target)
    except Exception as error:  # whatever Orbax and its stores raise
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{target}: the model could not be saved ({_reason(error)}). Free some space or mend the folder, then try "
            "again."
        ) from error
    return target


def _replace(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def is_checkpoints_folder(path: Path) -> bool:
    """Whether a folder holds numbered checkpoints to resume from."""
    return path.is_dir() and any(child.name.isdigit() for child in path.iterdir())


def contents_of(folder: Path) -> str:
    """What a folder holds, as a sentence for messages."""
    if not folder.is_dir():
        return f"{folder} does not exist."
    return f"{folder} holds: {', '.join(sorted(path.name for path in folder.iterdir())) or 'nothing'}."


@quiet_orbax()
def load_model(folder: Path) -> SavedModel:
    """Loads a `model.ckpt` folder with nothing but the folder itself.

    Raises:
      UserError: it is missing, of another kind, or damaged.
    """
    metadata = read_metadata(folder)
    try:
        check_files(folder / "vocab", metadata["files"])
        variables = read_arrays(folder / "variables")
        check_arrays(variables, metadata["checksums"])
    except Exception as error:  # whatever json, Orbax and its stores raise on damaged files
        raise _damaged(folder, error) from error
    return SavedModel(folder, variables, metadata)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Reads what `SavedModel.metadata` holds from a `model.ckpt` folder, and no array.

    Raises:
      UserError: it is missing, of another kind, or damaged.
    """
    metadata_path = folder / METADATA_FILE
    if not metadata_path.is_file():
        raise UserError(
            f"{folder}: there is no saved model. {contents_of(folder if folder.is_dir() else folder.parent)}"
        )
    try:
        return unsealed(json.loads(metadata_path.read_text(encoding="utf-8")))
    except Exception as error:  # whatever json raises on a damaged file
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"{folder}: the saved model is damaged ({_reason(error)}). Copy it again, or train it again with --fresh."
    )
