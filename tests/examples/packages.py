"""A folder of small Python packages whose docstrings tell them apart."""

from pathlib import Path

WORDS = {
    "alpha": "matrix vector product eigenvalue determinant row column rank inverse trace",
    "beta": "window button menu mouse event colour font screen layout pixel",
    "gamma": "socket server request header timeout packet address port connection client",
    "small": "poem verse rhyme stanza metre sonnet line song",
}
MODULES = {"alpha": 30, "beta": 30, "gamma": 30, "small": 5}
DOCSTRINGS_OF_MODULE = 4


def write_packages(folder: Path) -> Path:
    """Writes the packages, with tests and damaged files that must not matter, and returns the folder."""
    for package, words in WORDS.items():
        (folder / package).mkdir(parents=True)
        for m in range(MODULES[package]):
            body = "\n\n".join(_function(package, words.split(), m, i) for i in range(DOCSTRINGS_OF_MODULE))
            (folder / package / f"module{m}.py").write_text(body + "\n", encoding="utf-8")
        (folder / package / "damaged.py").write_bytes(b'"""\xff\xfe"""\ndef f(:')
        (folder / package / "tests").mkdir()
        (folder / package / "tests" / "test_all.py").write_text('def f():\n    """' + "never read " * 9 + '"""\n')
    (folder / "loose.py").write_text('def f():\n    """' + "outside of packages " * 5 + '"""\n')
    return folder


def _function(package: str, words: list[str], m: int, i: int) -> str:
    """A function whose docstring is like no other: one word in four is made from its place."""
    n = m * DOCSTRINGS_OF_MODULE + i
    chosen = " ".join(words[(n * (k + 1) + k) % len(words)] for k in range(9))
    own = "".join("abcdefghij"[int(digit)] for digit in str(n))
    return f'def f{i}():\n    """In {package}, {chosen} about {own} of the {words[n % len(words)]} there is."""'
