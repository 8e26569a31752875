"""Pages opened in the Chromium of this machine, headless. Without one, tests marked `browser` are not collected."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class OpenedPage:
    """What Chromium made of a page."""

    screenshot: Path
    width: int  # of the window, in CSS pixels
    scroll_width: int  # of the content: larger where something hangs over the edge
    background: tuple[int, int, int]
    ink: tuple[int, int, int]
    text: str  # what a reader sees, closed <details> opened
    errors: list[str] = field(default_factory=list)  # JavaScript errors and messages of the console
    requests: list[str] = field(default_factory=list)  # everything asked for beyond the file itself and data: URIs
    unnamed_pictures: int = 0  # without alternative text
    broken_pictures: int = 0  # that did not decode


OpenPage = Callable[..., OpenedPage]


def find_chromium() -> str | None:
    """Path of Chromium or Chrome when it can be driven here."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next(filter(None, map(shutil.which, _NAMES)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        browser = driver.chromium.launch(executable_path=find_chromium(), args=options)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: Browser, tmp_path: Path) -> OpenPage:
    """A function that opens an HTML file: ``browser_page(path, width=390, dark=True).errors``."""

    def open_page(path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> OpenedPage:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        try:
            return _look(context.new_page(), path, tmp_path / f"{path.stem}-{width}-{'dark' if dark else 'light'}.png")
        finally:
            context.close()

    return open_page


def _look(page, path: Path, screenshot: Path) -> OpenedPage:
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.resolve().as_uri())
    page.screenshot(path=screenshot, full_page=True)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    style = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    return OpenedPage(
        screenshot,
        page.viewport_size["width"],
        page.evaluate("document.documentElement.scrollWidth"),
        *map(_rgb, style),
        page.inner_text("body"),
        errors,
        [url for url in requests if not url.startswith("data:") and url != path.resolve().as_uri()],
        page.evaluate("[...document.images].filter(image => !image.alt).length"),
        page.evaluate("[...document.images].filter(image => !image.complete || !image.naturalWidth).length"),
    )


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(number) for number in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return red, green, blue
