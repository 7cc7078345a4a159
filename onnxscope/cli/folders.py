"""A verb that is given a folder as its image answers for each picture, and shows the means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from onnxscope.cli.printing import counting, print_json, print_table, printing, working
from onnxscope.errors import BadOption, printable

if TYPE_CHECKING:
    from onnxscope.cli.question import Question


def over_folder(q: Question, ask: Callable[[Question], dict[str, float]], names: str, shares: str) -> None:
    """Print and draw the means of shares of a score over the pictures in a folder, and their spread.

    `ask` returns the shares of one picture by name. `names` and `shares` are the headings of the table.
    """
    from statistics import fmean, pstdev

    from onnxscope.files.folders import first_readable, pictures_in
    from onnxscope.files.models import check_target
    from onnxscope.show.charts import bars

    answers, skipped, pictures = list[dict[str, float]](), [], pictures_in(q.file)
    check_target(q.target(".png"), [q.model, *pictures])
    first = q.at(first_readable(pictures))
    with working(f"opening {q.model.name}"):
        ask(first)
    with counting("pictures") as progress:
        for k, picture in enumerate(pictures, 1):
            try:
                answers.append(ask(first.at(picture)))
            except BadOption as error:
                skipped.append({"picture": picture.name, "why": error.cause})
            progress(k, len(pictures))
    means = {name: fmean(a[name] for a in answers) for name in answers[0]}
    spreads = {name: pstdev(a[name] for a in answers) for name in means}
    written = q.write_chart(bars(list(means), list(means.values()), f"mean {shares}")[0])
    with printing():
        if q.as_json:
            rows = [{"name": name, "share": means[name], "spread": spreads[name]} for name in means]
            print_json(
                {
                    "written": [str(written)],
                    "pictures": len(answers),
                    "skipped": skipped,
                    "shares": rows,
                    **first.facts(),
                }
            )
        else:
            print_table(
                [names, f"mean {shares}", "spread"],
                [[n, f"{100 * means[n]:.1f} %", f"{100 * spreads[n]:.1f} %"] for n in means],
            )
            typer.echo(f"preset {printable(first.opened.preset.line)}")
            typer.echo(f"{len(answers)} pictures, {len(skipped)} skipped; written {written}")
