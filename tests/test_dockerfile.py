"""The Dockerfile, as far as it can be checked by reading it: what it copies and installs is there."""

import json
import re
import shlex
import tomllib

from packaging.specifiers import SpecifierSet

from tests.end_to_end.test_installed import SOURCES
from tests.test_docs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALL = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, those on several lines joined; comments left out."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line]


def arguments() -> dict[str, str]:
    """What can be given with --build-arg, and the defaults."""
    pairs = [text.partition("=") for name, text in instructions() if name == "ARG"]
    return {name: value for name, _, value in pairs}


def copied() -> set[str]:
    """The files and folders of the repository that it copies."""
    words = [shlex.split(text) for name, text in instructions() if name == "COPY"]
    return {source for *sources, _ in words if not sources[0].startswith("--from") for source in sources}


def test_what_is_copied_is_there_and_all_that_the_wheel_is_made_of():
    """A test of its own builds the wheel from these files alone."""
    assert copied() == {*SOURCES, "requirements.lock"}
    assert [name for name in copied() if not (ROOT / name).exists()] == []
    everything, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert everything == "*"
    assert {line.removeprefix("!") for line in rest if line.startswith("!")} == copied()


def test_what_is_installed_is_an_extra():
    extras = PROJECT["optional-dependencies"].keys()
    assert set(arguments()["EXTRAS"].split(",")) <= extras
    assert arguments()["DEVICE"] == ""
    told = re.findall(r"--build-arg (\w+)=([\w,]+)", INSTALL)
    assert {name for name, _ in told} <= arguments().keys()
    assert {value for name, value in told if name in ("DEVICE", "EXTRAS")} <= extras
    assert arguments()["PYTHON"] in SpecifierSet(PROJECT["requires-python"])


def test_the_command_runs_as_a_user_without_rights_in_a_volume():
    *_, last = [i for i, (name, _) in enumerate(instructions()) if name == "FROM"]
    final = dict(instructions()[last:])
    assert final["USER"] in final["RUN"]
    assert final["USER"] not in ("root", "0")
    assert f"--owner={final['USER']} {final['VOLUME']}" in final["RUN"]
    assert final["WORKDIR"] == final["VOLUME"]
    assert json.loads(final["ENTRYPOINT"])[0] in PROJECT["scripts"]
