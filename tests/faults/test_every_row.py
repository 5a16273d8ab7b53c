"""The list of faults is complete: each of its 34 rows has a test that is named after it."""

import re
from pathlib import Path

ROWS = 34


def test_every_row_has_its_test():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    found = {int(number) for number in re.findall(r"^def test_fault_(\d+)_", text, flags=re.M)}
    assert found == set(range(1, ROWS + 1))
