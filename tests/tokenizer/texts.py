"""Texts of every script, and a vocabulary that knows some of their characters."""

import random

from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS

# first and last code points of scripts, marks, symbols, controls and private characters
BLOCKS = (
    *((0x00, 0x1F), (0x20, 0x7E), (0x7F, 0xA0), (0xA1, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F)),
    *((0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F)),
    *((0xF00, 0xFFF), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FD), (0x1780, 0x17FF)),
    *((0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2100, 0x214F), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)),
    *((0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFFFD), (0x10400, 0x1044F), (0x1D400, 0x1D7FF)),
    *((0x1F300, 0x1F6FF), (0x20000, 0x2A6DF), (0xE0001, 0xE007F)),
)
SPECIAL_CASES = (
    *SPECIAL_TOKENS,
    *("[mask]", "[MASK]s", "x[SEP]", "covid19", "COVID19", "Covid19s", "<e1>", "<E1>", "good", "Good", "GOOD"),
    *(
        "É",
        "E\u0301",
        "ﬁ",
        "İ",
        "ß",
        "ẞ",
        "Σς",
        "中文",
        "が",
        "ｶﾞ",
        "हिन्दी",
        "\u200d",
        "a" * 100,
        "a" * 101,
        "don't",
        "a_b-c",
    ),
)


def texts(count: int, seed: int = 0) -> list[str]:
    """Random texts: characters of all blocks, and what is known to be treated in its own way."""
    rng = random.Random(seed)

    def word() -> str:
        if rng.random() < 0.3:
            return rng.choice(SPECIAL_CASES)
        first, last = rng.choice(BLOCKS)
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 5)))

    return [
        "".join(word() + rng.choice(("", " ", " ", "\n", "\u3000")) for _ in range(rng.randint(0, 12)))
        for _ in range(count)
    ]


def vocabulary(*, cased: bool) -> list[str]:
    """Special tokens, words, and every few characters of each block, alone and as continuation."""
    rng = random.Random(1)
    characters = {chr(c) for first, last in BLOCKS for c in rng.sample(range(first, last + 1), min(24, last - first))}
    characters |= set("abcdefghijklmnopqrstuvwxyz0123456789[]<>.,'-_éßς中文")
    words = ["good", "film", "covid", "mask", "##mask", *(["Good", "##S", "É"] if cased else [])]
    kept = sorted(c for c in characters if c.isprintable() and not c.isspace() and (cased or c == c.lower()))
    pieces = [*words, *kept, *("##" + c for c in kept)]
    return [*SPECIAL_TOKENS, *dict.fromkeys(pieces)]
