"""What is trained: masked language modelling or classification, one file a task.

A task is the host's side of it: which arrays a batch has and what an evaluation reports. The device's side, logits and
losses, is the model's (`model/heads.py`).
"""

from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.tasks.classification import ClassificationTask
from textclf_jax.tasks.mlm import MlmTask
from textclf_jax.tasks.task import Task
from textclf_jax.tokenizer.loading import LoadedTokenizer


def make_task(config: RunConfig, tokenizer: LoadedTokenizer) -> Task:
    """The task that a configuration describes."""
    if isinstance(config, PretrainingConfig):
        return MlmTask(config, tokenizer)
    assert isinstance(config, FinetuningConfig)
    return ClassificationTask(config, tokenizer)
