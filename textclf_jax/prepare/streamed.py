"""Streamed texts to a dataset folder of shards: memory follows the rows of a shard, not the texts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from textclf_jax.constants import VOCAB_FOLDER
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.files import sha256_of, write_csv
from textclf_jax.prepare.folder import Stage, described_sources, no_tokens, shard_path, write_description
from textclf_jax.prepare.journal import Journal, resumable_folder
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.report import NUM_SPECIAL, PERCENTILES, Report, SplitReport
from textclf_jax.prepare.streams import TextStreams
from textclf_jax.prepare.vocabulary import make_vocabulary
from textclf_jax.prepare.vocabulary_report import describe_vocabulary, refuse_mostly_unknown
from textclf_jax.tokenizer.rows import Encoded
from textclf_jax.tokenizer.training import TrainedVocabulary
from textclf_jax.tokenizer.unknown import UnknownWords
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import CHARACTERS_PER_BATCH, WordPieceTokenizerWrapper

VOCABULARY_CHARACTERS = 100_000_000  # of longer training texts, a sample of so many: words that differ take memory
EVERYTHING = 1 << 62


def write_streamed(streams: TextStreams, options: PrepareOptions, report: Report, stage: Stage) -> Report:
    """Makes a dataset folder of unlabelled texts; it appears whole or not at all.

    A command that ends before it is finished leaves what is done, and the same one goes on with it.

    Args:
      streams: the texts.
      options: what to make.
      report: what is known of the texts; gets the rest.
      stage: called with the progress.

    Raises:
      UserError: as `pipeline.prepare`; or an unfinished dataset of other options or texts is in the way.
    """
    sources = described_sources(options)
    own = {name: str(value) for name, value in asdict(options).items() if name not in ("out", "force")}
    files = {f"{each['role']} {each['path']}": each["sha256"][:16] for each in sources}
    with resumable_folder(options.out, options.force, own | files) as journal:
        tokenizer = _vocabulary(journal, streams, options, report, stage)
        report.notes += [f"{options.vocab}: {note}" for note in tokenizer.notes]
        progress = {name: Progress.restored(journal, name) for name in streams.names}
        if done := sum(each.shards for each in progress.values()):
            stage(f"going on after {done} finished shards", 0, 0)
        progress = _encode(journal, progress, streams, tokenizer, options, stage)
        try:
            _describe(progress, tokenizer, options, report)
        except UserError:  # these options make nothing of use
            journal.discard()
            raise
        if report.is_drawn:
            _write_texts(journal.folder, streams, stage)
        write_description(journal.folder, "mlm", options, report, sources)
    return report


def _vocabulary(
    journal: Journal, streams: TextStreams, options: PrepareOptions, report: Report, stage: Stage
) -> WordPieceTokenizerWrapper:
    """The vocabulary that was named, the one trained before, or one trained on the training texts."""
    folder, known = journal.folder / VOCAB_FOLDER, journal.done.get("vocabulary")
    if options.vocab is None and known is not None:
        tokenizer, every = WordPieceTokenizerWrapper().load(folder), known["every"]
        tokenizer.trained = TrainedVocabulary(list(tokenizer.tokens), **known["trained"])
    else:
        texts, every = ([], 1) if options.vocab is not None else streams.sample(VOCABULARY_CHARACTERS)
        tokenizer = make_vocabulary(texts, options, stage)
        tokenizer.save(folder)
    if every > 1:
        report.notes.append(f"The vocabulary is trained on a sample: one of {every} training texts.")
    trained = tokenizer.trained and {k: v for k, v in tokenizer.trained._asdict().items() if k != "tokens"}
    described = {"sha256": sha256_of(sorted(folder.iterdir())), "trained": trained, "every": every}
    if known is not None and known != described:
        changed = folder if options.vocab is None else options.vocab
        raise UserError(
            f"{changed}: has changed since the dataset was begun. Put it back to go on, or remove {journal.folder} to "
            "begin anew."
        )
    journal.done["vocabulary"] = described
    journal.save()
    return tokenizer


def _encode(
    journal: Journal,
    progress: "Mapping[str, Progress]",
    streams: TextStreams,
    tokenizer: WordPieceTokenizerWrapper,
    options: PrepareOptions,
    stage: Stage,
) -> "dict[str, Progress]":
    """Writes the shards of all splits that are not there yet; returns how far all of them are then."""
    writers = {name: ShardWriter(journal, name, each, tokenizer, options) for name, each in progress.items()}
    skipped = {name: EVERYTHING if each.is_finished else each.texts for name, each in progress.items()}
    done, total = sum(each.texts for each in progress.values()), len(streams)
    for name, texts in _batches(streams.texts(), skipped):
        stage("encoding", done, total)
        writers[name].add(texts)
        done += len(texts)
    for writer in writers.values():
        writer.finish()
    return {name: writer.progress for name, writer in writers.items()}


def _batches(texts: Iterable[tuple[str, str]], skipped: Mapping[str, int]) -> Iterator[tuple[str, list[str]]]:
    """Yields (split, some of its texts), in their order, without the first `skipped` ones of each split."""
    left, pending, sizes = dict(skipped), {name: [] for name in skipped}, Counter[str]()
    for name, text in texts:
        if left[name]:
            left[name] -= 1
            continue
        pending[name].append(text)
        sizes[name] += len(text) + 1
        if sizes[name] >= CHARACTERS_PER_BATCH:
            yield name, pending[name]
            pending[name], sizes[name] = [], 0
    yield from ((name, rest) for name, rest in pending.items() if rest)


def _describe(
    progress: "Mapping[str, Progress]", tokenizer: WordPieceTokenizerWrapper, options: PrepareOptions, report: Report
) -> None:
    """Fills the report with the figures of all splits; raises UserError where one has no row or is mostly [UNK]."""
    figures = [each.figures for each in progress.values()]
    removed = sum((each.removed for each in figures), Counter[str]())
    report.vocabulary = describe_vocabulary(tokenizer, options, removed, sum(each.characters for each in figures))
    for name, each in progress.items():
        if not each.rows:
            raise no_tokens(name)
        report.splits[name] = each.figures.described(each.rows)
        refuse_mostly_unknown(name, report.splits[name].unknown_rates, report.vocabulary)


def _write_texts(folder: Path, streams: TextStreams, stage: Stage) -> None:
    """Writes the texts of each split, so that other programs can use the same split."""
    stage("writing the texts of the splits", 0, 0)
    (folder / "splits").mkdir(exist_ok=True)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((folder / "splits" / f"{name}.csv").open("w", encoding="utf-8", newline=""))
            for name in streams.names
        }
        for file in files.values():
            write_csv(file, [["text"]])
        for name, texts in _batches(streams.texts(with_extra=False), dict.fromkeys(files, 0)):
            write_csv(files[name], ((text,) for text in texts))


# --- one split --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """Figures of some texts of a split; those of `SplitReport`, in a form that further texts can be added to.

    Attributes:
      lengths: how many texts have so many tokens, [CLS] and [SEP] aside.
      removed: characters that the normalisation removes.
    """

    texts: int = 0
    characters: int = 0
    unknown_tokens: int = 0
    truncated_texts: int = 0
    dropped_tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    unknown_words: UnknownWords = field(default_factory=UnknownWords)

    def plus(self, texts: list[str], encoded: Encoded, tokenizer: WordPieceTokenizerWrapper) -> "Figures":
        """With those of further texts."""
        return Figures(
            self.texts + len(texts),
            self.characters + sum(map(len, texts)),
            self.unknown_tokens + encoded.num_unknown,
            self.truncated_texts + encoded.num_truncated,
            self.dropped_tokens + encoded.num_dropped_tokens,
            self.lengths + Counter(encoded.num_tokens.tolist()),
            self.removed + tokenizer.removed_characters(texts),
            self.unknown_words + tokenizer.explain_unknown([texts[i] for i in encoded.unknown_texts]),
        )

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        counts = {"lengths": dict(self.lengths), "removed": dict(self.removed)}
        return {**vars(self), **counts, "unknown_words": asdict(self.unknown_words)}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        """The figures that were stored as JSON."""
        lengths = Counter({int(length): count for length, count in stored["lengths"].items()})
        words = UnknownWords(**stored["unknown_words"])
        return cls(**{**stored, "lengths": lengths, "removed": Counter(stored["removed"]), "unknown_words": words})

    def described(self, mlm_rows: int) -> SplitReport:
        """As the report has them."""
        lengths = np.array(sorted(self.lengths), np.int64)
        ends = np.cumsum([self.lengths[length] for length in lengths.tolist()])
        places = np.ceil((self.texts - 1) * (np.array(PERCENTILES) / 100))
        longest = lengths[np.searchsorted(ends, places, side="right")] + NUM_SPECIAL
        return SplitReport(
            texts=self.texts,
            mlm_rows=mlm_rows,
            without_tokens=self.lengths[0],
            characters=self.characters,
            tokens=sum(length * count for length, count in self.lengths.items()),
            unknown_tokens=self.unknown_tokens,
            truncated_texts=self.truncated_texts,
            dropped_tokens=self.dropped_tokens,
            length_percentiles=tuple(longest.tolist()),
            unknown_words=self.unknown_words,
        )


@dataclass(frozen=True)
class Progress:
    """How far the shards of a split have come.

    Attributes:
      shards: files that are there.
      rows: in them.
      texts: those of the split that the next command need not read again.
      offset: of the rows of the texts after those, how many are in the files.
      figures: of `texts` texts.
      is_finished: whether all rows are in the files.
    """

    shards: int = 0
    rows: int = 0
    texts: int = 0
    offset: int = 0
    figures: Figures = field(default_factory=Figures)
    is_finished: bool = False

    @classmethod
    def restored(cls, journal: Journal, name: str) -> Self:
        """What a journal says of a split; nothing is done where a file is missing."""
        stored = journal.done.get(name)
        paths = [shard_path(journal.folder, "mlm", name, i) for i in range(stored["shards"] if stored else 0)]
        if stored is None or not all(path.is_file() for path in paths):
            return cls()
        return cls(**{**stored, "figures": Figures.restored(stored["figures"])})


class _Buffered(NamedTuple):
    """Rows that no file has yet: ids [R, L] int32, and how many of each are no padding."""

    ids: np.ndarray
    lengths: np.ndarray


class ShardWriter:
    """Encodes the texts of a split, batch by batch, and writes a file whenever it has the rows of one.

    `progress` tells what is in the files.

    Args:
      journal: gets what is done after each file.
      name: of the split.
      progress: of the split.
      tokenizer: encodes the texts.
      options: L, what becomes of long texts, and the rows of a file.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        progress: Progress,
        tokenizer: WordPieceTokenizerWrapper,
        options: PrepareOptions,
    ):
        assert options.shard_size is not None
        self.journal, self.name, self.progress = journal, name, progress
        self.tokenizer, self.options, self.size = tokenizer, options, options.shard_size
        self.texts, self.figures, self.offset = progress.texts, progress.figures, progress.offset
        self.buffered: list[_Buffered] = []

    def add(self, texts: list[str]) -> None:
        """Encodes further texts; those without a token have no row."""
        length = self.options.max_length
        encoded = self.tokenizer.encode(texts, max_length=length, overflow=self.options.overflow)
        lengths = np.count_nonzero(~encoded.attention_mask, axis=1)
        full = lengths > NUM_SPECIAL
        rows = _Buffered(encoded.input_ids[full].astype(np.int32), lengths[full])
        before = sum(len(each.lengths) for each in self.buffered)
        written, self.offset = self.offset, 0
        self.buffered.append(_Buffered(*(array[written:] for array in rows)))
        total = before + len(rows.lengths) - written
        for cut in range(self.size, total + 1, self.size):
            self._write(self.size)
            self._save(written + cut - before)
        self.texts += len(texts)
        self.figures = self.figures.plus(texts, encoded, self.tokenizer)

    def finish(self) -> None:
        """Writes the rows that are left."""
        if self.progress.is_finished:
            return
        if left := sum(len(each.lengths) for each in self.buffered):
            self._write(left)
        self._save(0, is_finished=True)

    def _write(self, count: int) -> None:
        """Writes the first `count` of the buffered rows as one file."""
        ids, lengths = (np.concatenate(arrays) for arrays in zip(*self.buffered, strict=True))
        self.buffered = [_Buffered(ids[count:].copy(), lengths[count:])] if count < len(lengths) else []
        path = shard_path(self.journal.folder, "mlm", self.name, self.progress.shards)
        path.parent.mkdir(exist_ok=True)
        mask = np.arange(ids.shape[1]) >= lengths[:count, None]
        write_tensors(path, ids[:count].astype(np.int64), mask)
        self.progress = replace(self.progress, shards=self.progress.shards + 1, rows=self.progress.rows + count)

    def _save(self, offset: int, *, is_finished: bool = False) -> None:
        """Keeps in the journal what is in the files: all rows of `texts`, and `offset` rows after those."""
        self.progress = replace(
            self.progress, texts=self.texts, offset=offset, figures=self.figures, is_finished=is_finished
        )
        self.journal.done[self.name] = {**vars(self.progress), "figures": self.figures.stored()}
        self.journal.save()
