"""The stop at other ways to explain a score: how the pixels vote, and what the usual methods show, all by the same transpose."""

from __future__ import annotations

from onnxscope.ask.explain import EXPLANATIONS, feature_maps
from onnxscope.ask.votes import DISCUSSION, votes
from onnxscope.show.charts import map_of
from onnxscope.show.page import Row, Section
from onnxscope.show.tour.guide import Guide, Stop, chart, paragraphs, percent
from onnxscope.show.views import where_voted

METHODS = ("saliency", "integrated-gradients", "guided", "deconvnet", "grad-cam", "lrp-composite")
VOTERS, POPULAR = 20, 4  # the highest scores that pixels choose among, and those with a picture
IN_A_ROW = 3


def by_other_means(g: Guide) -> Stop:
    """Votes among the highest scores, and other methods' maps for the highest."""
    explainer, highest = g.explainer, g.scores.highest(VOTERS)
    found = votes(explainer.opened(DISCUSSION).freeze(g.x.map.fed), highest)
    tally = found.tally()
    image = g.views.image()
    shown = [
        g.shown(
            f"votes-{place}",
            where_voted(image, found.mask(s), f"{g.scores.name(s)}: {percent(n / found.winner.size)}"),
            f"the pixels that vote for {g.scores.name(s)}",
        )
        for place, (s, n) in enumerate(list(tally.items())[:POPULAR], 1)
    ]
    maps, usable = [], [m for m in METHODS if m != "grad-cam" or feature_maps(explainer.scope)]
    for name in usable:
        g.say(name)
        (values,) = explainer.maps(name, g.x.image, highest[:1])
        maps.append(
            chart(
                f"method-{name}",
                map_of(values, name, signed=True),
                f"what {name} shows",
                f"{name}: {EXPLANATIONS[name].doc}",
                wide=False,
            )
        )
    elected, first = next(iter(tally)), highest[0]
    agree = (
        "the highest score, too"
        if elected == first
        else f"while {g.scores.name(first)} has the highest score"
    )
    text = paragraphs(f"""
        What image and biases add to a score can be brought back to the pixels: each bias through the part of the network before it. Then
        every pixel adds something to every score, and may vote for the one that it adds most to. Among the {len(highest)} highest scores
        most pixels vote for {g.scores.name(elected)}, {agree}.

        The usual explanation methods are other rules for some nodes on the same way back. They do not answer the same question, so
        they need not agree. Below: {g.scores.name(first)}.""")
    parts = [
        Row(shown, "The pixels that vote for each score, and their share"),
        *(Row(maps[k : k + IN_A_ROW]) for k in range(0, len(maps), IN_A_ROW)),
    ]
    return Section("Votes, and other methods", text, parts), {
        "votes": {g.scores.name(s): n for s, n in tally.items()},
        "among": len(highest),
        "methods": usable,
    }
