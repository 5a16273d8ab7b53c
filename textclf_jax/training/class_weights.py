"""What each class counts in the training loss."""

import numpy as np
from jaxtyping import Float

from textclf_jax.config.schema import FinetuningConfig, RunConfig
from textclf_jax.data.dataset import Dataset


def class_weights(config: RunConfig, data: Dataset) -> Float[np.ndarray, " C"] | None:
    """The weights of the classes, float64; None where all count the same.

    `balanced` gives each class N / (C * its rows), as scikit-learn's compute_class_weight, so that all classes together
    count the same; C are the classes that have rows, and one without any gets 0.

    Args:
      config: its `training.class_weights`.
      data: the training split.
    """
    weights = config.training.class_weights
    if weights is None or data.labels is None or not isinstance(config, FinetuningConfig):
        return None
    if weights != "balanced":
        return np.array(weights)
    counts = np.bincount(data.labels, minlength=config.classification_head.num_labels)
    return np.divide(len(data.labels), np.count_nonzero(counts) * counts, out=np.zeros(len(counts)), where=counts > 0)
