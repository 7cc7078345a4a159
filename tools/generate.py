"""Write the generated parts of the guide: the Python reference, the commands' help, the tables of operators, metrics and audits.

python tools/generate.py          # write them
python tools/generate.py --check  # only compare
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import audit_tables
import reference
import typer
from audit_tables import escaped
from measuring import COSTS, with_part, write
from typer.testing import CliRunner

from onnxscope.ask.metrics.table import METRICS
from onnxscope.cli.main import app
from onnxscope.normalise.lifts import LIFTS
from onnxscope.normalise.versions import RANDOM
from onnxscope.rewriting.rules.table import RULES

GUIDE = COSTS.parent
WIDTH = 100
FIRST = "residual"  # the verb whose options the verbs in LIKE_FIRST share
LIKE_FIRST = (
    "column",
    "row",
    "project",
    "svd",
    "filter",
    "tour",
    "ledger",
    "contributions",
    "votes",
    "compare",
    "evaluate",
)
CARRIED = {"linear": "linear", "frozen": "frozen", "decision": "a decision"}
NOT_CARRIED = {*RANDOM, "ATen", "GRU", "LSTM", "RNN"}  # refused if they depend on the image
UNSAID = {
    "linear": "The same operator.",
    "frozen": "By a rule of its own.",
    "decision": "Taken from the base as a constant.",
}

EXACT = "below 1e-13"
DEVIATIONS = {  # measured by tests/test_metrics_quantus.py's maps, where float32 rounds in another order
    "pixel-flipping": "5e-7",
    "region-perturbation": "6e-8",
    "local-lipschitz-estimate": "4e-8",
    "relative-input-stability": "4e-8",
    "relative-output-stability": "4e-8",
    "continuity": "7e-8",
}


def metrics() -> str:
    """The table of metrics."""
    lines = [
        "| metric | category | what it is | better | in Quantus | parameters | deviation |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, metric in METRICS.items():
        parameters = f"`{metric.parameters}`" if metric.parameters else ""
        cells = (
            f"`{name}`",
            metric.category,
            escaped(metric.doc.removesuffix(".")),
            metric.better,
            f"`{metric.quantus}`",
            parameters,
            DEVIATIONS.get(name, EXACT),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"{len(METRICS)} metrics:", "", *lines])


def operators() -> str:
    """The table of operators, with a row for each rule and all operators that it freezes."""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for op, (how, rule) in sorted(RULES.items()):
        doc = rule.__doc__ if rule is not None else None
        meaning = " ".join(doc.split("\n\n")[0].split()) if doc else UNSAID[how]
        rows[how, meaning].append(op)
    lines = ["| operator | carried | how |", "|---|---|---|"]
    lines += [
        f"| {', '.join(ops)} | {CARRIED[how]} | {escaped(meaning)} |"
        for (how, meaning), ops in sorted(
            rows.items(), key=lambda row: (list(CARRIED).index(row[0][0]), row[1])
        )
    ]
    beforehand = ", ".join(sorted(key for key in LIFTS if key not in RULES and key not in NOT_CARRIED))
    return "\n".join(
        [
            f"{len(RULES)} operators:",
            "",
            *lines,
            "",
            f"Written in these, or folded away, beforehand: {beforehand}.",
        ]
    )


def helps() -> str:
    """The help of the program and of each verb."""
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    texts = [help_of([]), *(help_of([verb]) for verb in verbs if verb not in LIKE_FIRST)]
    texts += [
        f"{beyond(help_of([verb]), help_of([FIRST]))}\n\nand the options of '{FIRST}'." for verb in LIKE_FIRST
    ]
    return "\n\n".join(f"```text\n{text}\n```" for text in texts)


def beyond(text: str, known: str) -> str:
    """The lines of a verb's help that another verb's help does not have, with headings and empty lines."""
    apart = {"", "Arguments:", "Options:", "  Example:"}
    lines = [line for line in text.splitlines() if line in apart or line not in known.splitlines()]
    found = "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before)
    return found.replace("Arguments:\n\nOptions:", "Options:")


def help_of(arguments: list[str]) -> str:
    shown = CliRunner().invoke(app, [*arguments, "--help"], prog_name="onnxscope", terminal_width=WIDTH)
    return "\n".join(line.rstrip() for line in shown.output.strip().splitlines())


PARTS = {  # of each page, by their names
    "audit": {"keys": audit_tables.keys, "measures": audit_tables.measures},
    "command-line": {"help": helps},
    "metrics": {"metrics": metrics},
    "operators": {"operators": operators},
    "python": {"python": reference.python},
}


def out_of_date() -> dict[Path, str]:
    """The pages whose generated part would change, and their new text."""
    found = {}
    for topic, parts in PARTS.items():
        page = GUIDE / f"{topic}.md"
        text = before = page.read_text(encoding="utf-8")
        for name, part in parts.items():
            text = with_part(name, part(), text, page.name)
        if text != before:
            found[page] = text
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the generated parts of the guide.")
    parser.add_argument("--check", action="store_true", help="only compare; a difference is an error")
    check = parser.parse_args().check
    pages = out_of_date()
    if check and pages:
        sys.exit(f"out of date: {', '.join(p.name for p in pages)}; run python tools/generate.py")
    for page, text in pages.items():
        write(page, text)
        print(f"{page.name} written")


if __name__ == "__main__":
    main()
