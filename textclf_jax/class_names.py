"""Names of classes and columns: how they are compared, which of them may be classes, and labels.txt."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from textclf_jax.errors import UserError, shortened

MAX_DIGITS = 1000  # of a label that is sorted by its value: Python refuses to read much longer integers
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def same_name(name: str) -> str:
    """A name as it is compared: without spaces around; ways to write the same characters in Unicode are equal (NFC)."""
    return unicodedata.normalize("NFC", name.strip())


def is_number(name: str) -> bool:
    """Whether a name is a number such as 12, -3 or 4.5, whose value tells its place among others."""
    return len(name) <= MAX_DIGITS and NUMBER.fullmatch(name) is not None


def folded(name: str) -> str:
    """What is left of a name without case, width, spaces and invisible characters; of a number, its value."""
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    name = "".join(c for c in name if not c.isspace() and unicodedata.category(c) != "Cf")
    return str(Fraction(name)) if is_number(name) else name


def closest(name: str, known: Iterable[str]) -> str:
    """A question that names the known one that looks like this name; empty where there is none."""
    alike = next((other for other in known if folded(other) == folded(name)), None)
    return "" if alike is None else f" Did you mean {shortened(alike)!r}?"


def check_class_names(source: object, names: Sequence[str], place: str, first: int = 0) -> list[str]:
    """Gives class names as they are compared.

    Args:
      source: what they are from, for the message.
      names: in their order.
      place: what a number in the message counts, such as "line".
      first: the number of the first name.

    Raises:
      UserError: a name is blank, has a line break in it, or is there twice.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(map(same_name, names), start=first):
        if not name:
            raise UserError(f"{source}: {place} {number}: the class name is blank")
        if len(name.splitlines()) > 1:
            raise UserError(f"{source}: {place} {number}: the class name {shortened(name)!r} has a line break in it")
        if name in seen:
            raise UserError(
                f"{source}: {place} {seen[name]} and {place} {number} are both {shortened(name)!r}: class names must "
                "differ"
            )
        seen[name] = number
    return list(seen)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads a labels.txt, a name a line in the order of the classes' numbers; names stay as they are written.

    Raises:
      UserError: it cannot be read, or its lines are no class names.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    # only \n ends a line: what else Unicode calls a line break is refused in a name
    names = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    check_class_names(path, names, "line", first=1)
    return tuple(names)
