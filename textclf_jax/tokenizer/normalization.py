"""What happens to the characters of a text before it is cut into words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from tokenizers import normalizers


def bert_normalizer(lowercase: bool, strip_accents: bool | None) -> normalizers.Normalizer:
    """Makes BERT's normalizer: no control characters, CJK characters apart, lower case and no accents where asked.

    Args:
      lowercase: whether to lower-case.
      strip_accents: whether to remove accents, vowel signs and tone marks. None: as BERT does, when lower-casing.
        False: they are kept, and letters written in two ways, as one character or with a mark of their own, are the
        same (Unicode's NFC).
    """
    bert = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase
    )
    return normalizers.Sequence([normalizers.NFC(), bert]) if strip_accents is False else bert


def without_marks(text: str) -> str:
    """Removes accents, vowel signs and tone marks (Unicode's category Mn), as BERT does."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def has_marks(text: str) -> bool:
    """Whether `without_marks` would remove something."""
    return not text.isascii() and any(unicodedata.category(c) == "Mn" for c in unicodedata.normalize("NFD", text))


def removed_characters(normalizer: normalizers.Normalizer | None, texts: Iterable[str]) -> Counter[str]:
    """Counts the characters of `texts`, spaces aside, that the normalizer removes, or takes a mark from."""
    texts = list(texts)
    removed = [c for c in sorted(set().union(*texts)) if normalizer is not None and _loses(normalizer, c)]
    if not removed:
        return Counter()
    pattern = re.compile(f"[{re.escape(''.join(removed))}]")
    return Counter(c for text in texts for c in pattern.findall(text))


def _loses(normalizer: normalizers.Normalizer, character: str) -> bool:
    if character.isspace():
        return False
    kept = unicodedata.normalize("NFD", normalizer.normalize_str(character)).strip()
    return len(kept) < len(unicodedata.normalize("NFD", character))
