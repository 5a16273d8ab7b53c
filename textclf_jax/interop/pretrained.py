"""Where a run starts from, whether a checkpoint of this project or a file of the PyTorch reference."""

from pathlib import Path

from textclf_jax.config.file import AnyConfig
from textclf_jax.config.schema import Architecture, MlmHead, PretrainingConfig
from textclf_jax.interop.reference import head_names, variables_from_state_dict, with_reference_variants
from textclf_jax.interop.torch_checkpoint import read_state
from textclf_jax.runs.pretrained import Pretrained, checkpoint_in, load_pretrained


def load_start(path: Path, config: AnyConfig) -> tuple[Pretrained, AnyConfig, list[str]]:
    """Loads the weights that a run starts from.

    Args:
      path: a run folder, a `model.ckpt` or `checkpoints/` folder, or a file of the reference.
      config: of the new run. A pretraining run reads the MLM head too.

    Returns:
      The weights; the config, where rope and lsh compute as the reference does if the weights are its; and a line for
      each key that was changed for that.

    Raises:
      UserError: there is no such checkpoint, or it does not fit the config; keys or arrays are listed.
    """
    source = checkpoint_in(path)
    if source.is_dir():
        return load_pretrained(source), config, []
    architecture, notes = with_reference_variants(config.architecture)
    head = config.mlm_head if isinstance(config, PretrainingConfig) else None
    config = config.model_copy(update={"architecture": architecture})
    return _from_reference(source, architecture, head), config, notes


def _from_reference(path: Path, architecture: Architecture, head: MlmHead | None) -> Pretrained:
    state = read_state(path)
    variables = variables_from_state_dict(state, architecture, head, path)
    return Pretrained(path, variables, architecture, None, tuple(head_names(state)) if head is None else ())
