"""Tiny models of transformers and of this project, and their logits on the same ragged batch."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers

from tests import tiny
from textclf_jax.config.schema import MlmHead
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier
from textclf_jax.runs.checkpoint import SavedModel, load_model

LENGTHS = np.array([12, 5, 1], np.int32)
IDS = np.where(
    np.arange(12) < LENGTHS[:, None], np.random.default_rng(0).integers(5, tiny.VOCAB_SIZE, (3, 12)), 0
).astype(np.int32)

# mute the progress bars; warnings of the logger would go unnoticed, so they are turned into failures where they matter
transformers.utils.logging.disable_progress_bar()


def config(**changes: Any) -> transformers.BertConfig:
    """The smallest BERT with every part in it; weights are large enough for errors to show."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    rest = {"vocab_size": tiny.VOCAB_SIZE, "max_position_embeddings": tiny.MAX_LENGTH, "initializer_range": 0.3}
    return transformers.BertConfig(**{**sizes, **rest, **changes})


def random_model(kind: str, **changes: Any) -> Any:
    """A transformers model in evaluation mode whose biases and norms are not at their initial values either."""
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def save(model: Any, folder: Path, *, safe: bool = True) -> Path:
    """The folder that save_pretrained and a tokenizer make."""
    if safe:
        model.save_pretrained(folder)
    else:  # as before safetensors: every name, tied or not
        folder.mkdir()
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    tiny.write_vocabulary(folder)
    return folder


def their_logits(model: Any) -> np.ndarray:
    """Logits on the batch, as transformers is called: attention_mask 1 at real tokens."""
    mask = torch.from_numpy(np.arange(IDS.shape[1]) < LENGTHS[:, None]).long()
    with torch.no_grad():
        return model(torch.from_numpy(IDS).long(), attention_mask=mask).logits.numpy()


def our_logits(saved: SavedModel) -> np.ndarray:
    """Logits of a saved model on the batch."""
    from textclf_jax.interop.targets import model_of

    run_config, head = model_of(saved)
    kind: Any = MaskedLanguageModel if isinstance(head, MlmHead) else SequenceClassifier
    module = kind(run_config.architecture, head, saved.metadata["vocab_size"])
    return np.asarray(jax.jit(module.apply)(saved.variables, IDS, LENGTHS))


def check_same_logits(ours: np.ndarray, theirs: np.ndarray, atol: float = 1e-4) -> None:
    """Compares at real tokens; a classifier's logits have no token axis."""
    real = np.arange(IDS.shape[1]) < LENGTHS[:, None] if ours.ndim == 3 else slice(None)
    np.testing.assert_allclose(ours[real], theirs[real], atol=atol)
    assert np.ptp(theirs) > 0.3  # or it would not mean much


def load(folder: Path) -> SavedModel:
    """The model of a run's folder."""
    return load_model(folder / "model.ckpt")
