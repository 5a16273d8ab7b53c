"""How files are read where that is not said: written tables are read back, and doubtful ones are asked about."""

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.prepare.guessing import guess_reading
from textclf_jax.prepare.texts import ReadOptions, read_file

WORDS = ("good", "film", "Größe", "schön", "was", "not", "the", "a;b", "x,y", 'the "best"', "two\nlines", "ein|zwei")
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=4, max_size=9).map(" ".join)


def write(path: Path, names, rows, delimiter: str = ",", encoding: str = "utf-8", line: str = "\r\n") -> Path:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, lineterminator=line).writerows([names, *rows])
    path.write_bytes(stream.getvalue().encode(encoding))
    return path


def guessed(path: Path, **options):
    guess = guess_reading([path], ReadOptions(**options))
    file = read_file(path, guess.options)
    return [(row.text, row.label) for row in file.rows], guess


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    texts=st.lists(SENTENCES, min_size=8, max_size=12, unique=True),
    names=st.permutations(["Antwort", "Note", "Nr"]),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]),
    line=st.sampled_from(["\r\n", "\n"]),
)
def test_a_written_table_is_read_back(texts, names, delimiter, encoding, line):
    cells = [{"Antwort": text, "Note": "ab"[i % 2], "Nr": str(i)} for i, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [[cell[name] for name in names] for cell in cells]
        path = write(Path(folder, "a.csv"), names, rows, delimiter, encoding, line)
        # marks that enclose the only line breaks of a file of few rows could be plain ones: that is asked, not guessed
        read, guess = guessed(path, label_column="Note", quoting="on")
        assert read == [(cell["Antwort"], cell["Note"]) for cell in cells]
        assert guess.options.text_column == "Antwort"


@settings(deadline=None, derandomize=True, max_examples=10)
@given(st.lists(st.tuples(SENTENCES, st.sampled_from("ab")), min_size=8, max_size=12, unique_by=lambda row: row[0]))
def test_written_json_lines_are_read_back(rows):
    rows[:4] = [(text, label) for (text, _), label in zip(rows[:4], "abab", strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_text("".join(json.dumps({"class": label, "said": text}) + "\n" for text, label in rows))
        assert guessed(path)[0] == rows


def survey(count: int = 40) -> list[list[str]]:
    return [
        [str(i), f"Das Essen Nr. {i} war\nschön; und warm", ["gut", "Gut", "schlecht"][i % 3]] for i in range(count)
    ]


def test_a_survey_from_a_spreadsheet_program(tmp_path):
    """UTF-16 with a mark, semicolons, line breaks within cells, names that say nothing."""
    path = write(tmp_path / "umfrage.csv", ["Nr", "Frage 1", "Frage 2"], survey(), ";", "utf-16")
    read, guess = guessed(path)
    assert read == [(text, label) for _, text, label in survey()]
    assert guess.options.delimiter == ";"
    assert guess.notes == [
        "texts: the column 'Frage 1', the only one of sentences (8 words on average)",
        "labels: the column 'Frage 2', the only one whose values recur (3 different ones)",
        "other columns: Nr",
    ]


def test_what_is_given_decides(tmp_path):
    rows = [[f"a title of {i}", f"and a body of the text number {i}", "ab"[i % 2], "xyz"[i % 3]] for i in range(30)]
    path = write(tmp_path / "a.csv", ["title", "body", "genre", "topic"], rows)
    with pytest.raises(
        UserError, match=r"2 columns may hold the texts: 'title' .*--text-column title or --text-column bo"
    ):
        guessed(path)
    with pytest.raises(
        UserError, match=r"2 columns may hold the labels: .*--label-column genre or --label-column topic"
    ):
        guessed(path, text_column="body")
    read, guess = guessed(path, text_column="title", label_column="topic")
    assert read == [(row[0], row[3]) for row in rows]
    assert guess.notes[0] == "texts: the column 'title', as given"
    with pytest.raises(UserError, match="has no column 'genré'"):
        guessed(path, text_column="title", label_column="genré")


def test_columns_that_say_the_same_are_no_choice(tmp_path):
    rows = [[f"this is text number {i}", str(i % 2), ["bad", "good"][i % 2]] for i in range(30)]
    path = write(tmp_path / "a.csv", ["said", "class_id", "class_name"], rows)
    assert guessed(path)[1].options.label_column == "class_name"


def test_long_texts_are_preferred_to_their_titles(tmp_path):
    rows = [[f"a short name {i}", f"{i} and then very many words " * 8, "ab"[i % 2]] for i in range(30)]
    path = write(tmp_path / "a.csv", ["Titel", "Inhalt", "Art"], rows)
    guess = guessed(path)[1]
    assert guess.options.text_column == "Inhalt"
    assert guess.notes[0].endswith("--text-column chooses 'Titel'")


def test_single_words_are_texts_where_nothing_else_is(tmp_path):
    rows = [[f"name{chr(97 + i % 26)}{chr(97 + i // 26)}", "ab"[i % 2]] for i in range(40)]
    assert guessed(write(tmp_path / "a.tsv", ["Wort", "Art"], rows, "\t"))[0] == [tuple(row) for row in rows]


def test_texts_without_spaces(tmp_path):
    rows = [[f"这是第{i}个很好看的电影大家都喜欢", "好坏"[i % 2]] for i in range(40)]
    assert guessed(write(tmp_path / "a.csv", ["评论", "类别"], rows))[0] == [tuple(row) for row in rows]


def test_a_file_without_names_of_columns(tmp_path):
    rows = [[str(i % 4), f"a title of number {i}", f"and the description of number {i} " * 9] for i in range(40)]
    path = write(tmp_path / "a.csv", rows[0], rows[1:])
    with pytest.raises(UserError, match=r"first line seems to be a row.*'0' stands in 9 rows.*label,column2,text"):
        guessed(path)
    # pandas numbers columns that have no names
    numbered = write(tmp_path / "b.csv", ["0", "1"], [[f"this is text number {i}", str(i % 2)] for i in range(30)])
    assert guessed(numbered)[1].options.label_column == "1"


def test_no_labels_and_no_texts(tmp_path):
    rows = [[f"this is text number {i}", str(i)] for i in range(30)]
    guess = guessed(write(tmp_path / "a.csv", ["said", "number"], rows))[1]
    assert guess.options.label_column is None
    assert guess.notes[1].startswith("labels: none, for no other column has a few values that recur (--label-column")
    numbers = [[str(i), str(2 * i), str(i % 2)] for i in range(30)]
    with pytest.raises(UserError, match=r"no column looks like texts, among 'a' .*--text-column a or"):
        guessed(write(tmp_path / "b.csv", ["a", "b", "c"], numbers))


def test_a_delimiter_that_may_be_two(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,x;b\n" + "one two three four, x;y\n" * 5)
    with pytest.raises(UserError, match="comma or semicolon: say which with --delimiter"):
        guessed(path)


def test_several_files_and_folders(tmp_path):
    rows = [[f"this is text number {i}", "ab"[i % 2]] for i in range(30)]
    train = write(tmp_path / "train.csv", ["said", "kind"], rows, ";")
    test = write(tmp_path / "test.tsv", ["kind", "said"], [row[::-1] for row in rows], "\t")
    guess = guess_reading([train, test], ReadOptions())
    assert guess.options == ReadOptions(text_column="said", label_column="kind")
    assert [r.text for r in read_file(train, guess.options).rows] == [
        r.text for r in read_file(test, guess.options).rows
    ]
    for name, text in (("a", "café"), ("b", "thé")):
        (tmp_path / "f" / name).mkdir(parents=True)
        (tmp_path / "f" / name / "1.txt").write_bytes(text.encode("latin-1"))
    guess = guess_reading([tmp_path / "f"], ReadOptions())
    assert [row.text for row in read_file(tmp_path / "f", guess.options).rows] == ["café", "thé"]
    with pytest.raises(UserError, match="--label-column says how csv, tsv, jsonl and parquet files"):
        guess_reading([tmp_path / "f"], ReadOptions(label_column="x"))
