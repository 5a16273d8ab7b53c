"""What makes the model fast: each operation as a plain function of the meaning that its docstring gives.

    linear            x times a kernel, and `kernel_gradient`
    batched           products of many pairs of matrices
    gelu              GELU, alone and before a product
    layer_norm        LayerNorm
    attention         softmax attention, whole or one block of queries after the other
    linear_attention  attention by features, linear in the length
    cross_entropy     of logits, and of a decoder whose logits are too many to be held
    dropout           from a counter-based hash
    gather, split     rows of a batch, and parts of vectors
    reductions        the maximum, and sums of products
    shards            what each of several devices computes of a batch by itself

Most have a `..._reference` beside them: a few lines that compute the same, which the tests compare in values and
gradients. How an operation is computed is chosen by `backend.py` (the platform) and `precision.py` (the dtypes), and by
the tables in upper case at the top of a file. `barriers`, `casts`, `transpose` and `blocks` are the means.

docs/performance/kernels.md says what each means gives. The model knows none of it: it calls these functions.
"""
