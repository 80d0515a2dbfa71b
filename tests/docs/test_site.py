"""The built site is whole, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import ROOT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# What makes a browser fetch something by itself; a link that a reader may follow is no request.
FETCHES = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src",),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "form": ("action",),
}
NO_REQUEST = ("canonical",)  # a <link> that only says an address


class Reader(HTMLParser):
    """What a page fetches, the targets of its links, and the names that links can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get("rel") not in NO_REQUEST:
            self.fetched += [given[name] for name in FETCHES.get(tag, ()) if name in given]


def external(addresses: list[str]) -> list[str]:
    return [address for address in addresses if re.match(r"\s*(https?:)?//", address)]


def external_in_styles(text: str) -> list[str]:
    """Addresses in a style sheet that a browser would fetch."""
    return re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "built"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def read(site: Path) -> dict[str, Reader]:
    return {path.name: Reader(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}


def test_every_page_is_there(read: dict[str, Reader]) -> None:
    written = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    elsewhere = {"index.html", "configuration.html", "contributing.html", "releases.html", "404.html"}
    assert set(read) == written | elsewhere
    menu = set(read["index.html"].links)
    assert {name for name in read if name != "404.html"} <= menu


def test_nothing_is_loaded_from_elsewhere(site: Path, read: dict[str, Reader]) -> None:
    assert {name: external(page.fetched) for name, page in read.items() if external(page.fetched)} == {}
    styles = {path: external_in_styles(path.read_text(encoding="utf-8")) for path in site.rglob("*.css")}
    inline = {path: external_in_styles(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}
    assert [path for path, found in {**styles, **inline}.items() if found] == []
    assert styles
    assert all(page.fetched for page in read.values())


def test_what_would_be_loaded_is_seen() -> None:
    """The test above fails on a font, a script and a style of others."""
    page = Reader('<script src="https://unpkg.com/x"></script><link rel="stylesheet" href="//fonts/y">')
    assert external(page.fetched) == ["https://unpkg.com/x", "//fonts/y"]
    assert external_in_styles("a{src:url('https://f/g.woff2')}") == ["https://f/g.woff2"]
    assert external(Reader('<a href="https://arxiv.org">paper</a>').fetched) == []


def test_links_lead_somewhere(site: Path, read: dict[str, Reader]) -> None:
    """Also those that mkdocs does not look at: pictures, the notebook, anchors in pages that it generates."""
    broken = []
    for name, page in read.items():
        for link in page.links if name != "404.html" else []:
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            if not (site / (target or name)).exists() or (
                anchor and target.endswith(("", ".html")) and anchor not in read[target or name].names
            ):
                broken.append((name, link))
        for place in page.fetched:
            if name != "404.html" and not place.startswith("data:"):
                assert (site / place.partition("?")[0]).exists(), (name, place)
    assert broken == []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_search_works_without_a_server(site: Path) -> None:
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    address = f"{(site / 'index.html').as_uri()}?q=retention"
    page = subprocess.run([str(BROWSER), *words, address], capture_output=True, text=True, timeout=120).stdout
    assert re.search(r"[1-9]\d* matching documents", page)


def test_a_command_that_is_not_run_says_what_it_needs(site: Path) -> None:
    text = (site / "your-cluster.html").read_text(encoding="utf-8")
    assert "Needs a cluster:" in text
    assert "<!-- needs" not in text
