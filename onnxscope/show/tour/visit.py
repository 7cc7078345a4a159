"""The whole tour: the sections that suit the network, as one page with its pictures and figures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from onnxscope.ask import tasks
from onnxscope.errors import BadOption, ScopeError
from onnxscope.files.models import check_target, write
from onnxscope.files.results import Cells, Result, plain
from onnxscope.rewriting.scope import Scope
from onnxscope.run.verify import verify_scope
from onnxscope.show.page import Page, Section, files, html
from onnxscope.show.tour.answers import answers
from onnxscope.show.tour.bases import bases
from onnxscope.show.tour.filters import far_away, single_pixels
from onnxscope.show.tour.found import FOUND, found
from onnxscope.show.tour.guide import SAME, SCORES, Guide, SectionAndFigures
from onnxscope.show.tour.rivals import by_other_means
from onnxscope.show.tour.scores import by_layer, highest
from onnxscope.show.tour.summary import summary, table_of
from onnxscope.show.tour.whole import input_and_output, proofs

HOW_IT_RAN = ("device", "precision", "left_to_cpu", "notes")  # what tour.json holds of `Interpreter.about`
PROOFS, PROOFS_TITLE = "proofs", "the proofs"
PASSES = {PROOFS: 40, "ledger": 3, "pixels": 20}  # about how many each of these takes
PATIENCE = {PROOFS: 1.4}  # times the time that is left: how long a section may take, 1 unless it is named
PLACES = {tasks.BOXES, tasks.CLASS_MAP, tasks.TEXT, tasks.POINTS}  # whose parts are asked about one by one
ASKED = PLACES | {tasks.EMBEDDING, tasks.MAP}  # tasks with questions of their own
UNPROVED: SectionAndFigures = (
    Section("Proofs", ["The proofs could not be computed."]),
    {"ok": False, "checks": {}},
)


@dataclass(frozen=True, repr=False)
class Visit(Result):
    """The result of a tour: the page, its figures for tour.json, and why some sections are missing."""

    page: Page
    facts: dict[str, Any]
    missing: dict[str, str]

    @property
    def interrupted(self) -> bool:
        """Whether the user stopped the search for singular triplets."""
        return bool(self.facts.get("svd", {}).get("stopped") == "interrupted")

    @property
    def title(self) -> str:
        return self.page.title

    def cells(self) -> Cells:
        shown = [(s.title, f"{len(s.parts)} parts") for s in self.page.sections]
        return ("section", ""), [*shown, *((name, f"missing: {why}") for name, why in self.missing.items())]

    def to_dict(self) -> dict[str, Any]:
        return dict(plain(self.facts))

    def _repr_html_(self) -> str:
        return html(self.page)

    def save(self, path: str | Path) -> Path:
        """Writes FILE.html and a folder with its pictures and figures, or the figures alone as FILE.json."""
        path = Path(path)
        return super().save(path) if path.suffix.lower() == ".json" else self.write(path)[0]

    def write(self, target: Path, sources: Sequence[Path] = ()) -> list[Path]:
        """Writes the page, and its pictures and `tour.json` into the folder of the same name next to it.

        None of the `sources` is overwritten. Returns the page and the folder.
        """
        folder = checked_folder(target)
        folder.mkdir(exist_ok=True)
        contents = {folder / name: data for name, data in files(self.page).items()}
        contents |= {
            folder / "tour.json": json.dumps(self.facts, indent=1).encode(),
            target: html(self.page).encode(),
        }
        write({check_target(path, sources): iter([data]) for path, data in contents.items()}, target)
        return [target, folder]


def checked_folder(target: Path) -> Path:
    """The folder for the pictures of a page; an error where it cannot be created or written into."""
    folder = target.with_suffix("")
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise BadOption(
            "the page's pictures need a folder of this name, and it is not a folder that can be written into",
            where=f"'{folder}'",
            remedy="name another page with --out",
        )
    return folder


class Stop(NamedTuple):
    """A section to come: its title, what computes it, and how many passes through the network it takes."""

    title: str
    compute: Callable[[], SectionAndFigures]
    passes: int = 0  # 0 where it keeps to the time by itself


def visit(g: Guide, scope: Scope, about: Mapping[str, Any] | None = None, command: str = "") -> Visit:
    """All sections that suit the network, as far as time allows.

    A section that fails is left out, and the page states why. The proofs test `scope`; `about` names the
    model and the file, and `command` repeats the tour.
    """
    began = time.perf_counter()
    shown, missing, late = computed(g, stops_of(g, scope))
    if late:
        left_out = ", ".join(late)
        g.say(f"no time left for {left_out}")
    if PROOFS in late:
        missing[PROOFS_TITLE] = f"there was no time left; --seconds {needed(g)} gives enough"
    shown[PROOFS] = shown.pop(PROOFS, UNPROVED)
    facts = {
        "model": "the network",
        "file": "the given array",
        "kind": g.kind,
        "task": g.task,
        **g.x.identity(),
        **{key: value for key, value in g.x.about().items() if key in HOW_IT_RAN},
        **(about or {}),
        "seconds": round(time.perf_counter() - began, 3),
        **{name: figures for name, (_, figures) in shown.items()},
        "missing": missing,
        "no_time_for": late,
    }
    sections = [section for section, _ in shown.values()]
    page = Page(f"{facts['model']}: a tour", summary(g, facts), sections, table_of(facts), command)
    return Visit(page, facts, missing)


def computed(
    g: Guide, stops: Mapping[str, Stop]
) -> tuple[dict[str, SectionAndFigures], dict[str, str], list[str]]:
    """The sections, why some are missing, and those for which there was no time."""
    shown: dict[str, SectionAndFigures] = {}
    missing: dict[str, str] = {}
    late: list[str] = []
    for name, stop in stops.items():
        g.say(stop.title)
        try:
            if stop.passes and stop.passes * g.pass_seconds > PATIENCE.get(name, 1) * g.effort.left:
                late.append(name)
            else:
                shown[name] = stop.compute()
        except ScopeError as error:
            missing[stop.title] = str(error)
        except Exception as error:  # a fault in onnxscope, which must not take the other sections with it
            missing[stop.title] = f"internal error: {type(error).__name__}: {error}"
    return shown, missing, late


def needed(g: Guide) -> int:
    """About how many seconds a tour with proofs takes."""
    return int(g.effort.seconds - g.effort.left + PASSES[PROOFS] * g.pass_seconds) + 1


def stops_of(g: Guide, scope: Scope) -> dict[str, Stop]:
    """The sections for this kind of network, in order, by their keys in tour.json."""

    def proved() -> SectionAndFigures:
        return proofs(verify_scope(scope, image=g.x.map.fed))

    asked = bool(g.questions) or g.task in ASKED
    whole = not g.questions and g.task not in PLACES
    chosen: dict[str, tuple[str, Callable[[], SectionAndFigures]]] = {PROOFS: (PROOFS_TITLE, proved)}
    if g.task in FOUND:
        chosen["found"] = "what the network finds", lambda: found(g)
    if whole:
        chosen["parts"] = "input, output, residual", lambda: input_and_output(g)
    if asked:
        chosen["answers"] = "the answers", lambda: answers(g)
        chosen["ledger"] = "the ledger by layer", lambda: by_layer(g.answer, 0)
        if g.sizes[0] and g.x.takes_image:
            chosen["rivals"] = "votes and other methods", lambda: by_other_means(g.answer, 0)
    elif g.kind == SCORES:
        chosen["scores"] = "scores and ledger", lambda: highest(g)
        chosen["ledger"] = "the ledger by layer", lambda: by_layer(g)
        if g.explainable:
            chosen["rivals"] = "votes and other methods", lambda: by_other_means(g)
    if whole and g.kind != SCORES:
        chosen["pixels"] = "filters", lambda: single_pixels(g)
    if whole and g.kind == SAME:
        chosen["afar"] = "filters that reach far", lambda: far_away(g)
    if whole:
        chosen["svd"] = "singular triplets", lambda: bases(g)
    return {name: Stop(*stop, PASSES.get(name, 0)) for name, stop in chosen.items()}
