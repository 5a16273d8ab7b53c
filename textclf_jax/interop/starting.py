"""Loads the weights that a run starts from: a checkpoint of this project, or a file of the PyTorch reference."""

from pathlib import Path

from textclf_jax.config.file import AnyConfig
from textclf_jax.config.schema import PretrainingConfig
from textclf_jax.interop.reference import head_names, variables_from_state_dict, with_reference_variants
from textclf_jax.interop.torch_checkpoint import read_state
from textclf_jax.runs.pretrained import Pretrained, checkpoint_in, load_pretrained


def load_start(path: Path, config: AnyConfig) -> tuple[Pretrained, AnyConfig, list[str]]:
    """Loads the weights that a run starts from.

    Args:
      path: a run folder, a `model.ckpt` or `checkpoints/` folder, or a file of the reference.
      config: of the new run. A pretraining run reads the MLM head too.

    Returns:
      The weights; the config, for the reference's weights with its variants of rope and lsh; and a line for each key
      that was changed.

    Raises:
      UserError: there is no such checkpoint, or it does not fit the config; keys or arrays are listed.
    """
    source = checkpoint_in(path)
    if source.is_dir():
        return load_pretrained(source), config, []
    architecture, notes = with_reference_variants(config.architecture)
    head = config.mlm_head if isinstance(config, PretrainingConfig) else None
    state = read_state(source)
    variables = variables_from_state_dict(state, architecture, head, source)
    unread = tuple(head_names(state)) if head is None else ()
    config = config.model_copy(update={"architecture": architecture})
    return Pretrained(source, variables, architecture, None, unread), config, notes
