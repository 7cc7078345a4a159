"""The links of README.md and the guide, and the static site that tools/site.py builds from them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from browser import Browser, browser

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import pages

GENERATOR = ("sphinx", "myst_parser", "furo")
FROM_ELSEWHERE = re.compile(
    r"<(?:script|img|link|iframe)[^>]+(?:src|href)=.?(?:https?:)?//[^>]*>|@import|url\(.?(?:https?:)?//"
)


@pytest.mark.parametrize("page", pages.written(), ids=lambda page: page.stem)
def test_no_link_is_broken(page: Path) -> None:
    assert not pages.broken(page)


PAGE = """# One thing & another_one

## Twice

## Twice

[here](#one-thing--another_one) [second](#twice-1) [beside](other.md#title) [web](https://example.org)
`[code](no.md)`

```text
[code](no.md)
```
"""


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("", ""),
        ("[x](absent.md)", "names no file of the repository"),
        ("[x](../outside.md)", "names no file of the repository"),
        ("[x](folder)", "names no file of the repository"),
        ("[x](#twice-2)", "names no heading of page.md"),
        ("[x](other.md#absent)", "names no heading of other.md"),
        ("[x](http://example.org)", "should begin with https://"),
        ("![x](absent.png)", "names no file of the repository"),
        ("![](picture.png)", "is a picture without a text that stands for it"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, why: str) -> None:
    root = tmp_path / "repository"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside.md").write_text("# Outside\n", encoding="utf-8")
    (root / "other.md").write_text("# Title\n", encoding="utf-8")
    (root / "picture.png").touch()
    page = root / "page.md"
    page.write_text(f"{PAGE}\n{link}\n", encoding="utf-8")
    monkeypatch.setattr(pages, "ROOT", root)
    line = PAGE.count("\n") + 2
    target = link.partition("(")[2].removesuffix(")")
    assert pages.broken(page) == ([f"page.md:{line}: '{target}' {why}"] if why else [])


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """tools/site.py under a name that the standard library does not have."""
    for module in GENERATOR:
        if not importlib.util.find_spec(module):
            pytest.skip("pip install '.[docs]' brings what builds the site")
    spec = importlib.util.spec_from_file_location("site_builder", pages.ROOT / "tools" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    builder.build(folder)
    return folder


def test_every_page_is_in_the_site_and_nothing_comes_from_elsewhere(site: Path) -> None:
    assert {f.stem for f in (site / "guide").glob("*.html")} == {f.stem for f in pages.GUIDE.glob("*.md")}
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not FROM_ELSEWHERE.findall(file.read_text(encoding="utf-8")), file.name


@pytest.mark.parametrize("fault", ["[x](absent.md)", "[x](index.md#absent)", "![x](absent.png)"])
def test_a_fault_ends_the_build(builder: ModuleType, tmp_path: Path, fault: str) -> None:
    source = tmp_path / "source"
    builder.lay_out(source)
    page = source / "guide" / "changelog.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{fault}\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="the site has faults"):
        builder.generate(source, tmp_path / "site")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_the_pages_look_well(site: Path, width: int, dark: bool) -> None:
    with browser(width, dark) as window:
        for page in (site / "index.html", *sorted((site / "guide").glob("*.html"))):
            window.open(page)
            assert not window.complaints() and not window.broken_images(), page.name
            assert window.overflow() <= 0, page.name
            assert is_dark(window) == dark


def is_dark(window: Browser) -> bool:
    colour = window.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall("[0-9]+", colour)[:3])) < 3 * 128


def test_the_search_works_from_disk(site: Path) -> None:
    with browser(1280) as window:
        from selenium.webdriver.support.wait import WebDriverWait

        window.driver.get(f"{(site / 'search.html').as_uri()}?q=ledger")
        found = "return document.querySelector('#search-results a[href*=\"guide/python.html\"]')"
        WebDriverWait(window.driver, 60).until(lambda driver: driver.execute_script(found))
        assert not window.complaints()
