"""A linear path beside the encoder: logistic regression on n-grams, fitted before training, never by gradient.

Source: Cheng et al. 2016, Wide & Deep Learning. There both parts are trained together; here the linear one is fitted
alone, since an encoder beside a model that fits the training split already would learn little.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.constants import LINEAR

EQUAL_WEIGHT = 0.5  # of encoder and linear path, where no validation split tells better


class LinearPath(nn.Module):
    """Class logits from the n-grams of texts. All its variables are in the collection LINEAR.

    Attributes:
      num_labels: C.
      max_features: F, room for so many n-grams.

    Variables: `table` [F, C]; `bias` [C]; `idf` [F], 0 where there is no n-gram; `weights` [2] of encoder and linear
    path; and `keys` [F, 2] of the n-grams, by which the host finds their places (`data/ngrams.py`).
    """

    num_labels: int
    max_features: int

    def setup(self):
        self.table = self.variable(LINEAR, "table", jnp.zeros, (self.max_features, self.num_labels))
        self.bias = self.variable(LINEAR, "bias", jnp.zeros, (self.num_labels,))
        self.idf = self.variable(LINEAR, "idf", jnp.zeros, (self.max_features,))
        self.variable(LINEAR, "keys", jnp.zeros, (self.max_features, 2), jnp.uint32)
        self.weights = self.variable(LINEAR, "weights", jnp.full, (2,), EQUAL_WEIGHT)

    def __call__(self, ids: Int[Array, "N K"], values: Float[Array, "N K"]) -> Float[Array, "N C"]:
        """Computes logits [N, C] from the places of n-grams and their counts on a sublinear scale, 0 at padding."""
        scaled = values * self.idf.value[ids]
        norm = jnp.sqrt((scaled**2).sum(axis=1, keepdims=True))
        scaled = scaled / jnp.where(norm > 0, norm, 1.0)
        return (scaled[..., None] * self.table.value[ids]).sum(axis=1) + self.bias.value

    def mix(self, parts: Float[Array, "N 2 C"]) -> Float[Array, "N C"]:
        """The logits of both parts together, from `log_scores` of encoder and linear path."""
        return (parts * self.weights.value[:, None]).sum(axis=1)


def log_scores(logits: Float[Array, "N C"], *, multi_label: bool) -> Float[Array, "N C"]:
    """What is mixed: the log probabilities of one part alone, or with several labels a text the log odds of each."""
    return logits if multi_label else jax.nn.log_softmax(logits)
