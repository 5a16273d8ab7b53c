"""Where a run starts: at its own checkpoint, at that of an earlier run, from other weights, or afresh."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from textclf_jax import __version__
from textclf_jax.config.schema import PretrainingConfig
from textclf_jax.runs.checkpoint import CHECKPOINTS_FOLDER, Checkpoints, is_checkpoints_folder
from textclf_jax.runs.checksums import checksums
from textclf_jax.runs.pretrained import Pretrained, adopt
from textclf_jax.runs.record import label_names, renamed_classes
from textclf_jax.runs.resuming import Position, continue_earlier, resume
from textclf_jax.runtime.agreement import arrays_by_first, made_by_first, require_same
from textclf_jax.runtime.device import compute_precision
from textclf_jax.training.plan import Plan
from textclf_jax.training.steps import TrainState


class Start(NamedTuple):
    """Where training starts.

    Attributes:
      position: the first position.
      state: its train state, in the host's memory or on the devices; None where a fresh one is to be drawn.
      pretrained: weights that go into the fresh state.
      resumes: it is this run's own earlier position.
      note: what to tell the user.
    """

    position: Position
    state: TrainState | None = None
    pretrained: Pretrained | None = None
    resumes: bool = False
    note: str = ""

    @property
    def updates(self) -> int:
        """Updates so far."""
        return 0 if self.state is None else int(self.state.opt_state.gradient_step)


def find_start(
    plan: Plan, run_dir: Path, pretrained: Pretrained | None, *, dry_run: bool, fresh: bool, changed_data: bool
) -> Start:
    """Decides where a run starts, and loads what it starts from. Writes nothing, but removes damaged checkpoints.

    Args:
      plan: the run.
      run_dir: its folder.
      pretrained: weights to start from where there is no checkpoint.
      dry_run: leaves the run's own checkpoints alone.
      fresh: as if there were no checkpoint.
      changed_data: resumes even where the data is no longer the same.

    Raises:
      UserError: what there is to start from does not fit the run, or is damaged.
    """
    folder = run_dir / CHECKPOINTS_FOLDER
    if pretrained:
        # checked even where it is not used: the config names it
        adopted = "\n".join(adopt_into(plan, pretrained, plan.variable_shapes)[1])
    if not fresh and is_checkpoints_folder(folder):
        with closing(Checkpoints(folder, read_only=dry_run)) as checkpoints:
            resumption = resume(checkpoints, plan.state_shapes, plan.fingerprint(), changed_data=changed_data)
        if resumption is not None:
            renamed = renamed_classes(run_dir, label_names(plan.config, plan.train))
            note = f"resuming after step {resumption.position.step} of {plan.length.steps}"
            note = f"{renamed}\n{note}" if renamed else note
            return Start(resumption.position, resumption.state, resumes=True, note=note)
    earlier = plan.config.training.resume
    if earlier.path is not None and not earlier.weights_only:
        path, training = plan.root / earlier.path, plan.config.training
        key = "epochs" if training.max_updates is None else "max_updates"
        length = f"training.{key} to more than {getattr(training, key)}"
        state, position = continue_earlier(
            path, plan.state_shapes, plan.fingerprint(), length=length, steps=plan.length.steps
        )
        return Start(position, state)
    return Start(Position(), pretrained=pretrained, note=adopted) if pretrained else Start(Position())


def start_together(plan: Plan, pretrained: Pretrained | None, find: Callable[[], Start], *, dry_run: bool) -> Start:
    """Where all processes of a run start: where the first one finds that it does; states are put on the devices.

    Args:
      plan: the run.
      pretrained: the weights, which each process has.
      find: finds the start; the others call it not, and need not see the folder of the run.
      dry_run: whether the run ends before its first step.

    Raises:
      UserError: the first process cannot start, or the processes are not at work on the same run.
    """
    require_same(lambda: _facts(plan, pretrained, dry_run=dry_run))
    start, told = made_by_first(find, _told)
    if start is None:
        weights = pretrained if told["adopts"] else None
        start = Start(Position.restored(told["position"]), pretrained=weights, resumes=told["resumes"])
    if not told["has_state"]:
        return start
    state = arrays_by_first(lambda: start.state, plan.state_shapes)
    if plan.placement.is_divided:
        return start._replace(state=plan.placement.put_state(state))
    # a copy: a CPU would take the host's memory as it is, which steps cannot write over, and which would stay
    return start._replace(state=jax.tree.map(jnp.array, state))


def _told(start: Start) -> dict[str, Any]:
    """What other processes are to know of a start."""
    return {
        "position": start.position.stored(),
        "has_state": start.state is not None,
        "adopts": start.pretrained is not None,
        "resumes": start.resumes,
    }


def _facts(plan: Plan, pretrained: Pretrained | None, *, dry_run: bool) -> dict[str, Any]:
    """What must be the same in all processes of a run, by its name in a message."""
    found, training = plan.fingerprint(), plan.config.training
    # these may change when a run is resumed, and decide what processes do together all the same
    together = [training.mesh.model_dump(), training.checkpoint_interval_updates, dry_run]
    return {
        "versions of this package and of JAX": [__version__, jax.__version__],
        "settings": [found["config"], together],
        "data": found["data"],
        "vocabulary": found["vocabulary"],
        "pretrained weights": None if pretrained is None else checksums(pretrained.variables),
        "kind of device": [compute_precision(training), found["batches"]],
    }


def adopt_into(plan: Plan, pretrained: Pretrained, variables: Any) -> tuple[Any, list[str]]:
    """`adopt` for a run: pretraining takes the heads, too; finetuning the encoder alone."""
    heads = isinstance(plan.config, PretrainingConfig)
    return adopt(pretrained, variables, plan.config.architecture, plan.tokenizer.fingerprint, heads=heads)
