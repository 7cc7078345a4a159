"""The guide's page of coverage, from the records of a sweep."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import COSTS, table, write_part

Record = Mapping[str, Any]
PAGE = COSTS.with_name("coverage.md")
PART = "sweep"
OUTCOMES = ("right", "refused", "not judged", "wrong", "failed")
LONGEST = 200  # characters of a reason


def write_page(records: Sequence[Record], page: Path = PAGE) -> None:
    write_part(PART, report(records), page)


def report(records: Sequence[Record]) -> str:
    """The generated part of the page."""
    judged = [r for r in records if r["pairs"]]
    parts = [
        summary(judged),
        "## By exporter",
        grouped(judged, "exporter", "exporter", lambda r: r["exporter"]),
        versions(judged),
        "## By opset and precision",
        grouped(judged, "opset", "opset", lambda r: f"{r['opset']:02}"),
        grouped(judged, "precision", "precision", lambda r: r["variant"] or "float32"),
        "## By package and family",
        grouped(judged, "package", "package", lambda r: r["package"]),
        families(judged),
        "## What is not right",
        listed(shortcomings(judged)) or "Nothing.",
        "## What an exporter did not export",
        "These cases are not counted above: the exporter, or the conversion to another precision, stopped.",
        listed(f"{r['name']}: {short(r['export'])}" for r in records if "export" in r) or "None.",
    ]
    return "\n\n".join(parts)


def outcomes(records: Iterable[Record]) -> Counter[str]:
    return Counter(verdict["outcome"] for r in records for verdict in r["pairs"].values())


def summary(judged: Sequence[Record]) -> str:
    counted = outcomes(judged)
    pairs, architectures = counted.total(), {(r["package"], r["architecture"]) for r in judged}
    slopes = [r["pairs"]["taylor"] for r in judged if r["pairs"]["taylor"]["outcome"] == "right"]
    compared = sum("derivative" not in v["unjudged"] for v in slopes)
    return (
        f"{len(architectures)} architectures through {len({r['exporter'] for r in judged})} exporters: {pairs} pairs of "
        f"a model and a policy, of which {counted['right']} are right ({100 * counted['right'] / max(pairs, 1):.1f} %), "
        f"{counted['refused']} refused, {counted['not judged']} not judged, and "
        f"{counted['wrong'] + counted['failed']} wrong or failed. Under `taylor`, the derivative was compared for "
        f"{compared} of {len(slopes)} models."
    )


def grouped(judged: Sequence[Record], head: str, title: str, key: Callable[[Record], str]) -> str:
    """A table of outcomes, one row for each value of a key."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for r in judged:
        groups[key(r)].append(r)
    rows = []
    for name, group in sorted(groups.items()):
        counted = outcomes(group)
        architectures = len({(r["package"], r["architecture"]) for r in group})
        rows.append([name, str(architectures), str(counted.total()), *(str(counted[o]) for o in OUTCOMES)])
    return table([title, "architectures", "pairs", *OUTCOMES], rows)


def versions(judged: Sequence[Record]) -> str:
    """The versions of each exporter, and of what rewrote and judged."""
    found = sorted({(r["exporter"], r["versions"]) for r in judged})
    judges = sorted({r["onnxscope"] for r in judged})
    return listed(
        [*(f"{exporter}: {names}" for exporter, names in found), *(f"judged with {j}" for j in judges)]
    )


def families(judged: Sequence[Record]) -> str:
    """The families of each package: those that are right throughout as a list, the others with their counts."""
    groups: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for r in judged:
        groups[r["package"]][r["family"]].append(r)
    lines = []
    for package, found in groups.items():
        names = []
        for family, group in found.items():
            counted = outcomes(group)
            right = counted["right"] == counted.total()
            names.append(family if right else f"**{family}** ({counted['right']} of {counted.total()})")
        lines.append(f"{package}: {', '.join(names)}")
    return (
        "A family in bold is not right throughout; the brackets say how many of its pairs are.\n\n"
        + listed(lines)
    )


def shortcomings(judged: Sequence[Record]) -> Iterator[str]:
    """One line for each reason of each case, with the policies that it holds for."""
    for r in judged:
        reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
        for policy, verdict in r["pairs"].items():
            if verdict["outcome"] != "right":
                why = verdict["why"] or "; ".join(f"{k}: {v}" for k, v in verdict["unjudged"].items())
                reasons[verdict["outcome"], why].append(policy)
        for (outcome, why), policies in reasons.items():
            yield f"{r['name']} ({' and '.join(policies)}), {outcome}: {short(why)}"


def short(text: str) -> str:
    """A reason as text in Markdown: on one line, of limited length."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(text.split()))
    text = re.sub(r"/\S*/(?=[^/\s]+\.(?:onnx|py)\b)", "", text)  # folders of the machine that swept
    text = text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
