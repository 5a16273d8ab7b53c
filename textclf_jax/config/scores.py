"""The metrics of an evaluation that can decide which model is the best: `training.early_stopping.metric`."""

import difflib
from collections.abc import Sequence

from textclf_jax.config.section import Count, Section

PER_CLASS_LIMIT = 10  # with more classes than this the per-class scores are left out
TOP_K = (3, 5)
LOWER_IS_BETTER = ("loss", "perplexity", "hamming_loss")
PRETRAINING_SCORES = ("loss", "perplexity", "accuracy")
CLASSIFICATION_SCORES = (
    *("loss", "accuracy", "balanced_accuracy"),
    *(f"{name}_{mean}" for mean in ("macro", "micro") for name in ("f1", "precision", "recall")),
)
MULTI_LABEL_SCORES = (
    *("loss", "subset_accuracy", "hamming_loss", "f1_samples"),
    *(f"{name}_{mean}" for mean in ("micro", "macro") for name in ("f1", "precision", "recall", "average_precision")),
)


def classification_scores(num_labels: int) -> tuple[str, ...]:
    """The scores of a classifier of so many classes."""
    top = (f"top{k}_accuracy" for k in TOP_K if k < num_labels)
    return *CLASSIFICATION_SCORES, *top, *_f1_by_class(num_labels)


def multi_label_scores(num_labels: int) -> tuple[str, ...]:
    """The scores of a classifier of so many classes, of which a text can have several."""
    return *MULTI_LABEL_SCORES, *_f1_by_class(num_labels)


def _f1_by_class(num_labels: int) -> list[str]:
    return [f"class_{i}_f1" for i in range(num_labels)] if num_labels <= PER_CLASS_LIMIT else []


def is_lower_better(metric: str) -> bool:
    """Whether the best score is the lowest one; of all others it is the highest."""
    return metric in LOWER_IS_BETTER


class EarlyStopping(Section):
    """Which evaluation is the best, and when to stop for want of a better one."""

    metric: str = "loss"
    patience: Count = 0

    def check(self, scores: Sequence[str], *, has_validation: bool) -> None:
        """Raises ValueError where a run with these scores cannot do this."""
        if self.metric not in scores:
            raise ValueError(_unknown_score(self.metric, scores))
        if not has_validation and self != EarlyStopping():
            key = f"patience {self.patience}" if self.patience else f"metric '{self.metric}'"
            raise ValueError(
                f"training.early_stopping.{key} needs a validation split. Set data.val.dataset_path, or metric to loss "
                "and patience to 0."
            )


def _unknown_score(metric: str, scores: Sequence[str]) -> str:
    word = metric.lower().replace("-", "_").replace("/", "_")
    parts = sorted(word.split("_"))
    close = [name for name in scores if sorted(name.split("_")) == parts]
    close += [name for name in scores if word and name.startswith(word)]
    close += difflib.get_close_matches(word, scores, n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    return f"training.early_stopping.metric '{metric}' is no score of this run.{hint} Scores: {', '.join(scores)}."
