"""The section on other explanations of a score: how the pixels vote, and the maps of well-known methods."""

from __future__ import annotations

from typing import Any

from onnxscope.ask.explain import EXPLANATIONS, STEPS, feature_maps
from onnxscope.ask.votes import DISCUSSION, Votes, votes
from onnxscope.errors import OtherDecision
from onnxscope.show.charts import map_of
from onnxscope.show.colours import laid_over
from onnxscope.show.page import PagePicture, Row, Section
from onnxscope.show.tour.guide import Guide, SectionAndFigures, chart, paragraphs, percent
from onnxscope.show.views import where_voted

METHODS = {  # and how many passes through the network each takes, about
    "saliency": 2,
    "guided": 2,
    "deconvnet": 2,
    "grad-cam": 2,
    "lrp-composite": 4,
    "integrated-gradients": 3 * STEPS,
}
VOTERS, POPULAR = 20, 4  # how many of the highest scores pixels vote among, and how many get a picture
IN_A_ROW = 3  # maps
VOTES_TEXT = """
    Not only the image's contribution to a score can be assigned to pixels, but also that of the biases:
    they are carried back from their layers to the image. Then every pixel adds something to every score,
    and votes for the score that it adds most to. Of the {count} {kind}, {elected} gets the most votes,
    {agree}."""
METHODS_TEXT = """
    Below are the maps of well-known explanation methods for {name}, and under each the same map laid over the
    picture. They go back through the same network, some with other rules at some nodes. They answer other
    questions, so they need not agree."""


def by_other_means(g: Guide, score: int | None = None) -> SectionAndFigures:
    """The pixels' votes among the scores, and other methods' maps for one of them, or for the highest."""
    parts: list[Row] = []
    facts: dict[str, Any] = {}
    text: list[str] = []
    chosen = g.scores.index(None) if score is None else score
    voters = min(VOTERS, int(g.effort.left / 2 / g.pass_seconds))
    if g.explainable and voters > 1:
        section, facts = voting(g, voters)
        text, parts = paragraphs(section[0]), [section[1]]
    methods = {m: n for m, n in METHODS.items() if m != "grad-cam" or feature_maps(g.explainer.scope)}
    maps: dict[str, tuple[PagePicture, PagePicture]] = {}
    late, elsewhere, longest = [], [], 0.0
    for method, passes in methods.items():
        left = g.effort.left
        if max(longest, passes * g.pass_seconds) >= left:
            late.append(method)
            continue
        try:
            maps[method] = map_by(g, method, chosen)
        except OtherDecision:
            elsewhere.append(method)
        longest = max(longest, left - g.effort.left)  # most of it is writing the network for the method
    shown = list(maps.values())
    for k in range(0, len(shown), IN_A_ROW):
        parts += [Row(row) for row in zip(*shown[k : k + IN_A_ROW], strict=True)]
    text += paragraphs(METHODS_TEXT.format(name=g.asked[chosen].text if g.asked else g.scores.name(chosen)))
    if late:
        text.append(f"There was no time left for {', '.join(late)}: --seconds gives more.")
    if elsewhere:
        text.append(f"Left out: {', '.join(elsewhere)}, which looks at images that decide otherwise.")
    facts |= {"methods": list(maps), "no_time_for": late}
    title = ("Pixel votes and other" if "votes" in facts else "Other") + " explanation methods"
    return Section(title, text, parts), facts


def voting(g: Guide, most: int) -> tuple[tuple[str, Row], dict[str, Any]]:
    """The pixels' votes among the highest scores: a text, the pictures and the figures."""
    highest = g.scores.highest(most)
    found = votes(g.explainer.opened(DISCUSSION).freeze(g.x.map.fed), highest)
    tally = found.tally()
    elected, first = next(iter(tally)), highest[0]
    agree = (
        "which is also the highest of them"
        if elected == first
        else f"but {g.scores.name(first)} is the highest of them"
    )
    kind = "values that are asked for" if g.asked else "highest scores"
    text = VOTES_TEXT.format(count=len(highest), kind=kind, elected=g.scores.name(elected), agree=agree)
    row = Row(pictures_of_votes(g, found), "The pixels that vote for each score, and their share")
    facts = {"votes": {g.scores.name(s): n for s, n in tally.items()}, "among": len(highest)}
    return (text, row), facts


def pictures_of_votes(g: Guide, found: Votes) -> list[PagePicture]:
    """The image, for each of the most popular scores, where pixels vote for it."""
    image = g.views.image()
    return [
        g.picture(
            f"votes-{place}",
            where_voted(image, found.mask(s), f"{g.scores.name(s)}: {percent(n / found.winner.size)}"),
            f"the pixels that vote for {g.scores.name(s)}",
        )
        for place, (s, n) in enumerate(list(found.tally().items())[:POPULAR], 1)
    ]


def map_by(g: Guide, method: str, score: int) -> tuple[PagePicture, PagePicture]:
    """What an explanation method shows for a score, alone and laid over the picture."""
    g.say(method)
    (values,) = g.explainer.maps(method, g.x.image, [score])
    alone = chart(
        f"method-{method}",
        map_of(values, method, signed=True),
        f"what {method} shows",
        f"{method}: {EXPLANATIONS[method].doc}",
        wide=False,
    )
    over = laid_over(g.views.image(), values, f"{method}, laid over the picture")
    return alone, g.picture(f"over-{method}", over, f"what {method} shows, laid over the picture")
