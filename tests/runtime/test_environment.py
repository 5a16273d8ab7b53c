"""Names of files in UTF-8, and streams that take any text, whatever the environment."""

import io
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.runtime.environment import prepare_streams, utf8_environment

WORDS = "plain, dät, 中文 and 🙂"


class Stream(io.TextIOWrapper):
    """A stream in some encoding, with or without a terminal behind it."""

    def __init__(self, encoding: str, *, terminal: bool):
        self.bytes = io.BytesIO()
        self.terminal = terminal
        super().__init__(self.bytes, encoding=encoding)

    def isatty(self) -> bool:
        return self.terminal

    def said(self) -> bytes:
        self.flush()
        return self.bytes.getvalue()


@pytest.fixture
def stdout(monkeypatch):
    """Sets standard output."""
    return lambda stream: monkeypatch.setattr(sys, "stdout", stream)


def test_files_and_pipes_get_utf8(stdout):
    stream = Stream("latin-1", terminal=False)
    stdout(stream)
    prepare_streams()
    print(WORDS)
    assert stream.said().decode("utf-8") == WORDS + "\n"


def test_a_terminal_gets_what_it_can_show(stdout):
    stream = Stream("latin-1", terminal=True)
    stdout(stream)
    prepare_streams()
    print(WORDS)
    assert stream.said().decode("latin-1") == "plain, dät, ?? and ?\n"


def test_closed_streams_take_everything(monkeypatch):
    """As `>&-` leaves them; an error must not go to standard output instead."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    print(WORDS)
    print(WORDS, file=sys.stderr, flush=True)
    assert sys.stdout.name == sys.stderr.name == os.devnull
    sys.stdout.close()
    sys.stderr.close()


def test_a_notebooks_stream_is_left_alone(stdout):
    stdout(stream := io.StringIO())
    prepare_streams()
    print(WORDS)
    assert stream.getvalue() == WORDS + "\n"


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "koi8-r", "shift-jis"]),
    st.booleans(),
    st.text(st.characters(exclude_characters="\r"), max_size=20),
)
def test_strangers_streams_take_every_text(encoding, terminal, text):
    before, stream = sys.stdout, Stream(encoding, terminal=terminal)
    try:
        sys.stdout = stream
        prepare_streams()
        print(text)
    finally:
        sys.stdout = before
    shown = stream.said().decode(encoding if terminal else "utf-8")
    assert shown == text.encode(encoding, "replace").decode(encoding) + "\n" if terminal else shown == text + "\n"


def test_file_names_in_another_encoding_ask_for_a_restart(monkeypatch):
    assert utf8_environment() == {}
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    monkeypatch.setattr(sys, "stdout", Stream("latin-1", terminal=True))
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    assert utf8_environment() == {"PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"}
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert utf8_environment() == {"PYTHONUTF8": "1"}
    monkeypatch.setenv("PYTHONUTF8", "1")  # which -X utf8=0 overrules: again would be for ever
    assert utf8_environment() == {}


def test_the_command_runs_once_in_the_same_process_with_its_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from textclf_jax.runtime.environment import restart_with_environment\n"
        "restart_with_environment({} if 'ADDED' in os.environ else {'ADDED': '1'})\n"
        "print(os.getpid(), os.environ['ADDED'], sys.argv[1:])\n"
    )
    with subprocess.Popen([sys.executable, script, "a b", "--c"], stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate()
    assert output == f"{process.pid} 1 ['a b', '--c']\n"
