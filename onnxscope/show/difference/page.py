"""The page of a comparison: the verdict, its figures, the ledger, and what would help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnxscope.ask.presets import line_of
from onnxscope.pairing.shares import Share
from onnxscope.show.difference.charts import ledger, strip, totals
from onnxscope.show.difference.example import example
from onnxscope.show.difference.numbers import numbers
from onnxscope.show.difference.seen import DISTANCE, Seen, by_size, name_of
from onnxscope.show.page import Page, Row, Section, Table, html
from onnxscope.show.tour.guide import chart, paragraphs, percent

KINDS = {  # what a layer's own error comes from
    "weights": "other weights, such as rounded ones",
    "rounding": "rounded activations",
    "saturation": "activations that a quantizer's range cuts off",
    "bias": "another bias",
    "definition": "the same weights, and another operator, attribute or size",
    "missing": "a layer that only A has",
    "added": "a layer that only B has",
    "curvature": "a function of several values that is not quite linear between A and B",
    "noise": "the runtime's own rounding",
}
NEGLIGIBLE = 0.03  # of a layer's largest kind
MOST_ROWS, MOST_NAMES = 20, 40  # of a table of layers, and of the nodes that only one side has


def difference_page(seen: Seen, command: str = "") -> str:
    """The whole page as HTML. Sections that would be empty are left out."""
    made = [
        numbers(seen),
        example(seen),
        by_layer(seen),
        as_strip(seen),
        flips(seen),
        putting_back(seen),
        linear_parts(seen),
        only_one_side(seen),
    ]
    sections = [section for section in made if section is not None]
    title = f"{seen.names[0]} and {seen.names[1]}"
    return html(Page(title, summary(seen), sections, about(seen), command))


def summary(seen: Seen) -> list[str]:
    """The verdict, and how the page is to be read."""
    means = f" All figures are means over {seen.facts['images']} images." if seen.many else ""
    return [
        " ".join(filter(None, seen.sentences)),
        *paragraphs(f"""
            A is {seen.names[0]} and B is {seen.names[1]}. Differences are B − A, and layers go by their
            names in A.{means}"""),
    ]


def by_layer(seen: Seen) -> Section | None:
    """The ledger as a chart and as a table, and the sums by kind."""
    ranked = by_size(seen.layers)
    if not ranked:
        return None
    remainder = seen.facts["remainder"]
    within = (
        "Both agree within noise, so that these contributions are rounding and name no fault. "
        if seen.facts["same"]
        else ""
    )
    spread = " Whiskers are the standard deviation over the images." if seen.many else ""
    text = paragraphs(f"""
        {within}A layer's own error is what B computes differently from A on the same values. It travels
        through the rest of the network to {seen.value}. These contributions add up to the difference, except
        for {remainder:.1e} due to rounding.{spread}""")
    drawn = chart("ledger", ledger(seen.layers, contribution_to(seen)), listed(ranked[:MOST_ROWS]))
    return Section("The ledger: which layers", text, [Row([drawn]), by_kind(seen), layer_table(ranked)])


def contribution_to(seen: Seen) -> str:
    return "contribution to the distance" if seen.facts["question"] == DISTANCE else "contribution to B − A"


def listed(layers: Sequence[Share]) -> str:
    return "; ".join(f"{name_of(s)} {s.contribution:+.3g}" for s in layers)


def by_kind(seen: Seen) -> Table:
    """What each kind of error adds."""
    sums = totals(seen.layers)
    rows = [
        [kind, f"{value:+.3g}", KINDS[kind]] for kind, value in sorted(sums.items(), key=lambda i: -abs(i[1]))
    ]
    return Table(["kind", "contribution", "comes from"], rows)


def layer_table(ranked: Sequence[Share]) -> Table:
    """The largest contributions, each with its main kinds."""
    many = any(s.spread for s in ranked)
    head = ["layer in A", "in B", "contribution", *(["spread"] if many else []), "kinds", "own error"]
    rows = [
        [
            s.a or "–",
            s.b or "–",
            f"{s.contribution:+.3g}",
            *([f"{s.spread:.2g}"] if many else []),
            main_kinds(s),
            percent(s.error),
        ]
        for s in ranked
    ]
    note = "Own error: of the layer alone, relative to what it computes" + ("; the largest." if many else ".")
    return cut_off(head, rows, MOST_ROWS, note)


def main_kinds(share: Share) -> str:
    """The kinds of a layer that are not negligible, the largest first."""
    ranked = sorted(share.kinds.items(), key=lambda item: -abs(item[1]))
    least = NEGLIGIBLE * abs(ranked[0][1]) if ranked else 0.0
    kept = [(kind, value) for kind, value in ranked if abs(value) > least]
    return kept[0][0] if len(kept) == 1 else ", ".join(f"{kind} {value:+.2g}" for kind, value in kept)


def cut_off(head: Sequence[str], rows: Sequence[Sequence[str]], most: int, note: str = "") -> Table:
    """A table of the first rows; its caption tells how many more there are."""
    left = f"{len(rows) - most} more rows are left out." if len(rows) > most else ""
    return Table(head, rows[:most], " ".join(filter(None, [note, left])))


def as_strip(seen: Seen) -> Section | None:
    """The layers in the network's order."""
    if len(by_size(seen.layers)) < 2:
        return None
    red = "adds to the distance" if seen.facts["question"] == DISTANCE else "raises B's value above A's"
    text = paragraphs(f"""
        The same contributions in the order in which the network computes its layers: one column for each.
        Red {red}, blue does the opposite, and the paler a column is, the less it changes.""")
    first = seen.facts["first_wrong"]
    if first:
        text.append(
            f"The first layer whose own error is more than noise is {first['a'] or first['b']} "
            f"({first['kind']})."
        )
    drawn = chart("strip", strip(seen.layers, contribution_to(seen)), listed(by_size(seen.layers)[:5]))
    return Section("Where in the network", text, [Row([drawn])])


def flips(seen: Seen) -> Section | None:
    """The layers whose decisions are other ones in B."""
    turned = sorted((s for s in seen.layers if s.flips), key=lambda s: (-abs(s.flip_price), -s.flips))
    if not turned:
        return None
    text = paragraphs("""
        Decisions are which side of its bends an activation is on, and which value a MaxPool takes. Their
        price is the part of the difference that these decisions alone make. It is contained in the
        contributions above.""")
    rows = [[name_of(s), f"{s.flips:,.4g}", f"{s.flip_price:+.2g}"] for s in turned]
    count = "decisions that flip" + (", on average" if seen.many else "")
    return Section("Decisions that flip", text, [cut_off(["layer", count, "price"], rows, MOST_ROWS)])


def putting_back(seen: Seen) -> Section | None:
    """What putting single layers back to A's would change, as predicted and as measured."""
    entries, difference = seen.facts["would_help"], seen.facts["difference"]
    if not entries or seen.facts["same"] or not difference:
        return None
    measured = any("measured" in e for e in entries)
    text = paragraphs(f"""
        What B would give if a single layer were computed as in A. Left is what would remain of the
        difference: more than 100 % where a layer now cancels others. The change is
        {"predicted for all layers from one pass, and measured for some." if measured else "predicted."}""")
    rows = [
        [
            e["a"],
            f"{e['predicted']:+.3g}",
            share_left(e["predicted"], difference),
            *([f"{e['measured']:+.3g}" if "measured" in e else "–"] if measured else []),
        ]
        for e in entries
    ]
    head = ["layer", "predicted change", "left", *(["measured change"] if measured else [])]
    return Section("What putting a layer back would change", text, [cut_off(head, rows, MOST_ROWS)])


def share_left(change: float, difference: float) -> str:
    return f"{100 * abs(1 + change / difference):.3g} %"


def linear_parts(seen: Seen) -> Section | None:
    """How F of B differs from F of A, where it was asked for."""
    found = seen.facts.get("linear")
    if found is None:
        return None
    on = " of the first image" if seen.many else ""
    text = paragraphs(f"""
        F is the matrix by which a network weighs the pixels{on}. Its largest singular values are those of the
        patterns that it amplifies most, which are its eigen-inputs and eigen-outputs.""")
    rows = {
        "largest singular values of F in A": ", ".join(f"{v:.4g}" for v in found["sigma_a"]),
        "in B": ", ".join(f"{v:.4g}" for v in found["sigma_b"]),
        "the largest of F of B − F of A": f"{found['norm']:.3g} ({percent(found['relative'])} of A's)",
        "largest angle between their eigen-inputs": f"{found['angle_in']:.2g}°",
        "between their eigen-outputs": f"{found['angle_out']:.2g}°",
        "pixels that vote for the same score": maybe(found["votes"], percent),
        "correlation of Grad-CAM": maybe(found["grad_cam"], "{:.4f}".format),
        "correlation of what outputs look at": f"{found['filters']:.4f}",
    }
    return Section("The linear parts", text, [Table(["", ""], [[k, v] for k, v in rows.items() if v])])


def maybe(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)


def only_one_side(seen: Seen) -> Section | None:
    """Nodes without a counterpart."""
    names = [(side, name) for side in ("A", "B") for name in seen.facts[f"only_{side.lower()}"]]
    if not names:
        return None
    text = paragraphs("""
        Nodes that compute something and have no counterpart on the other side. Many are parts of what the
        other file computes in another way.""")
    rows = [[name, f"only in {side}"] for side, name in names]
    return Section("What only one side has", text, [cut_off(["node", "side"], rows, MOST_NAMES)])


def about(seen: Seen) -> Table:
    """The table at the foot of the page: what was compared, and how."""
    facts: dict[str, Any] = dict(seen.facts)
    skipped = "; ".join(f"{one['image']} ({one['why']})" for one in facts["skipped"])
    rows = {
        **seen.about,
        "images": f"{facts['images']:,}",
        "question": facts["question"] or facts["asked"],
        "task": facts["task"],
        "preprocessing": line_of(facts["preset"]),
        "nodes of A with a counterpart": f"{len(facts['matched']):,}",
        "notes": "; ".join(facts["notes"]),
        "images that cannot be read": skipped,
    }
    return Table(["", ""], [[k, v] for k, v in rows.items() if v], "What the results on this page depend on")
