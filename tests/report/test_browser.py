"""The page in a real Chromium: accessible, by touch and by keyboard, narrow, dark, printed, and fast."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from chromium import Chromium, Page
from large_report import RATIOS, large_report

from hawk import report
from hawk.report.figures.looks import COLOURS

pytestmark = pytest.mark.skipif(chromium.PATH is None, reason="no Chromium on this machine")
EXPLORER = Path(report.__file__).parent / "assets" / "explorer.js"
AXE = Path(__file__).parent.parent / "data" / "axe" / "axe.min.js"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return large_report(tmp_path_factory.mktemp("run"), layers=3, heads=8, benchmarks=4, grid=4, drawn=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


def faults_of(page: Page) -> list[dict[str, Any]]:
    """What axe finds serious or critical, with a head chosen and every table open."""
    page.run(AXE.read_text(encoding="utf-8") + "; 1")
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.run("document.querySelector('.view button.head').click()")
    found: list[dict[str, Any]] = page.run(
        "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations"
        ".filter((one) => ['serious', 'critical'].includes(one.impact))"
        ".map((one) => [one.id, ...one.nodes.map((node) => node.html)]))"
    )
    return found


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Chromium, address: str, look: str) -> None:
    page = browser.open(address, dark=look == "dark")
    assert faults_of(page) == []
    page.run("document.querySelector('main').insertAdjacentHTML('beforeend', '<button></button>')")
    assert [one[0] for one in faults_of(page)] == ["button-name"]  # it would have found a fault
    assert page.faults == []


def tap(page: Page, target: str) -> None:
    wait = "new Promise((done) => setTimeout(done, 300))"
    page.run(f"document.querySelector('{target}').scrollIntoView({{ block: 'center' }}); {wait}")
    x, y = page.run(
        f"(() => {{ const at = document.querySelector('{target}').getBoundingClientRect(); "
        "return [at.x + at.width / 2, at.y + at.height / 2]; })()"
    )
    page.tap(x, y)
    page.run(wait)


def test_a_phone(browser: Chromium, address: str) -> None:
    page = browser.open(address, width=390, height=844, touch=True)
    shown = "getComputedStyle(document.getElementById('tip')).display"
    tap(page, ".spot")
    assert page.run(shown) == "block"
    page.tap(5, 5)
    assert page.run(shown) == "none"
    tap(page, ".view button.head")
    assert not page.run("document.querySelector('.detail').hidden")
    page.tap(5, 5)
    assert page.run(shown) == "none"
    assert page.run("document.documentElement.scrollWidth") == 390
    assert page.faults == []
    tap(page, ".detail [data-part=close]")
    assert faults_of(page) == []


def test_a_figure_is_enlarged(browser: Chromium, address: str) -> None:
    page = browser.open(address, width=390, height=844, touch=True)
    width = "document.querySelector('{} img.drawing').getBoundingClientRect().width"
    small = page.run(width.format("main"))
    tap(page, "button.enlarge")
    assert page.run("document.querySelector('dialog').open")
    assert page.run(width.format("dialog")) > max(1000, small)
    assert page.run("document.documentElement.scrollWidth") == 390  # the figure scrolls, not the page
    assert faults_of(page) == []
    page.press("Escape")
    assert not page.run("document.querySelector('dialog').open")
    page.run("document.querySelector('button.enlarge').focus()")
    page.press("Enter")
    assert page.faults == []


def test_the_keyboard_reaches_every_value_of_the_plot(browser: Chromium, address: str) -> None:
    page = browser.open(address)
    page.run("document.querySelector('.spot[tabindex=\"0\"]').focus()")
    spots = page.run("document.querySelectorAll('.spot').length")
    assert spots == 4 * len(RATIOS)
    said = set()
    for row in range(4):
        for column in range(len(RATIOS)):
            said.add(page.run("document.activeElement.getAttribute('aria-label')"))
            assert page.run("document.getElementById('tip').textContent") in said
            if column + 1 < len(RATIOS):
                page.press("ArrowRight" if row % 2 == 0 else "ArrowLeft")
        page.press("ArrowDown")
    assert len(said) == spots
    assert any(text.startswith("hawk-zero, 80 % removed: retention ") for text in said)
    page.press("Escape")
    assert page.run("getComputedStyle(document.getElementById('tip')).display") == "none"
    assert page.run("document.querySelectorAll('.spot[tabindex=\"0\"]').length") == 1  # one stop of Tab


@pytest.mark.parametrize("view", ["grid", "layer", "list", "compare"])
def test_a_head_is_chosen_by_keyboard_and_keeps_the_focus(browser: Chromium, address: str, view: str) -> None:
    page = browser.open(address)
    page.run(f"document.querySelector('[data-view={view}]').click()")
    page.run("document.querySelector('.view button[data-head]').focus()")
    at = "(({ head, benchmark }) => [head, benchmark])(document.activeElement.dataset)"
    where = page.run(at)
    page.press("Enter")
    assert not page.run("document.querySelector('.detail').hidden")
    assert page.run(at) == where
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press("Enter")
    assert page.run("document.querySelector('.detail').hidden")
    assert page.faults == []


def test_the_comparison_says_its_dots_in_numbers(browser: Chromium, address: str) -> None:
    page = browser.open(address)
    page.run("document.querySelector('[data-view=compare]').click()")
    cells = page.run(
        "[...document.querySelectorAll('.compare tbody tr')]"
        ".map((row) => [...row.cells].map((one) => one.innerText))"
    )
    dots = page.run("[...document.querySelectorAll('.compare .dot title')].map((one) => one.textContent)")
    assert sorted(f"{head}: {x} and {y}" for head, x, _, y, _ in cells) == sorted(dots)
    for column in (2, 4):
        values = {int(row[column]): float(row[column - 1]) for row in cells}
        assert sorted(values) == list(range(1, len(cells) + 1))
        ordered = [values[place] for place in sorted(values)]
        assert ordered == sorted(ordered, reverse=True)
    moved = [abs(int(row[2]) - int(row[4])) for row in cells]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > 0  # the two orders differ here


@pytest.mark.parametrize("digits", [0, 1, 3])
def test_numbers_are_rounded_as_in_the_figures(browser: Chromium, address: str, digits: int) -> None:
    source = re.search(r"const fixed = .*?\n  };", EXPLORER.read_text(encoding="utf-8"), re.DOTALL)
    assert source
    values = [n / 16 for n in range(-400, 401)] + [n / 100 for n in range(-300, 301)] + [1.005, 0.0625]
    page = browser.open(address)
    shown = page.run(f"(() => {{ {source[0]} return {values}.map((value) => fixed(value, {digits})); }})()")
    rounded = [round(value, digits) + 0.0 for value in values]  # + 0.0: no "-0.0"
    assert shown == [f"{value:.{digits}f}" for value in rounded]


def test_print_keeps_colours(browser: Chromium, address: str) -> None:
    page = browser.open(address, dark=True)
    fold = "getComputedStyle(document.querySelector('details.words'), '::details-content').contentVisibility"
    assert page.run(fold) == "hidden"
    page.media(dark=True, print_=True)
    assert page.run(fold) == "visible"  # paper cannot be unfolded
    style = "getComputedStyle(document.querySelector('{}')).{}"
    assert page.run(style.format(".controls", "display")) == "none"
    for target in ("button.head", "svg.dot", "i.span", "i.band"):
        assert page.run(style.format(target, "printColorAdjust")) == "exact", target
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    red, green, blue = (int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5))
    dots = page.run(
        "[...document.querySelectorAll('svg.dot path')].map((one) => getComputedStyle(one).stroke)"
    )
    assert f"rgb({red}, {green}, {blue})" in dots
    heads = page.run(
        "[...document.querySelectorAll('button.head')].map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(heads)) > 10
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.long
@pytest.mark.parametrize(("layers", "heads", "benchmarks"), [(28, 28, 20), (40, 64, 3)])
def test_a_large_run_is_small_and_fast(tmp_path: Path, layers: int, heads: int, benchmarks: int) -> None:
    address = large_report(tmp_path, layers, heads, benchmarks)
    size = Path(address).stat().st_size
    with Chromium() as browser:
        page = browser.open(address)
        first = page.busy()  # all that was done to show the page
        page.run("document.querySelector('[data-view=list]').click()")
        keys = ("weight", "pooled", "b1", "head")
        sorts = [page.seconds_of(f"document.querySelector('[data-key={key}]').click()") for key in keys]
        page.run("document.querySelector('[data-view=grid]').click()")
        width = page.run("document.querySelector('button.head').offsetWidth")
        text = page.run("parseFloat(getComputedStyle(document.querySelector('button.head')).fontSize)")
    print(f"{layers} x {heads} x {benchmarks}: {size / 1e6:.2f} MB, page {first:.2f} s, sorts {sorts}")
    assert size < 5e6
    assert first < 1.0
    assert max(sorts) < 0.1
    assert text >= 10
    assert width >= 24  # a target large enough
