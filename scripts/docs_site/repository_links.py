"""Links between pages and the repository's other files, on GitHub and on the site.

Pages of docs/ link to files outside of it as they lie in the repository: `../CONTRIBUTING.md`. The site has these files
too, below `repository/`, and its links lead there.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

DOCS, OUTSIDE = "docs/", "repository/"
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\[(?:[^][]|\[[^]]*\])*\]\()([^)\s]+)(\))")


def place_on_site(path: str) -> str:
    """The path of a file of the repository on the site: `docs/tutorial.md` is `tutorial.md`."""
    return path.removeprefix(DOCS) if path.startswith(DOCS) else OUTSIDE + path


def place_in_repository(uri: str) -> str:
    """The other way round."""
    return uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else DOCS + uri


def target(link: str, page: str) -> str | None:
    """The file of the repository that a link of a page leads to; None where it leads out of it, or into the page."""
    path = link.partition("#")[0]
    if not path or re.match(r"\w+:", link):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def linked_outside(pages: Iterable[str], root: Path) -> list[str]:
    """Lists the files that pages link to and that are not in docs/, with those that they link to in turn.

    Args:
      pages: paths of pages in the repository.
      root: the repository.
    """
    found: list[str] = []
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        text = FENCE.sub("", (root / page).read_text(encoding="utf-8"))
        for _, link, _ in LINK.findall(text):
            path = target(link, page)
            if path and not path.startswith(DOCS) and path not in found and (root / path).is_file():
                found.append(path)
                if path.endswith(".md"):
                    waiting.append(path)
    return sorted(found)


def with_links_of_site(text: str, page: str) -> str:
    """A page's text with links that lead to the same files on the site."""

    def moved(match: re.Match[str]) -> str:
        path = target(match[2], page)
        if path is None:
            return match[0]
        anchor = match[2].partition("#")[1:]
        here = posixpath.dirname(place_on_site(page))
        return match[1] + posixpath.relpath(place_on_site(path), here or ".") + "".join(anchor) + match[3]

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(moved, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(moved, text[end:])])
