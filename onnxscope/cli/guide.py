"""The verb that shows the documentation: guide."""

from __future__ import annotations

import difflib
import os
import re
import sys
from importlib import resources
from typing import Annotated

import typer
from rich.console import Console

from onnxscope.cli.groups import command
from onnxscope.cli.options import AsJson
from onnxscope.cli.printing import print_json, print_table, printing
from onnxscope.errors import BadOption

PAGES = resources.files("onnxscope.guide")
INDEX = "index"
COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)  # the marks of generated parts
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
WIDEST = 110  # columns of running text
PAGER_OPTIONS = "FRX"  # of less: end where one screen is enough, show colours, leave the page on the screen

Topic = Annotated[
    str | None, typer.Argument(metavar="TOPIC", help="The page to show. [default: a list of all pages]")
]


@command
def guide(topic: Topic = None, *, as_json: AsJson = False) -> None:
    """Show a page of the guide, or the list of its pages; no network is needed.

    \b
    Example:
      onnxscope guide reading-results
    """
    with printing():
        if topic is None:
            print_topics(as_json)
        elif as_json:
            print_json({"topic": topic, "text": page(topic)})
        elif sys.stdout.isatty():
            page_through(page(topic))
        else:
            typer.echo(page(topic), nl=False)


def print_topics(as_json: bool) -> None:
    about = {topic: first_sentence(page(topic)) for topic in topics()}
    if as_json:
        print_json({"topics": about})
    else:
        print_table(("topic", "about"), list(about.items()))


def page_through(text: str) -> None:
    """Markdown as a terminal shows it, in the user's pager."""
    from rich.markdown import Markdown  # only now: no other verb needs it

    os.environ.setdefault("LESS", PAGER_OPTIONS)
    console = Console()
    width = min(console.width, WIDEST)
    with console.pager(styles=True):
        console.print(Markdown(text, hyperlinks=False), width=width)


def topics() -> list[str]:
    """The names of all pages, in the order in which the index links to them."""
    names = sorted(file.name.removesuffix(".md") for file in PAGES.iterdir() if file.name.endswith(".md"))
    index = page(INDEX)
    return sorted(names, key=lambda name: index.find(f"({name}.md"))


def page(topic: str) -> str:
    """A page's Markdown without its comments."""
    file = PAGES / f"{topic}.md"
    if not re.fullmatch("[a-z-]+", topic) or not file.is_file():
        near = difflib.get_close_matches(topic.lower(), topics(), cutoff=0.4) or topics()
        raise BadOption(
            f"there is no topic '{topic}'", where="onnxscope guide", remedy=f"choose {' or '.join(near)}"
        )
    return COMMENT.sub("", file.read_text(encoding="utf-8"))


def first_sentence(text: str) -> str:
    """The first sentence of a page's first paragraph, which follows its title."""
    paragraph = LINK.sub(r"\1", " ".join(text.split("\n\n")[1].split()))
    return re.split(r"(?<=[.!?]) ", paragraph)[0]
