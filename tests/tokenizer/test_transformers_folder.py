"""Folders of transformers: the ids are those of AutoTokenizer, or the folder is refused with what differs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.texts import texts, vocabulary
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.vocabulary import bert_normalizer, build_tokenizer
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

TEXTS = texts(1000)
PIECES = {cased: vocabulary(cased=cased) for cased in (False, True)}
V = len(PIECES[False])
VERBATIM = {"tokenizer_class": "PreTrainedTokenizerFast"}
NAMES = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
DECODER = {
    str(i): {"content": token, **FLAGS, "normalized": False, "special": True} for i, token in enumerate(NAMES.values())
}


def added(content: str, **flags: bool) -> dict[str, Any]:
    return {"content": content, **FLAGS, **flags}


MASK = {"__type": "AddedToken", **added("[MASK]", lstrip=True)}
CUT = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
WITH_COVID = {"added_tokens_decoder": DECODER | {str(V): added("COVID19")}}
SILENT = "tokenizer_config.json has no"
NO_NFC = "tokenizer.json: normalizer: NFC is not used"
Change = Callable[[dict[str, Any]], object]


def make(
    folder: Path,
    settings: dict[str, Any] | None = None,
    *,
    change: Change | None = None,
    text: bool = True,
    cased: bool = False,
    **files: Any,
) -> Path:
    """A folder with config.json, and what is given: `change` is applied to a tokenizer.json; None: there is none."""
    folder.mkdir(parents=True)
    contents = {"config": {"model_type": "bert", "max_position_embeddings": 512}, **files}
    if settings is not None:
        contents["tokenizer_config"] = settings
    if change is not None:
        tokenizer = json.loads(build_tokenizer(PIECES[cased], bert_normalizer(True, None)).to_str())
        change(tokenizer)
        contents["tokenizer"] = tokenizer
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    if text:
        (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in PIECES[cased]), encoding="utf-8")
    return folder


def unchanged(tokenizer: dict[str, Any]) -> None:
    """Leaves tokenizer.json lower-casing and without accents."""


def normalizer(**values: Any) -> Change:
    return lambda tokenizer: tokenizer["normalizer"].update(values)


def composed(*, before: str = "NFC", **values: Any) -> Change:
    """The normalizer as `prepare` writes it: accents stay, after another one."""

    def change(tokenizer: dict[str, Any]) -> None:
        tokenizer["normalizer"].update(strip_accents=False, **values)
        tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": before}, tokenizer["normalizer"]]}

    return change


def with_token(i: int, entry: dict[str, Any]) -> Change:
    return lambda tokenizer: tokenizer["added_tokens"].append({"id": i, **entry})


def ours(folder: Path, given: list[str]) -> list[list[int]]:
    encoded = WordPieceTokenizerWrapper().load(folder).encode(given, max_length=1300)
    rows = zip(encoded.input_ids, encoded.attention_mask, strict=True)
    return [row[~mask].tolist() for row, mask in rows]


def check_same_ids(folder: Path, given: list[str] = TEXTS) -> tuple[str, ...]:
    """Compares with AutoTokenizer, and with what `save` writes; gives the notes."""
    theirs: Any = transformers.AutoTokenizer.from_pretrained(folder)
    expected = theirs(given)["input_ids"]
    assert ours(folder, given) == expected
    wrapper = WordPieceTokenizerWrapper().load(folder)
    assert wrapper.vocab_size == len(theirs)
    wrapper.save(folder / "saved")
    assert ours(folder / "saved", given[:200]) == expected[:200]
    return wrapper.notes


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"settings": {"tokenizer_class": "BertTokenizer"}, "change": unchanged},
        {"settings": {"do_lower_case": False}, "cased": True},
        {"settings": {"do_lower_case": False, "strip_accents": True}, "cased": True},
        {"settings": {"strip_accents": False, "tokenize_chinese_chars": False}},
        {"settings": {"do_lower_case": True, "strip_accents": None}, "change": normalizer(strip_accents=True)},
        {"settings": VERBATIM | NAMES, "change": normalizer(lowercase=False), "cased": True},
        {"settings": VERBATIM, "change": normalizer(strip_accents=False), "text": False},
        {"settings": VERBATIM, "change": lambda t: t["model"].update(max_input_chars_per_word=4)},
        {"settings": VERBATIM, "change": lambda t: t.update(pre_tokenizer={"type": "WhitespaceSplit"}), "cased": True},
        {"settings": {"tokenizer_class": "BertTokenizerFast", **NAMES}, "special_tokens_map": NAMES},
        {"settings": {}, "config": {"model_type": "bert", **VERBATIM}, "change": normalizer(lowercase=False)},
        {"change": lambda t: t["model"].pop("type")},
        {"change": lambda t: t.update(truncation=CUT)},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_ids_are_those_of_autotokenizer(tmp_path, arguments):
    assert check_same_ids(make(tmp_path / "bert", **arguments)) == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"added_tokens": {"covid19": V}},
        {"added_tokens": {"<e1>": V, "[MASK]": 4}, "special_tokens_map": {"extra_special_tokens": ["<e1>"]}},
        {"added_tokens": {"<e1>": V, "[MASK]": 4}, "settings": {"additional_special_tokens": ["<e1>"], **NAMES}},
        {"added_tokens": {"<e1>": V + 1, "COVID19": V}, "special_tokens_map": {"additional_special_tokens": ["<e1>"]}},
        {"added_tokens": {"COVID19": V}, "change": with_token(V, added("COVID19"))},
        {"change": with_token(V, added("covid19", single_word=True, normalized=False)), "text": False},
        {"settings": VERBATIM, "change": with_token(V, added("COVID19"))},
        {"settings": WITH_COVID, "change": with_token(V, added("COVID19"))},
        {"settings": {"added_tokens_decoder": DECODER | {"5": added("good", special=True, normalized=False)}}},
        {"settings": {"additional_special_tokens": ["good"], "mask_token": MASK}},
        {"settings": {"added_tokens_decoder": DECODER | {"4": added("[MASK]", lstrip=True)}}},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_added_tokens(tmp_path, arguments):
    check_same_ids(make(tmp_path / "bert", **arguments), TEXTS[:300])


@pytest.mark.parametrize(
    ("arguments", "notes"),
    [
        (
            {"settings": {"do_lower_case": True}, "change": normalizer(lowercase=False)},
            ("tokenizer_config.json: do_lower_case: true, but tokenizer.json: normalizer.lowercase: false",),
        ),
        (
            {"settings": {"do_lower_case": False}, "change": unchanged, "cased": True},
            ("tokenizer_config.json: do_lower_case: false, but tokenizer.json: normalizer.lowercase: true",),
        ),
        (
            {"settings": {"strip_accents": None}, "change": normalizer(strip_accents=False)},
            ("tokenizer_config.json: strip_accents: null, but tokenizer.json: normalizer.strip_accents: false",),
        ),
        (
            {"settings": {"tokenize_chinese_chars": False}, "change": unchanged},
            ("tokenizer_config.json: tokenize_chinese_chars: false, but tokenizer.json: normalizer.handle_chinese",),
        ),
        ({"change": normalizer(strip_accents=False)}, (f"{SILENT} strip_accents, but tokenizer.json: normalizer.str",)),
        ({"change": normalizer(lowercase=False)}, (f"{SILENT} do_lower_case, but tokenizer.json: normalizer.lowerc",)),
        ({"change": composed()}, (NO_NFC, f"{SILENT} strip_accents, but tokenizer.json: normalizer.strip_accents: f")),
        ({"change": composed(), "settings": {"strip_accents": False}}, (NO_NFC,)),
        (
            {"change": composed(), "settings": {"do_lower_case": False}, "cased": True},
            (NO_NFC, "tokenizer_config.json: do_lower_case: false, but tokenizer.json: normalizer.lowercase: true"),
        ),
        (
            {"change": composed(lowercase=False), "settings": {"do_lower_case": True}},
            (
                NO_NFC,
                "tokenizer_config.json: do_lower_case: true, but tokenizer.json: normalizer.lowercase: false",
                f"{SILENT} strip_accents",
            ),
        ),
        ({"change": composed(), "settings": VERBATIM | {"do_lower_case": True, "strip_accents": False}}, ()),
        (
            {"change": composed(), "settings": VERBATIM | {"do_lower_case": False, "strip_accents": True}},
            (
                "tokenizer_config.json: do_lower_case: false, but tokenizer.json: normalizer.lowercase: true: the la",
                "tokenizer_config.json: strip_accents: true, but tokenizer.json: normalizer.strip_accents: false: the",
            ),
        ),
        (
            {"settings": VERBATIM | {"do_lower_case": True}, "change": normalizer(lowercase=False), "cased": True},
            ("tokenizer_config.json: do_lower_case: true, but tokenizer.json: normalizer.lowercase: false: the la",),
        ),
        ({"settings": {"do_lower_case": True}, "cased": True}, ("do_lower_case: true: ",)),
        (
            {"settings": {"padding_side": "left", "truncation_side": "left", "model_max_length": 128}},
            [f"tokenizer_config.json: {key}" for key in ("padding_side: left", "truncation_side", "model_max_length")],
        ),
    ],
)
def test_what_is_followed_or_not_used_is_noted(tmp_path, arguments, notes):
    found = check_same_ids(make(tmp_path / "bert", **arguments), TEXTS[:300])
    assert len(found) == len(notes)
    assert all(note.startswith(start) for note, start in zip(found, notes, strict=True)), found


@pytest.mark.parametrize(
    ("arguments", "message", "answers"),
    [
        (
            {"settings": {"tokenizer_class": "BertTokenizer"}, "change": normalizer(lowercase=False), "cased": True},
            r"tokenizer\.json: normalizer\.lowercase: false, but .*tokenizer_config\.json has no do_lower_case, and "
            r'AutoTokenizer then takes true\. .*: \{"do_lower_case": false\}, or true',
            [{"do_lower_case": False}, {"do_lower_case": True}],
        ),
        (
            {"change": normalizer(handle_chinese_chars=False)},
            r"tokenizer\.json: normalizer\.handle_chinese_chars: false, but .* has no tokenize_chinese_chars, and Auto",
            [{"tokenize_chinese_chars": False}, {"tokenize_chinese_chars": True}],
        ),
        ({"change": composed(lowercase=False), "cased": True}, "has no do_lower_case", [{"do_lower_case": False}]),
        (
            {"cased": True},
            r"vocab\.txt: \d+ of \d+ pieces have capital letters, as Good, but .*_config\.json has no do_lower_case",
            [{"do_lower_case": False}, {"do_lower_case": True}],
        ),
        (
            {"change": lambda t: t["model"].update(max_input_chars_per_word=7)},
            r"model\.max_input_chars_per_word: 7, but .*tokenizer_class: BertTokenizer, .* has 100",
            [VERBATIM],
        ),
        (
            {"change": lambda t: t.update(pre_tokenizer={"type": "Whitespace"})},
            r'pre_tokenizer\.type: "Whitespace", but .* always has "BertPreTokenizer"',
            [VERBATIM],
        ),
        ({"change": normalizer(clean_text=False)}, r"clean_text: false, but .* always has true", [VERBATIM]),
        ({"change": lambda t: t.update(normalizer=None)}, r"normalizer\.type: null, but", [VERBATIM]),
        ({"change": composed(before="NFKC")}, r'normalizer\.type: "Sequence", but', [VERBATIM]),
        ({"change": composed(clean_text=False)}, r"clean_text: false, but .* always has true", [VERBATIM]),
        (
            {"settings": VERBATIM, "change": lambda t: t.update(added_tokens=[])},
            r'added_tokens lacks \[PAD\], .* Write into .*tokenizer_config\.json: "pad_token": "\[PAD\]", "unk_token"',
            [VERBATIM | NAMES],
        ),
        (
            {"settings": VERBATIM, "change": lambda t: t.update(post_processor=None)},
            r"post_processor: null does not put \[CLS\] and \[SEP\] around texts",
            [{"tokenizer_class": "BertTokenizer"}],
        ),
    ],
)
def test_what_leaves_the_ids_open_is_refused_and_the_remedy_works(tmp_path, arguments, message, answers):
    folder = make(tmp_path / "bert", **arguments)
    with pytest.raises(UserError, match=message):
        WordPieceTokenizerWrapper().load(folder)
    for answer in answers:
        (folder / "tokenizer_config.json").write_text(json.dumps(answer))
        check_same_ids(folder, TEXTS[:200])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": {"tokenizer_class": "BertJapaneseTokenizer"}}, '"BertJapaneseTokenizer", not BertTokenizer or'),
        ({"config": {"tokenizer_class": 7}}, r"config\.json: tokenizer_class: 7, not BertTokenizer"),
        ({"settings": VERBATIM}, r"tokenizer_class: PreTrainedTokenizerFast needs a tokenizer\.json"),
        ({"settings": {"do_lower_case": None}}, "do_lower_case: null, not true or false"),
        ({"settings": {"do_lower_case": 1}}, "do_lower_case: 1, not true or false"),
        ({"settings": {"do_lower_case": "false"}}, 'do_lower_case: "false", not true or false'),
        ({"settings": {"split_special_tokens": True}}, "split_special_tokens: true, not false"),
        ({"settings": {"auto_map": {"AutoTokenizer": ["a.B", None]}}}, "auto_map: .*, not supported: .* code"),
        ({"settings": {"cls_token": "good"}}, r'tokenizer_config\.json: cls_token: "good", not \[CLS\]'),
        ({"special_tokens_map": {"unk_token": {"content": "good"}}}, r"special_tokens_map\.json: unk_token: .*, not"),
        ({"settings": {"pad_token": None}}, r"pad_token: null, not \[PAD\]"),
        ({"settings": {"additional_special_tokens": ["<e1>"]}}, 'special_tokens: the token "<e1>" is not in the voc'),
        ({"settings": {"additional_special_tokens": "<e1>"}}, r'additional_special_tokens: "<e1>" is no list'),
        ({"added_tokens": {"covid19": V + 5}}, rf'the token "covid19" has the id {V + 5}, but .* gives it {V}'),
        ({"added_tokens": {"covid19": str(V)}}, "not a whole number"),
        ({"added_tokens": {"covid19": True}}, "has the id true"),
        (
            {"added_tokens": {"covid19": V}, "change": with_token(V, added("other"))},
            r'added_tokens\.json: the token "covid19" has the id \d+, but .* does not know it',
        ),
        ({"settings": {"added_tokens_decoder": DECODER}, "added_tokens": {"covid19": V}}, "does not know it"),
        ({"settings": {"added_tokens_decoder": [1]}}, r"added_tokens_decoder: \[1\], not tokens by their ids"),
        ({"settings": {"added_tokens_decoder": {"0": {"content": 5}}}}, r'\{"content": 5\} is no token'),
        ({"change": lambda t: t["model"]["vocab"].update(new=V)}, "disagree: .* the first difference at id"),
        ({"change": lambda t: t["model"]["vocab"].update(new=V + 3), "text": False}, "ids of the .* pieces are not"),
        ({"added_tokens": {"a\nb": V}}, r"the piece 'a\\nb' does not fit on a line of vocab\.txt"),
        ({"text": False}, "holds neither tokenizer.json nor vocab.txt"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_file_and_key(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        WordPieceTokenizerWrapper().load(make(tmp_path / "bert", **arguments))


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("last_end", [True, False])
def test_line_ends_of_vocab_txt(tmp_path, end, last_end):
    folder = make(tmp_path / "bert")
    (folder / "vocab.txt").write_bytes((end.join(PIECES[False]) + end * last_end).encode())
    assert check_same_ids(folder, TEXTS[:200]) == ()


def test_the_byte_order_mark_of_vocab_txt_is_left_out(tmp_path):
    """AutoTokenizer takes it for a part of [PAD], which it then adds after V; the other ids are the same."""
    folder = make(tmp_path / "bert")
    (folder / "vocab.txt").write_text("\r\n".join(PIECES[False]), encoding="utf-8-sig")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(folder)
    expected = [[0 if i == V else i for i in row] for row in theirs(TEXTS[:200])["input_ids"]]
    assert ours(folder, TEXTS[:200]) == expected
    wrapper = WordPieceTokenizerWrapper().load(folder)
    assert (wrapper.pad_id, wrapper.vocab_size, len(theirs)) == (0, V, V + 1)


def test_lowercase_given_by_the_caller_decides_for_vocab_txt(tmp_path):
    folder = make(tmp_path / "bert", cased=True)
    cased = WordPieceTokenizerWrapper().load(folder, lowercase=False)
    assert cased.tokens[cased.encode(["Good"], max_length=3).input_ids[0, 1]] == "Good"


# --- attacks --------------------------------------------------------------------------------------------------

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "do_lower_case": st.booleans(),
        "strip_accents": st.sampled_from([None, True, False]),
        "tokenize_chinese_chars": st.booleans(),
        "tokenizer_class": st.sampled_from(["BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast"]),
        "added_tokens_decoder": st.sampled_from([DECODER, WITH_COVID["added_tokens_decoder"]]),
        "additional_special_tokens": st.lists(st.sampled_from(["good", "covid19", "<e1>"]), max_size=1),
        "bos_token": st.sampled_from(["good", "[CLS]", None]),
        "mask_token": st.sampled_from(["[MASK]", MASK]),
    },
)
NORMALIZER = st.fixed_dictionaries(
    {},
    optional={
        "lowercase": st.booleans(),
        "strip_accents": st.sampled_from([None, True, False]),
        "handle_chinese_chars": st.booleans(),
    },
)
ADDED = st.lists(
    st.builds(added, st.sampled_from(["covid19", "COVID19", "<e1>"]), normalized=st.booleans()), max_size=1
)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.none() | SETTINGS, st.none() | NORMALIZER, st.booleans(), ADDED, st.booleans(), st.booleans(), st.booleans())
def test_strangers_folders_give_the_ids_of_autotokenizer_or_are_refused(
    tmp_path_factory, given_settings, normalization, is_composed, tokens, in_file, in_json, text
):
    def change(tokenizer: dict[str, Any]) -> None:
        tokenizer["normalizer"].update(normalization or {})
        if is_composed:
            composed()(tokenizer)
        tokenizer["added_tokens"] += [{"id": V, **token} for token in tokens if in_json]

    files: dict[str, Any] = {"added_tokens": {token["content"]: V for token in tokens}} if in_file else {}
    in_full = None if normalization is None else change
    folder = make(tmp_path_factory.mktemp("folder") / "bert", given_settings, change=in_full, text=text, **files)
    try:
        WordPieceTokenizerWrapper().load(folder)
    except UserError:
        return
    check_same_ids(folder, TEXTS[:100])
