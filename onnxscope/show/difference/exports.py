"""A comparison for other programs: node data for Model Explorer, and a flat table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxscope.pairing.shares import Share
from onnxscope.show.colours import signed

PALE = 0.6  # of the strongest colours, so that text on them can be read
STOPS = 16  # steps of a gradient


def node_data(layers: Sequence[Share], name: str) -> str:
    """What each layer adds to the difference, by its node in A, as Model Explorer reads node data.

    Without the name of a graph the file is about the graph that is open. Nodes go by their names, which
    Model Explorer's reader of ONNX files takes as their ids. It gives nodes without a name another id.
    """
    prices: dict[str, float] = {}
    for share in layers:
        if share.a:
            prices[share.a] = prices.get(share.a, 0.0) + share.contribution
    results = {node: {"value": float(f"{price:.4g}")} for node, price in prices.items()}
    data = {"name": name, "results": results, "gradient": gradient(list(prices.values()))}
    return json.dumps(data, indent=1)


def gradient(values: Sequence[float]) -> list[dict[str, Any]]:
    """Colours from the lowest value, at 0, to the highest, at 1: white is the value 0."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = max(-low, high) / PALE
    stops = set(np.linspace(0, 1, STOPS + 1).tolist())
    if low < 0 < high:
        stops.add(-low / (high - low))
    colours = {stop: signed(np.array(low + stop * (high - low)), scale) for stop in sorted(stops)}
    return [{"stop": stop, "bgColor": hexadecimal(colour)} for stop, colour in colours.items()]


def hexadecimal(colour: np.ndarray) -> str:
    """Red, green and blue in 0…1 as `#rrggbb`."""
    return "#" + bytes(np.rint(255 * colour).astype(np.uint8)).hex()


def table(layers: Sequence[Share]) -> list[dict[str, Any]]:
    """A row for each layer and kind; all but the contribution are the layer's."""
    return [
        {
            "a": share.a,
            "b": share.b,
            "kind": kind,
            "contribution": contribution,
            "flips": float(share.flips),
            "flip_price": share.flip_price,
            "cut": share.cut,
            "error": share.error,
            "spread": share.spread,
        }
        for share in layers
        for kind, contribution in share.kinds.items()
    ]
