"""The wording of long names and lists in messages."""

from textclf_jax.errors import listed, one_line, shortened


def test_a_list_tells_how_many_more_there_are():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(i) for i in range(12)], 3) == "0, 1, 2, ... and 9 more"
    assert listed([], 3) == ""


def test_long_names_are_cut_unless_they_are_wanted_whole():
    assert listed(["x" * 70, "b"]) == f"{'x' * 57}..., b"
    assert listed(["x" * 70, "b"], whole=True) == f"{'x' * 70}, b"
    assert (shortened("x" * 60), shortened("a  b\n", 40)) == ("x" * 60, "a  b\n")


def test_names_in_tables_are_short_lines():
    assert one_line("two\nlines,\tand\x07 a bell", 40) == "two lines, and\N{REPLACEMENT CHARACTER} a bell"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
