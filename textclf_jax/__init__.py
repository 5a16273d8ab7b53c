"""textclf_jax: pretrain and finetune BERT-like text classifiers from scratch, in JAX and Flax.

Dimension key, used in every docstring:

  B batch, L query length, S key length, D model width (`embedding_dim`), H heads, K head size, F MLP width
  (`mlp_size`), V vocabulary, C classes, P predicted (masked) positions of a batch, R hash rounds, M random features.

Words: a *step* handles one micro-batch; an *update* is one optimizer step, `grad_accum_steps` steps long. A token is
*real* when it is not padding; a batch says how many of each row are real in `lengths` [B].
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textclf_jax.config.file import load_config
    from textclf_jax.data.dataset import load_dataset
    from textclf_jax.errors import UserError
    from textclf_jax.estimator.text_classifier import TextClassifier
    from textclf_jax.evaluation.classifier import Classifier
    from textclf_jax.evaluation.explaining import Explanation
    from textclf_jax.evaluation.prediction import Prediction
    from textclf_jax.model.encoder import Encoder
    from textclf_jax.model.heads import MaskedLanguageModel
    from textclf_jax.runs.logger import RunLogger
    from textclf_jax.tokenizer.loading import load_wrapper
    from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper
    from textclf_jax.training.fit import fit
    from textclf_jax.training.loop import TrainingLoop

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Encoder",
    "Explanation",
    "MaskedLanguageModel",
    "Prediction",
    "RunLogger",
    "TextClassifier",
    "TrainingLoop",
    "UserError",
    "WordPieceTokenizerWrapper",
    "fit",
    "load_config",
    "load_dataset",
    "load_wrapper",
]

# imported when asked for: jax alone takes a second
_MODULES = {
    "Classifier": "evaluation.classifier",
    "Encoder": "model.encoder",
    "Explanation": "evaluation.explaining",
    "MaskedLanguageModel": "model.heads",
    "Prediction": "evaluation.prediction",
    "RunLogger": "runs.logger",
    "TextClassifier": "estimator.text_classifier",
    "TrainingLoop": "training.loop",
    "UserError": "errors",
    "WordPieceTokenizerWrapper": "tokenizer.wordpiece_tokenizer_wrapper",
    "fit": "training.fit",
    "load_config": "config.file",
    "load_dataset": "data.dataset",
    "load_wrapper": "tokenizer.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
