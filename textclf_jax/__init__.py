"""textclf_jax: pretrain and finetune BERT-like text classifiers from scratch, in JAX and Flax.

Dimension key, used in every docstring:

  B batch, L query length, S key length, D model width (`embedding_dim`), H heads, K head size, F MLP width
  (`mlp_size`), V vocabulary, C classes, P predicted (masked) positions of a batch, R hash rounds, M random features.

Words: a *step* handles one micro-batch; an *update* is one optimizer step, `grad_accum_steps` steps long. A token is
*real* when it is not padding; a batch says how many of each row are real in `lengths` [B].
"""

__version__ = "0.1.0"
