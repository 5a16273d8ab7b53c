"""The site as a reader gets it: built once, strictly, and walked through."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import textclf_jax
from tests.test_commands import FLAGS
from tests.test_docs import ROOT
from textclf_jax.config.yaml_reader import read_document

START = "index.html"
LOADED = {"src", "srcset", "data", "poster", "background"}  # attributes that a browser follows by itself
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Page(HTMLParser):
    """A page of the site.

    Attributes:
      text: the text of its article.
      links: in its article, as they are written.
      all_links: the same of the whole page.
      ids: anchors.
      loaded: what a browser loads to show it.
      by_id: the text of the element with an id and of what follows it up to the next one.
    """

    text: str = ""
    links: list[str] = field(default_factory=list)
    all_links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)
    by_id: dict[str, str] = field(default_factory=lambda: defaultdict(str))

    def __post_init__(self):
        super().__init__()
        self._depth, self._id, self._hidden = 0, "", ""

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self._depth += (tag == "article" or bool(self._depth)) and tag not in VOID
        if "id" in values:
            self.ids.add(values["id"])
            self._id = values["id"]
        self.loaded += [value for name, value in values.items() if name in LOADED]
        if tag == "link":
            self.loaded.append(values["href"])
        if tag == "a" and "href" in values:
            self.all_links.append(values["href"])
            if self._depth:
                self.links.append(values["href"])
        self._hidden = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._depth -= bool(self._depth) and tag not in VOID
        self._hidden = ""

    def handle_data(self, data):
        if self._depth and not self._hidden:
            self.text += data
            self.by_id[self._id] += data


def is_outside(link: str) -> bool:
    return re.match(r"\w+:|//", link) is not None


def followed(page: str, link: str) -> tuple[str, str]:
    """The file on the site, and the anchor, that a link of a page leads to."""
    path, _, anchor = unquote(link).partition("#")
    return os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page, anchor


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def site(folder) -> dict[str, Page]:
    """The pages by their path."""
    pages = {}
    for path in folder.rglob("*.html"):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        pages[path.relative_to(folder).as_posix()] = page
    return pages


def clicks(site: dict[str, Page]) -> dict[str, int]:
    """How many links of texts, not of menus, lead from the front page to each page."""
    found = {START: 0}
    waiting = [START]
    for page in waiting:
        near = [followed(page, link)[0] for link in site[page].links if not is_outside(link)]
        new = [path for path in dict.fromkeys(near) if path in site and path not in found]
        found |= dict.fromkeys(new, found[page] + 1)
        waiting += new
    return found


def keys(data: dict, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    below = {name: value for name, value in data.items() if isinstance(value, dict)}
    own = {(*above, name) for name in data if name not in below}
    return own.union(*(keys(value, (*above, name)) for name, value in below.items()))


TEMPLATE_KEYS = sorted(
    {
        ".".join(path)
        for kind in ("pretraining", "finetuning")
        for path in keys(read_document((ROOT / "configs" / f"{kind}.yaml").read_bytes()).data)
    }
)


def pages_with(site: dict[str, Page], *words: str) -> list[str]:
    return [path for path, page in site.items() if all(word in " ".join(page.text.split()) for word in words)]


@pytest.mark.parametrize(
    "words",
    [
        ("mask_input_for_mlm(input_ids, mask_p=..., mask_token_p=..., random_token_p=...)", "-100 where nothing is"),
        ("Give the same command again", "newest sound checkpoint", "--resume-from news"),
        ("experiment.seed=$seed", "textclf compare topics-1 topics-2 topics-3", "--seeds 3"),
    ],
    ids=["the wrapper's contract", "how to resume", "how to run 3 seeds"],
)
def test_what_readers_look_for_is_within_two_clicks(site, words):
    near = clicks(site)
    assert [path for path in pages_with(site, *words) if near.get(path, 9) <= 2]


def test_every_config_key_is_within_two_clicks(site):
    near = clicks(site)
    for key in TEMPLATE_KEYS:
        assert [path for path, page in site.items() if key in page.ids and near.get(path, 9) <= 2], key


def test_every_config_key_is_explained(site):
    entries = site["reference/configuration.html"].by_id
    for key in TEMPLATE_KEYS:
        name, _, rest = entries[key].strip().partition("\n")
        assert name == key.rpartition(".")[2]
        meaning, _, values = rest.strip().partition("\n")
        assert len(meaning) > 3, key
        assert "default" in values, key


def test_every_flag_is_explained(site):
    """In the section of its command."""
    sections = site["reference/commands.html"].by_id
    for words, flags in FLAGS.items():
        if words:
            text = sections["-".join(("textclf", *words))]
            explained = {flag for flag in flags if re.search(rf"(?:^|, ){flag}(?![\w-])", text, re.MULTILINE)}
            assert flags - {"-h", "--help"} == explained, words


def test_every_public_name_has_its_docstring(site):
    ids = site["reference/api.html"].ids
    for name in textclf_jax.__all__:
        assert [id for id in ids if id.startswith("textclf_jax.") and id.endswith(f".{name}")], name


def test_links_lead_somewhere(folder, site):
    broken = []
    for path, page in site.items():
        if path == "404.html":  # shown at any address: its links start at the site's root
            continue
        for link in page.all_links:
            if is_outside(link):
                continue
            file, anchor = followed(path, link)
            known = site[file].ids if file in site else set()
            if not (folder / file).is_file() or (anchor and file in site and anchor not in known):
                broken.append((path, link))
    assert broken == []


def test_nothing_is_asked_of_a_network(folder, site):
    """Links to other sites are for the reader to follow; the theme would load Mermaid for elements of that class."""
    for path, page in site.items():
        assert [link for link in page.loaded if is_outside(link) and not link.startswith("data:")] == [], path
        assert "mermaid" not in re.findall(r'class="([\w -]+)"', (folder / path).read_text(encoding="utf-8")), path
    for path in folder.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"@import|url\(\W?(?:https?:|//)", text) == [], path


def test_all_pages_can_be_searched_for(folder, site):
    index = (folder / "search" / "search_index.json").read_text(encoding="utf-8")
    assert {path for path in site if f'"location":"{path}"' not in index} == {"404.html"}
