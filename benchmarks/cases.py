"""What is measured: one case for each row of the table. Names of rows stay the same from version to version."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from textclf_jax.errors import UserError

VOCAB_SIZE = 30_522
NUM_LABELS = 4

Task = Literal["mlm", "cls"]
Measure = Literal["training", "epoch", "evaluation", "prediction", "startup", "loader"]


class Size(NamedTuple):
    """The size of an encoder."""

    embedding_dim: int
    num_layers: int
    num_heads: int
    mlp_size: int


SIZES = {
    "tiny": Size(64, 1, 2, 128),
    "mini": Size(256, 4, 4, 1024),
    "small": Size(512, 4, 8, 2048),
    "base": Size(768, 12, 12, 3072),
    "large": Size(1024, 24, 16, 4096),
}


@dataclass(frozen=True)
class Case:
    """One row of the benchmark; sent to the workers as JSON.

    Attributes:
      row: name of the row.
      measure: what is timed.
      size: key of SIZES.
      batch_size: rows per step.
      max_length: tokens; longer rows are cut.
      task: MLM or classification.
      attention: kind of attention on our side; the peer's is always exact.
      median_length: tokens; lengths of rows are log-normal. None makes every row `max_length` long.
      spread: standard deviation of the logarithm of the lengths.
      rows: size of the training data; the validation data is an eighth of it.
      rounds: how often each side is measured, in alternation.
      trial_steps: how often the peer repeats its work to try one of its modes, after as many times to warm up.
      texts: how many are classified in one repetition.
      repetitions: how often our side repeats its work in a round, all in one call; None: as often as fills a round.
      warm_cache: whether start-up finds its programs compiled by an earlier run.
      peer_of: another row whose peer does the same work; if it was measured, its figures are used here.
      trains_as: the row that trains on what this loader row loads.
      platforms: where the row is measured, "cpu" and "gpu".
    """

    row: str
    measure: Measure
    size: str
    batch_size: int
    max_length: int
    task: Task = "mlm"
    attention: str = "mha"
    median_length: int | None = None
    spread: float = 0.0
    rows: int = 1024
    rounds: int = 5
    trial_steps: int = 3
    texts: int = 512
    repetitions: int | None = None
    warm_cache: bool = False
    peer_of: str | None = None
    trains_as: str | None = None
    platforms: tuple[str, ...] = ("cpu", "gpu")

    @property
    def computes(self) -> bool:
        """Whether a model is run."""
        return self.measure != "loader"


CPU, GPU = ("cpu",), ("gpu",)


class PeerMode(NamedTuple):
    """A way in which the peer can compute.

    Attributes:
      platforms: where it is tried.
      autocast: matrix products in bfloat16, by torch's autocast; float32 otherwise.
      compiled: by `torch.compile`.
    """

    platforms: tuple[str, ...]
    autocast: bool
    compiled: bool


PEER_MODES = {
    "float32": PeerMode(CPU, autocast=False, compiled=False),
    "bfloat16 autocast": PeerMode(CPU + GPU, autocast=True, compiled=False),
    "float32 compiled": PeerMode(CPU, autocast=False, compiled=True),
    "bfloat16 autocast compiled": PeerMode(CPU + GPU, autocast=True, compiled=True),
}

RAGGED_128: dict[str, Any] = {"batch_size": 16, "max_length": 128, "median_length": 100, "spread": 0.4}
# lengths as in AG News (titles with a sentence or two) and IMDB (reviews, a tenth of them over BERT's 512 tokens)
AGNEWS: dict[str, Any] = {"batch_size": 32, "max_length": 128, "median_length": 50, "spread": 0.35, "task": "cls"}
IMDB: dict[str, Any] = {"batch_size": 16, "max_length": 512, "median_length": 220, "spread": 0.65, "task": "cls"}
# batches that fill a GPU; their lengths change from step to step, for which torch compiles twice
RAGGED_512: dict[str, Any] = {"batch_size": 64, "max_length": 512, "median_length": 220, "spread": 0.65}
# titles and short questions: 1,000,000 of them, in one call
SHORT: dict[str, Any] = {"batch_size": 256, "max_length": 64, "median_length": 16, "spread": 0.4, "task": "cls"}
MILLION: dict[str, Any] = {**SHORT, "rows": 512, "rounds": 1, "trial_steps": 1, "texts": 10_000, "repetitions": 100}


def _long(length: int, batch_size: int, platforms: tuple[str, ...]) -> list[Case]:
    name = f"long-{length}" if batch_size == 1 else f"long-{batch_size}x{length}"
    few: dict[str, Any] = {"rows": 32, "rounds": 3, "trial_steps": 1}
    exact = Case(f"{name}-mha", "training", "small", batch_size, length, **few, platforms=platforms)
    others = (
        replace(exact, row=f"{name}-{kind}", attention=kind, peer_of=exact.row) for kind in ("lsh", "favor", "local")
    )
    return [exact, *others]


# the most important on a CPU first: when time runs out, the last rows are skipped
CASES = (
    Case("mlm-small-16x128", "training", "small", 16, 128),
    Case("mlm-small-4x512", "training", "small", 4, 512, platforms=CPU),
    Case("mlm-base-64x512", "training", "base", 64, 512, platforms=GPU),
    Case("mlm-small-64x512", "training", "small", 64, 512, platforms=GPU),
    Case("mlm-small-64x512-ragged", "training", "small", **RAGGED_512, trial_steps=12, platforms=GPU),
    Case("mlm-base-256x128", "training", "base", 256, 128, platforms=GPU),
    Case("mlm-small-16x128-ragged", "training", "small", **RAGGED_128),
    *_long(16_384, 1, GPU),
    *_long(4096, 1, ("cpu", "gpu")),
    Case("cls-agnews-like", "epoch", "mini", **AGNEWS, rows=8000, rounds=1),
    Case("cls-imdb-like", "epoch", "mini", **IMDB, rows=1600, rounds=1),
    Case("startup-cold", "startup", "small", **RAGGED_128, rounds=1),
    Case("startup-warm", "startup", "small", **RAGGED_128, rounds=1, warm_cache=True, peer_of="startup-cold"),
    Case("evaluation-agnews-like", "evaluation", "mini", **AGNEWS, rows=8192, trial_steps=1),
    Case("prediction-agnews-like", "prediction", "mini", **AGNEWS, rows=256, trial_steps=1),
    Case("prediction-1m-texts", "prediction", "small", **MILLION, platforms=GPU),
    Case("loader-16x128", "loader", "small", **RAGGED_128, trains_as="mlm-small-16x128-ragged"),
    Case("loader-64x512", "loader", "small", **RAGGED_512, trains_as="mlm-small-64x512-ragged", platforms=GPU),
    *_long(16_384, 2, GPU),
    *_long(4096, 2, GPU),
)
# the suite of a GPU, the most important first: what nine minutes are enough for. Other rows are measured by name.
GPU_SUITE = (
    *("mlm-base-64x512", "mlm-small-64x512", "prediction-1m-texts"),
    *("mlm-small-64x512-ragged", "mlm-small-16x128", "long-2x16384-mha", "long-2x16384-local"),
    *("cls-agnews-like", "startup-cold", "startup-warm", "loader-64x512"),
    *("long-2x16384-favor", "long-2x16384-lsh", "evaluation-agnews-like"),
)
GPU_QUICK = GPU_SUITE[:3]  # and three minutes


def chosen(rows: str | None, platform: str, *, quickly: bool) -> tuple[Case, ...]:
    """Selects the cases of a platform.

    Args:
      rows: names, separated by commas; None for the platform's suite: all on a CPU, `GPU_SUITE` or `GPU_QUICK`.
      platform: "cpu" or "gpu".
      quickly: halves the number of rounds; on a CPU the peer's modes are tried for fewer steps.

    Raises:
      UserError: a name is not that of a case of this platform; the message lists them.
    """
    there = {case.row: case for case in CASES if platform in case.platforms}
    suite = {"cpu": tuple(there), "gpu": GPU_QUICK if quickly else GPU_SUITE}[platform]
    names = suite if rows is None else [name.strip() for name in rows.split(",")]
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"--rows: there is no row {unknown[0]!r} on a {platform}. There are: {', '.join(there)}")
    cases = [there[name] for name in names]
    if quickly:
        cases = [replace(case, rounds=max(1, case.rounds // 2)) for case in cases]
    if quickly and platform == "cpu":
        cases = [replace(case, trial_steps=1) for case in cases]
    return tuple(cases)


def peer_modes(platform: str, *, compiled: bool) -> list[str]:
    """The names of the peer's modes on a platform, "cpu" or "gpu"; without those that are compiled, if so asked."""
    return [name for name, mode in PEER_MODES.items() if platform in mode.platforms and (compiled or not mode.compiled)]
