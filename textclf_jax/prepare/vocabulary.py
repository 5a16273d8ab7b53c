"""The vocabulary of a dataset: the one that was named, or a new one."""

from collections.abc import Sequence

from textclf_jax.prepare.folder import Stage
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.tokenizer.loading import require_pad_first
from textclf_jax.tokenizer.vocabulary import MAX_WORD_LENGTH
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

DEFAULT_VOCAB_SIZE, DEFAULT_MIN_FREQUENCY = 30_000, 2


def make_vocabulary(texts: Sequence[str], options: PrepareOptions, stage: Stage) -> WordPieceTokenizerWrapper:
    """The vocabulary that was named, or one trained on these texts."""
    if options.vocab is not None:
        tokenizer = WordPieceTokenizerWrapper().load(options.vocab)
        require_pad_first(tokenizer.pad_id, options.vocab)
        return tokenizer
    stage("training the vocabulary", 0, 0)
    size, min_frequency, length = options.vocab_size, options.min_frequency, options.max_word_length
    return WordPieceTokenizerWrapper().train(
        texts=texts,
        vocab_size=DEFAULT_VOCAB_SIZE if size is None else size,
        min_frequency=DEFAULT_MIN_FREQUENCY if min_frequency is None else min_frequency,
        lowercase=options.lowers,
        strip_accents=options.strip_accents,
        limit_alphabet=options.limit_alphabet,
        max_word_length=MAX_WORD_LENGTH if length is None else length,
    )
