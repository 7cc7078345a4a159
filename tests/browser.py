"""A headless Chromium that looks at pages on disk: its console, their pictures, their widths, screenshots."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars".split()
HEIGHT, PHONE = 900, 600  # of the window, and below which width it is a phone's

# the contrast of every text with what is behind it, after WCAG 2
CONTRASTS = """
const channel = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
const behind = e => { const c = numbers(getComputedStyle(e).backgroundColor); return c[3] === 0 ? behind(e.parentElement) : c; };
return [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    const [dark, light] = [luminance(numbers(getComputedStyle(e).color)), luminance(behind(e))].sort((a, b) => a - b);
    return [e.tagName.toLowerCase(), (light + .05) / (dark + .05)]; });
"""


@contextlib.contextmanager
def browser(width: int, dark: bool = False) -> Iterator[Browser]:
    """Skips the test where there is no browser. Its window can be changed later, by `emulate`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"there is no {program}")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        opened = Browser(driver)
        opened.emulate(width, dark)
        yield opened
    finally:
        driver.quit()


class Browser:
    def __init__(self, driver):
        self.driver = driver

    def emulate(self, width: int, dark: bool = False, media: str = "screen") -> None:
        self.width = width
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < PHONE},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {
                "media": media,
                "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
            },
        )

    def open(self, page: Path) -> None:
        self.driver.get(page.resolve().as_uri())

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def broken_images(self) -> list[str]:
        """The alternative texts of images that did not load."""
        return self.driver.execute_script(
            "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.alt)"
        )

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.driver.execute_script("return document.documentElement.scrollWidth") - self.width

    def contrasts(self) -> list[tuple[str, float]]:
        """Of each element with text, its tag and the contrast of that text."""
        return [(tag, contrast) for tag, contrast in self.driver.execute_script(CONTRASTS)]

    def places(self, selector: str) -> list[dict[str, float]]:
        """Left, top, width and height of the elements, in pixels of the page."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().toJSON())",
            selector,
        )

    def screenshot(self, target: Path) -> None:
        """The whole page, from top to bottom."""
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        target.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, target: Path) -> None:
        printed = self.driver.execute_cdp_cmd(
            "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
        )
        target.write_bytes(base64.b64decode(printed["data"]))
