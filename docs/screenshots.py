"""Screenshots of a run's report for the documentation: docs/images/report-*.png.

    pip install playwright pillow
    python docs/screenshots.py outputs/tiny --chromium /usr/bin/chromium

Each is what people see at that size: verdict, explorer, a chosen head, dark, a phone, a printed page.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
LARGEST = 300_000  # bytes of a picture
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
A4 = {"width": 794, "height": 1123}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run with its report.html")
    parser.add_argument("--chromium", help="a Chromium; default: Playwright's own")
    parser.add_argument("--output", type=Path, default=IMAGES)
    given = parser.parse_args()
    address = (given.run / "report.html").resolve().as_uri()
    given.output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for name, picture in pictures(browser, address):
            path = given.output / f"report-{name}.png"
            path.write_bytes(picture)
            print(path, shrink(path))
        browser.close()


def pictures(browser: Browser, address: str) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of every screenshot."""
    page = opened(browser, address, DESK)
    yield "verdict", page.screenshot()
    yield "explorer", explorer(page)
    yield "head", chosen_head(page)
    dark = opened(browser, address, DESK, color_scheme="dark")
    yield "dark", dark.screenshot()
    phone = opened(browser, address, PHONE, has_touch=True, is_mobile=True)
    yield "phone", phone.screenshot()
    page.emulate_media(media="print")
    page.set_viewport_size(A4)
    page.evaluate("scrollTo(0, 0)")
    yield "print", page.screenshot()


def opened(browser: Browser, address: str, size: dict[str, int], **options: Any) -> Page:
    page = browser.new_context(viewport=size, **options).new_page()
    page.goto(address)
    return page


def explorer(page: Page) -> bytes:
    page.locator('[data-view="layer"]').click()
    page.locator("#heads h2").scroll_into_view_if_needed()
    page.evaluate('document.querySelector("#heads h2").scrollIntoView()')
    return page.screenshot()


def chosen_head(page: Page) -> bytes:
    page.locator("button.head").nth(2).click()
    page.mouse.move(0, 0)
    page.evaluate('document.querySelector("#heads h2").scrollIntoView()')
    return page.screenshot()


def shrink(path: Path) -> int:
    """Fewer colours, until the file is small enough; returns its size."""
    for colours in (256, 128, 64):
        if path.stat().st_size < LARGEST:
            break
        Image.open(path).convert("RGB").quantize(colours).save(path, optimize=True)
    return path.stat().st_size


if __name__ == "__main__":
    main()
