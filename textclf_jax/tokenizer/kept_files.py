"""Which files of a vocabulary's folder a model keeps, so that a user's own wrapper can be loaded from it again."""

from pathlib import Path

from textclf_jax.tokenizer.vocabulary import TOKENIZER_FILE, VOCAB_FILE

VOCABULARY_NAMES = {VOCAB_FILE, TOKENIZER_FILE, "vocab.json", "merges.txt"}
WEIGHTS = {".bin", ".safetensors", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".tflite"}
LARGEST_BYTES = 10_000_000  # of a file whose name does not tell that it belongs to a vocabulary


def files_of_a_wrapper(source: Path, vocab_dir: Path) -> tuple[dict[str, Path], list[Path]]:
    """The files that a model keeps for a user's wrapper, by name, and those of its folder that it does not.

    Kept are the wrapper and the vocabulary: a file, or all files of a folder but weights, hidden ones and large ones
    that are not known by name.

    Args:
      source: the file of the wrapper's class.
      vocab_dir: what its `load` was given.
    """
    if vocab_dir.is_file():
        return {vocab_dir.name: vocab_dir, source.name: source}, []
    files = sorted(path for path in vocab_dir.iterdir() if path.is_file()) if vocab_dir.is_dir() else []
    left_out = [path for path in files if not _belongs_to_a_vocabulary(path)]
    kept = {path.name: path for path in files if path not in left_out}
    shown = [path for path in left_out if not path.name.startswith(".")]
    return kept | {source.name: source}, shown


def _belongs_to_a_vocabulary(path: Path) -> bool:
    if path.name in VOCABULARY_NAMES:
        return True
    small = path.stat().st_size <= LARGEST_BYTES
    return small and path.suffix.lower() not in WEIGHTS and not path.name.startswith(".")
