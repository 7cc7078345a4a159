"""The section on other explanations of a score: how the pixels vote, and the maps of well-known methods."""

from __future__ import annotations

from onnxscope.ask.explain import EXPLANATIONS, feature_maps
from onnxscope.ask.votes import DISCUSSION, Votes, votes
from onnxscope.show.charts import map_of
from onnxscope.show.page import PagePicture, Row, Section
from onnxscope.show.tour.guide import Guide, SectionAndFigures, chart, paragraphs, percent
from onnxscope.show.views import where_voted

METHODS = ("saliency", "integrated-gradients", "guided", "deconvnet", "grad-cam", "lrp-composite")
VOTERS, POPULAR = 20, 4  # how many of the highest scores pixels vote among, and how many get a picture
IN_A_ROW = 3  # maps


def by_other_means(g: Guide) -> SectionAndFigures:
    """The pixels' votes among the highest scores, and other methods' maps for the highest score."""
    explainer, highest = g.explainer, g.scores.highest(VOTERS)
    found = votes(explainer.opened(DISCUSSION).freeze(g.x.map.fed), highest)
    tally = found.tally()
    voters = pictures_of_votes(g, found)
    methods = [m for m in METHODS if m != "grad-cam" or feature_maps(explainer.scope)]
    maps = [map_by(g, name, highest[0]) for name in methods]
    elected, first = next(iter(tally)), highest[0]
    agree = (
        "which is also the highest of them"
        if elected == first
        else f"but {g.scores.name(first)} is the highest of them"
    )
    text = paragraphs(f"""
        Not only the image's contribution to a score can be assigned to pixels, but also that of the biases:
        they are carried back from their layers to the image. Then every pixel adds something to every score,
        and votes for the score that it adds most to. Of the {len(highest)} highest scores,
        {g.scores.name(elected)} gets the most votes, {agree}.

        Below are the maps of well-known explanation methods for {g.scores.name(first)}. They go back through
        the same network, some with other rules at some nodes. They answer other questions, so they need not
        agree.""")
    parts = [
        Row(voters, "The pixels that vote for each score, and their share"),
        *(Row(maps[k : k + IN_A_ROW]) for k in range(0, len(maps), IN_A_ROW)),
    ]
    return Section("Pixel votes and other explanation methods", text, parts), {
        "votes": {g.scores.name(s): n for s, n in tally.items()},
        "among": len(highest),
        "methods": methods,
    }


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


def map_by(g: Guide, method: str, score: int) -> PagePicture:
    """What an explanation method shows for a score."""
    g.say(method)
    (values,) = g.explainer.maps(method, g.x.image, [score])
    return chart(
        f"method-{method}",
        map_of(values, method, signed=True),
        f"what {method} shows",
        f"{method}: {EXPLANATIONS[method].doc}",
        wide=False,
    )
