"""What ``mkdocs`` does beside reading docs/: pages that lie elsewhere, and what a command needs, in words.

A page that lies elsewhere (README.md is the home page) is not copied by hand; links between all pages are
those of the repository, so they work in both places.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Page of the site → file of the repository.
ELSEWHERE = {
    "index.md": "README.md",
    "configuration.md": "config/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "releases.md": "CHANGELOG.md",
}
# Pages that `make bench` and `make gpu` write: in the menu behind another one, once they are there.
OPTIONAL = {
    "performance.md": ("Performance", "cluster.md"),
    "gpu.md": ("On a GPU", "cluster.md"),
}
NEEDS = re.compile(r"^<!-- needs: (?P<what>[^>]+?) -->$", re.MULTILINE)
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    for page, (title, behind) in OPTIONAL.items():
        if (ROOT / "docs" / page).is_file():
            for section in config.nav or []:
                _insert(section, behind, {title: page})
    return config


def _insert(section: Any, behind: str, entry: dict[str, str]) -> None:
    for entries in section.values():
        if isinstance(entries, list):
            places = [number for number, known in enumerate(entries) if behind in known.values()]
            for number in places:
                entries.insert(number + 1, entry)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, place in ELSEWHERE.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them, and what a command needs in words above it."""
    place = ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    text = LINK.sub(lambda link: _linked(link, posixpath.dirname(place)), markdown)
    return NEEDS.sub(r'<p class="needs" markdown="span">Needs \g<what>:</p>\n', text)


def on_page_content(html: str, **_: Any) -> str:
    """The roles of Sphinx in docstrings, which Markdown would show."""
    return re.sub(r":(?:func|meth|mod|class|attr):(?=<code)", "", html)


def _linked(link: re.Match[str], folder: str) -> str:
    if ":" in link["target"]:
        return link[0]
    place = posixpath.normpath(posixpath.join(folder, link["target"]))
    pages = {known: page for page, known in ELSEWHERE.items()}
    target = pages.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
    return link[0] if target is None else f"{link['before']}{target}{link['anchor'] or ''})"
