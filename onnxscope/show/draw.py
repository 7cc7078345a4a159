"""Each kind of result as one PNG file. The functions called `…_rows` give the pictures of a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxscope.ask.contributions import Contribution
from onnxscope.ask.ledger import Ledger
from onnxscope.ask.votes import Votes
from onnxscope.linear.svd.decompose import Triplets
from onnxscope.show.colours import coloured, laid_over
from onnxscope.show.panels import Picture, magnitude
from onnxscope.show.sheets import Rows, png, sheet
from onnxscope.show.views import Views, where_voted

POPULAR = 6  # how many scores, those with most votes, get a picture
IN_ROW = 2  # maps


def ledger(book: Ledger, name: str) -> bytes:
    """A chart with a bar for the image and for each layer."""
    from onnxscope.show.charts import bars  # only now: matplotlib takes half a second to import

    return bars(list(book.entries), list(book.entries.values()), f"contribution to {name}")[0]


def triplets(views: Views, found: Triplets) -> bytes:
    """A sheet of eigen-inputs and eigen-outputs."""
    return png(sheet(triplet_rows(views, found)))


def triplet_rows(views: Views, found: Triplets) -> Rows:
    """A row with eigen-input and eigen-output for each triplet; image and output where there is none."""
    scales = magnitude(found.v), magnitude(found.u)
    return [
        [
            views.like_image(v, f"v{i}, σ{i} = {s:.4g}", scales[0]),
            views.like_output(u, f"u{i}", scales[1]),
        ]
        for i, (s, u, v) in enumerate(zip(found.sigma, found.u, found.v, strict=True), 1)
    ] or [[views.image(), views.output()]]


def contributions(found: Sequence[Contribution]) -> bytes:
    """A sheet with the contributions of each tensor."""
    return png(sheet(contribution_rows(found)))


def contribution_rows(found: Sequence[Contribution]) -> Rows:
    """A row for each tensor: a map of its contributions, or bars where it is a vector."""
    return [
        [
            Picture(
                c.values[..., None] if c.values.ndim == 2 else c.values.reshape(-1),
                c.tensor,
                scale=magnitude(c.values) or None,
            )
        ]
        for c in found
    ]


def votes(views: Views, found: Votes, names: Mapping[int, str]) -> bytes:
    """A sheet of the pixels that vote for each of the most popular scores."""
    return png(sheet(vote_rows(views, found, names)))


def vote_rows(views: Views, found: Votes, names: Mapping[int, str]) -> Rows:
    """The image, and the pixels that vote for each of the most popular scores."""
    image, popular = views.image(), list(found.tally().items())[:POPULAR]
    return [[image, *(where_voted(image, found.mask(s), f"{names[s]}: {n} pixels") for s, n in popular)]]


def maps(views: Views, found: Mapping[str, np.ndarray], title: str = "") -> bytes:
    """A sheet of the image and of maps over its pixels."""
    return png(sheet(map_rows(views, found), title))


def map_rows(views: Views, found: Mapping[str, np.ndarray]) -> Rows:
    """The image, then each map over its pixels in colours, on its own scale, and laid over the image."""
    image = views.image()
    pairs = [
        [coloured(m, name), laid_over(image, m, f"{name}, laid over the image")] for name, m in found.items()
    ]
    return [
        [image],
        *([p for pair in pairs[k : k + IN_ROW] for p in pair] for k in range(0, len(pairs), IN_ROW)),
    ]
