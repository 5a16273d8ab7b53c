"""What MkDocs does for this project's site besides its usual work: files that pages link to, and generated parts.

The reference of keys and commands is made while the site is built, so it cannot be older than the code.
"""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
# the command `mkdocs` looks for modules where it is installed, not here
sys.path.insert(0, str(ROOT))

from scripts.docs_site.command_reference import command_reference  # noqa: E402
from scripts.docs_site.config_reference import config_reference  # noqa: E402
from scripts.docs_site.graph_picture import graph_picture  # noqa: E402
from scripts.docs_site.repository_links import (  # noqa: E402
    linked_outside,
    place_in_repository,
    place_on_site,
    with_links_of_site,
)

GENERATED = re.compile(r"^<!-- generated: (\w+).*?-->$", re.MULTILINE)
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PARTS = {"keys": config_reference, "commands": command_reference}


def on_files(files: Files, config: Any) -> Files:
    """Adds the files outside docs/ that pages link to."""
    pages = [place_in_repository(file.src_uri) for file in files.documentation_pages()]
    for path in linked_outside(pages, ROOT):
        files.append(File.generated(config, place_on_site(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fills in generated parts, draws graphs, and leads links to files of the site."""
    text = with_links_of_site(markdown, place_in_repository(page.file.src_uri))
    text = MERMAID.sub(lambda match: graph_picture(match[1]), text)
    return GENERATED.sub(lambda match: PARTS[match[1]](), text)
