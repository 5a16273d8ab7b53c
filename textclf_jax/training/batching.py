"""How the texts of a run become batches: one text a row or several, by what attention can do and by arithmetic."""

import numpy as np
from jaxtyping import Int

from textclf_jax.config.schema import RunConfig
from textclf_jax.data.collate import Batching, Bucketed, choose_buckets
from textclf_jax.data.joining import Joined, candidate_joinings, spans_a_row
from textclf_jax.data.packing import candidate_packings, tokens_taken
from textclf_jax.kernels.backend import masks_between_texts, platform, why_not_within_spans
from textclf_jax.kernels.spans import row_lengths
from textclf_jax.runtime.device import compute_precision
from textclf_jax.tasks.task import Task

EVALUATION_BUCKETS = 2
SAMPLED_TEXTS = 4096

# Of compiling one more program. On a CPU, where compiling and running are slow alike: as a share of an epoch's
# operations. On a GPU in seconds, against those of so many passes over the texts at a speed that holds to an order of
# magnitude. The length of the run is left out: one that is continued has its batches as before.
COST_OF_A_PROGRAM = 0.05
COMPILING_SECONDS, PASSES, GPU_SPEED = 20.0, 10, 1e14  # FLOP/s

# Of room for one more span in each row, as a share of the row's operations: cuDNN's backward pass clears a float32
# gradient of the row's size for each, whether it is used or not
COST_OF_A_SPAN = 0.01


def choose_batching(
    task: Task, lengths: Int[np.ndarray, " N"], num_buckets: int, *, train: bool, divided: bool = False
) -> Batching:
    """Chooses between one text a row and several, by the arithmetic that an epoch takes and the programs it needs.

    Several need exact attention that tells them apart: by masks on a CPU, by spans in flash attention on a GPU.

    Args:
      task: what is trained.
      lengths: [N] tokens of each text.
      num_buckets: the most lengths that rows are padded to with one text each.
      train: whether the batches are those of training, which may drop attention weights and keep the file's order.
      divided: whether several devices divide each batch among them.
    """
    config, on_gpu = task.config, platform() == "gpu"
    size, longest = config.training.batch_size, config.architecture.max_sequence_length
    counts = range(1, num_buckets + 1) if on_gpu else (num_buckets,)
    bucketed = [Bucketed(size, choose_buckets(lengths, longest, count)) for count in counts]
    can_pack = masks_between_texts() or not _why_no_spans(config, train=train, divided=divided)
    packs = _wants_packing(config, train=train) and can_pack
    if not packs and len(bucketed) == 1:
        return bucketed[0]

    # enough to know: batches are alike
    sample = np.random.default_rng(0).permutation(lengths)[: max(SAMPLED_TEXTS, size)]
    packings = []
    if packs and masks_between_texts():
        packings = candidate_packings(sample, size)
    elif packs:
        packings = candidate_joinings(lengths, sample, size, row_lengths(int(tokens_taken(lengths).max())))

    def cost(batching: Batching) -> float:
        if isinstance(batching, Joined):
            spans, count = spans_a_row(batching.shape[0], size), -(-len(sample) // size)
            return count * task.flops(batching.shape, train=True, keys=batching.keys) * (1 + COST_OF_A_SPAN * spans)
        shapes = [batch.shape for batch in batching.evaluation(sample)]
        flops = sum(task.flops(shape, train=True) for shape in shapes)
        program = cost_of_a_program(flops * len(lengths) / len(sample), on_gpu=on_gpu)
        return flops * (1 + program * (len(set(shapes)) - 1))

    return min(*bucketed, *packings, key=cost)


def cost_of_a_program(flops: float, *, on_gpu: bool) -> float:
    """What compiling one more costs, as a share of the work: of an epoch of so many FLOPs, or of several."""
    return COMPILING_SECONDS * GPU_SPEED / (PASSES * flops) if on_gpu else COST_OF_A_PROGRAM


def padding_note(config: RunConfig, *, divided: bool = False) -> list[str]:
    """Why texts do not share rows on a GPU, or on several, although that is asked for; nothing where they do."""
    if platform() != "gpu" or not _wants_packing(config, train=True):
        return []
    reason = _why_no_spans(config, train=True, divided=divided)
    if reason is None:
        return []
    return [f"note: training gives each text a row of its own, padded: flash attention tells no texts apart: {reason}"]


def _wants_packing(config: RunConfig, *, train: bool) -> bool:
    """Whether several texts may share a row, as far as the configuration tells."""
    keeps_order = train and not config.data.train.shuffle
    is_exact = config.architecture.attention.kind == "mha"
    return config.data.packing and is_exact and config.training.variant == "standard" and not keeps_order


def _why_no_spans(config: RunConfig, *, train: bool, divided: bool) -> str | None:
    """What is in the way of flash attention that is told spans, a clause; None where it can be used."""
    if divided:
        return "texts go on in the next row, which may be on another GPU"
    architecture, attention = config.architecture, config.architecture.attention
    if attention.mha.implementation == "xla":
        return "architecture.attention.mha.implementation is xla"
    dtype = compute_precision(config.training).activations
    return why_not_within_spans(dtype, architecture.head_dim, drops_weights=train and attention.attn_dropout > 0)
