"""The tokenizer in a folder of Hugging Face's transformers: the ids are those that its AutoTokenizer gives.

`tokenizer_class` decides what AutoTokenizer reads. BertTokenizer, the default, takes the pieces from tokenizer.json or
else vocab.txt, and how texts are normalised from tokenizer_config.json. PreTrainedTokenizerFast takes tokenizer.json as
it is. Where files of a folder differ, what AutoTokenizer follows is noted, or the folder is refused.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, normalizers

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.json_files import shown
from textclf_jax.tokenizer.transformers_files import (
    ADDED_FILE,
    CONFIG_FILE,
    SETTINGS_FILE,
    SPECIAL_FILE,
    Folder,
    check_declared_ids,
    declared_tokens,
    named_tokens,
    read_folder,
    recognise_named,
)
from textclf_jax.tokenizer.vocabulary import (
    CONTINUES,
    SPECIAL_TOKENS,
    TOKENIZER_FILE,
    build_tokenizer,
    check_same,
    in_id_order,
    read_tokenizer_json,
)

# without "Fast" at the end; those of the first line are one and the same
BERT_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer", "MobileBertTokenizer")
VERBATIM_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
# BertTokenizer's settings: key of tokenizer_config.json -> key of tokenizer.json's normalizer, default, allowed values
NORMALIZATION = {
    "do_lower_case": ("lowercase", True, (True, False)),
    "strip_accents": ("strip_accents", None, (True, False, None)),
    "tokenize_chinese_chars": ("handle_chinese_chars", True, (True, False)),
}
# what BertTokenizer always uses, whatever tokenizer.json says: section, key, value
FIXED = (
    ("normalizer", "type", "BertNormalizer"),
    ("normalizer", "clean_text", True),
    ("pre_tokenizer", "type", "BertPreTokenizer"),
    ("model", "max_input_chars_per_word", 100),
    ("model", "continuing_subword_prefix", CONTINUES),
)
AS_IT_IS = f'To use {TOKENIZER_FILE} as it is, write "tokenizer_class": "PreTrainedTokenizerFast" into {SETTINGS_FILE}.'


class Found(NamedTuple):
    """A tokenizer and where it came from.

    Attributes:
      tokenizer: as AutoTokenizer makes it.
      source: the file with its pieces.
      notes: where files differ, and what is not used, a line each.
    """

    tokenizer: Tokenizer
    source: Path
    notes: tuple[str, ...]


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder has files that transformers keeps beside a vocabulary."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, SETTINGS_FILE, SPECIAL_FILE, ADDED_FILE))


def load_transformers_tokenizer(path: Path, lowercase: bool | None = None) -> Found:
    """Makes the tokenizer of a folder, as AutoTokenizer does.

    Args:
      path: the folder.
      lowercase: used for vocab.txt without tokenizer.json, in place of do_lower_case; None: what do_lower_case says.

    Raises:
      UserError: there is no WordPiece vocabulary; a key has a value that this project does not support; or files differ
        in a way that leaves open what the model was trained with.
    """
    folder = read_folder(path)
    is_verbatim = _is_verbatim(folder)
    _check_settings(folder)
    named = named_tokens(folder)
    used, ignored = declared_tokens(folder, named)
    tokenizer, notes = _verbatim(folder) if is_verbatim else _bert(folder, lowercase)
    tokenizer.add_tokens([each.token for each in used])
    check_declared_ids(tokenizer, used + ignored)
    known = {each.token.content for each in used}
    if is_verbatim:
        known |= {each.token.content for each in ignored if each.file == folder.json_path}
    recognise_named(tokenizer, named, known)
    if is_verbatim:
        _check_verbatim(folder, tokenizer, known | {each.token.content for each in named})
    if folder.content is None:
        return Found(tokenizer, folder.text_path, (*notes, *_unused(folder)))
    if folder.pieces is not None:
        check_same(folder.json_path, tokenizer, folder.text_path, folder.pieces)
    return Found(tokenizer, folder.json_path, (*notes, *_unused(folder)))


def _is_verbatim(folder: Folder) -> bool:
    """Whether AutoTokenizer takes tokenizer.json as it is; raises UserError for classes other than BERT's."""
    path = folder.settings_path if folder.settings.get("tokenizer_class") else folder.path / CONFIG_FILE
    name = folder.settings.get("tokenizer_class") or folder.config.get("tokenizer_class") or BERT_CLASSES[0]
    if not isinstance(name, str) or name.removesuffix("Fast") not in (*BERT_CLASSES, *VERBATIM_CLASSES):
        raise UserError(
            f"{path}: tokenizer_class: {shown(name)}, not BertTokenizer or PreTrainedTokenizerFast: the model's texts "
            "were split in a way that this project has not"
        )
    is_verbatim = name.removesuffix("Fast") in VERBATIM_CLASSES
    if is_verbatim and folder.content is None:
        raise UserError(f"{path}: tokenizer_class: {name} needs a {TOKENIZER_FILE}, but {folder.path} has none")
    return is_verbatim


def _check_settings(folder: Folder) -> None:
    """Raises UserError for values of tokenizer_config.json that AutoTokenizer or this project cannot follow."""
    allowed: dict[str, tuple[Any, ...]] = {key: values for key, (_, _, values) in NORMALIZATION.items()}
    allowed |= {"split_special_tokens": (False,), "fast_tokenizer_files": ([TOKENIZER_FILE],), "auto_map": ()}
    for key, values in allowed.items():
        value = folder.settings.get(key)
        if key in folder.settings and not any(type(value) is type(each) and value == each for each in values):
            only = " or ".join(map(shown, values)) or "supported: the tokenizer is code of the model's own"
            raise UserError(f"{folder.settings_path}: {key}: {shown(value)}, not {only}")


def _unused(folder: Folder) -> list[str]:
    """Notes on what tokenizer_config.json says of padding and cutting."""
    notes = [
        f"{SETTINGS_FILE}: {key}: left is not used: texts are {done} at their end"
        for key, done in {"padding_side": "padded", "truncation_side": "cut"}.items()
        if folder.settings.get(key) == "left"
    ]
    longest, positions = folder.settings.get("model_max_length"), folder.config.get("max_position_embeddings")
    if isinstance(longest, int | float) and isinstance(positions, int) and longest < positions:
        notes.append(f"{SETTINGS_FILE}: model_max_length: {longest} is not used: texts may have {positions} tokens")
    return notes


# --- tokenizer.json as it is ----------------------------------------------------------------------------------


def _verbatim(folder: Folder) -> tuple[Tokenizer, list[str]]:
    tokenizer = read_tokenizer_json(folder.json_path)
    if tokenizer.model.unk_token != "[UNK]":
        raise UserError(f"{folder.json_path}: model.unk_token: {shown(tokenizer.model.unk_token)}, not [UNK]")
    notes = []
    for key, (theirs, _, _) in NORMALIZATION.items():
        value, used = folder.settings.get(key), _does(tokenizer, theirs)
        if key in folder.settings and value != used and not (key == "strip_accents" and value is None):
            notes.append(
                f"{SETTINGS_FILE}: {key}: {shown(value)}, but {TOKENIZER_FILE}: normalizer.{theirs}: {shown(used)}: "
                "the latter is followed, as AutoTokenizer does for this tokenizer_class"
            )
    return tokenizer, notes


def _does(tokenizer: Tokenizer, key: str) -> bool:
    """Whether the normalizer, of whatever parts, does what this key of a BertNormalizer stands for."""

    def normalized(text: str) -> str:
        return text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)

    if key == "handle_chinese_chars":
        return len(normalized("\u6f22\u5b57").split()) == 2
    one, other = {"lowercase": ("A", "a"), "strip_accents": ("\xe9", "e")}[key]
    return normalized(one) == normalized(other)


def _check_verbatim(folder: Folder, tokenizer: Tokenizer, known: set[str]) -> None:
    """Raises UserError unless AutoTokenizer recognises the special tokens, and puts [CLS] and [SEP] around texts."""
    if missing := [
        token for token in SPECIAL_TOKENS if token not in known and tokenizer.token_to_id(token) is not None
    ]:
        keys = ", ".join(f'"{token[1:-1].lower()}_token": "{token}"' for token in missing)
        raise UserError(
            f"{folder.json_path}: added_tokens lacks {', '.join(missing)}, and no other file names them: AutoTokenizer "
            f"does not recognise them in texts. Write into {folder.settings_path}: {keys}"
        )
    _check_frame(folder, tokenizer, "Mend it, or take BertTokenizer for tokenizer_class.")


def _check_frame(folder: Folder, tokenizer: Tokenizer, remedy: str) -> None:
    """Raises UserError unless tokenizer.json puts [CLS] and [SEP] around texts."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    text = tokenizer.encode("a", add_special_tokens=False).ids
    framed = [tokenizer.token_to_id("[CLS]"), *text, tokenizer.token_to_id("[SEP]")]
    if tokenizer.encode("a", add_special_tokens=True).ids != framed:
        kind = shown(_section(folder, "post_processor").get("type"))
        raise UserError(
            f"{folder.json_path}: post_processor: {kind} does not put [CLS] and [SEP] around texts, as is done here. "
            f"{remedy}"
        )


def _section(folder: Folder, name: str) -> dict[str, Any]:
    """A section of tokenizer.json; {} where there is none."""
    section = (folder.content or {}).get(name)
    return section if isinstance(section, dict) else {}


# --- BertTokenizer --------------------------------------------------------------------------------------------


def _bert(folder: Folder, lowercase: bool | None) -> tuple[Tokenizer, list[str]]:
    """The pieces of tokenizer.json or vocab.txt, and BERT's normalisation as tokenizer_config.json has it."""
    chosen = {key: folder.settings.get(key, default) for key, (_, default, _) in NORMALIZATION.items()}
    if folder.content is None:
        tokens, notes = folder.pieces or [], []
        if lowercase is not None:
            chosen["do_lower_case"] = lowercase
        elif "do_lower_case" not in folder.settings:
            _check_uncased(folder, tokens)
    else:
        from_json = read_tokenizer_json(folder.json_path)
        tokens = in_id_order(from_json.get_vocab(with_added_tokens=False), str(folder.json_path))
        _check_fixed(folder)
        if from_json.post_processor is not None:
            _check_frame(folder, from_json, AS_IT_IS)
        notes = _compare(folder, chosen, tokens)
    capitals = _with_capitals(tokens)
    if chosen["do_lower_case"] and len(capitals) > 0.01 * len(tokens):
        notes.append(f"do_lower_case: true: {len(capitals)} pieces with capital letters, as {capitals[0]}, never occur")
    normalization = {theirs: chosen[key] for key, (theirs, _, _) in NORMALIZATION.items()}
    return build_tokenizer(tokens, normalizers.BertNormalizer(clean_text=True, **normalization)), notes


def _with_capitals(tokens: Iterable[str]) -> list[str]:
    """Lists the pieces that lower-casing would change; special tokens do not count."""
    return [token for token in tokens if token != token.lower() and not token.startswith("[")]


def _check_uncased(folder: Folder, tokens: list[str]) -> None:
    """Raises UserError where a vocabulary has capitals, and nothing says whether texts are lower-cased."""
    if capitals := _with_capitals(tokens):
        raise UserError(
            f"{folder.text_path}: {len(capitals)} of {len(tokens)} pieces have capital letters, as {capitals[0]}, but "
            f"{folder.settings_path} has no do_lower_case, and AutoTokenizer then takes true. "
            f'Write into it what the model was trained with: {{"do_lower_case": false}}, or true'
        )


def _check_fixed(folder: Folder) -> None:
    """Raises UserError where tokenizer.json says other than BertTokenizer does whatever it says."""
    for section, key, only in FIXED:
        content = _bert_normalizer(folder)[0] if section == "normalizer" else _section(folder, section)
        value = content.get(key, None if key == "type" else only)
        if value != only:
            raise UserError(
                f"{folder.json_path}: {section}.{key}: {shown(value)}, but {SETTINGS_FILE}: tokenizer_class: "
                f"BertTokenizer, which is also the default, always has {shown(only)}. {AS_IT_IS}"
            )


def _bert_normalizer(folder: Folder) -> tuple[dict[str, Any], bool]:
    """The normalizer of tokenizer.json, and whether it is BERT's with NFC before it, as `prepare` writes it."""
    normalizer = _section(folder, "normalizer")
    parts = normalizer.get("normalizers") or [{}]
    *before, last = parts
    is_bert = normalizer.get("type") == "Sequence" and last.get("type") == "BertNormalizer"
    if is_bert and all(part.get("type") == "NFC" for part in before):
        return last, bool(before)
    return normalizer, False


def _compare(folder: Folder, chosen: dict[str, Any], tokens: list[str]) -> list[str]:
    """Notes where AutoTokenizer does other than tokenizer.json says.

    Raises:
      UserError: tokenizer_config.json is silent, and AutoTokenizer's default is likely to be wrong for the model.
    """
    (normalizer, has_nfc), notes = _bert_normalizer(folder), []
    strips = [
        settings["strip_accents"] if settings.get("strip_accents") is not None else lowercase
        for settings, lowercase in ((chosen, chosen["do_lower_case"]), (normalizer, normalizer.get("lowercase", True)))
    ]
    if has_nfc and not all(strips):
        notes.append(f"{TOKENIZER_FILE}: normalizer: NFC is not used, nor does AutoTokenizer use it")
    for key, (theirs, default, _) in NORMALIZATION.items():
        value = normalizer.get(theirs, default)
        if value == chosen[key] or (key == "strip_accents" and strips[0] == strips[1]):
            continue
        says = f"{TOKENIZER_FILE}: normalizer.{theirs}: {shown(value)}"
        if key in folder.settings:
            notes.append(
                f"{SETTINGS_FILE}: {key}: {shown(chosen[key])}, but {says}: the former is followed, as AutoTokenizer "
                "does"
            )
        elif key == "strip_accents" or (key == "do_lower_case" and not _with_capitals(tokens)):
            notes.append(
                f"{SETTINGS_FILE} has no {key}, but {says}: {shown(default)} is taken, as AutoTokenizer does. If the "
                f'model was trained otherwise, write into {SETTINGS_FILE}: {{"{key}": {shown(value)}}}'
            )
        else:
            raise UserError(
                f"{folder.path}/{says}, but {folder.settings_path} has no {key}, and AutoTokenizer then takes "
                f"{shown(default)}. Write into it what the model was trained with: "
                f'{{"{key}": {shown(value)}}}, or {shown(default)}'
            )
    return notes
