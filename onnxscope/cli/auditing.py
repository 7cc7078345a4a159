"""The verb audit, which holds models against a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxscope.cli.groups import command
from onnxscope.cli.options import FELL_SHORT, AsJson, DeviceName, parse_bytes
from onnxscope.cli.printing import counting, print_facts, print_json, print_table, printing, working
from onnxscope.cli.spreading import WorkerCount
from onnxscope.errors import BadOption, printable

if TYPE_CHECKING:
    from onnxscope.audit.answers import Resources
    from onnxscope.audit.report import AuditReport, Entry

PolicyFile = Annotated[Path | None, typer.Argument(metavar="POLICY", help="The policy, a YAML or JSON file.")]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="The folder of the evidence. [default: POLICY.audit]"),
]
ShowSchema = Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of policies, and stop.")]
Init = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="MODELS IMAGES",
        help="Measure these models (a pattern) on these pictures (a folder), and write a POLICY whose bounds "
        "hold today.",
    ),
]
Earlier = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE", help="The audit.json of an earlier run, for trends; the oldest first. Repeatable."
    ),
]
Sign = Annotated[
    Path | None,
    typer.Option(
        metavar="KEY",
        help="Sign the evidence, which has the digests of the models, with this private key (PEM).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The options about where work is done."""

    on: Annotated[
        str,
        typer.Option(
            metavar="local|ray|dask",
            help="Where workers run: in processes here, in Ray or in Dask; an address may follow, as in "
            "dask:tcp://host:8786.",
        ),
    ] = "local"
    workers: WorkerCount = 0
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="How many threads each worker uses.")] = 1
    device: DeviceName = "cpu"
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="The most memory that the process of a model may take.")
    ] = "8GB"
    seconds: Annotated[
        float, typer.Option(metavar="S", min=1, help="How long a model may take for one picture.")
    ] = 600.0

    def resources(self) -> Resources:
        from onnxscope.audit.answers import Resources

        memory = parse_bytes(self.memory)
        return Resources(self.on, self.workers, self.threads, self.device, memory, self.seconds)


@command
def audit(
    workers: Workers,
    policy: PolicyFile = None,
    out: OutFolder = None,
    earlier: Earlier = None,
    sign: Sign = None,
    init: Init = None,
    schema: ShowSchema = False,
    as_json: AsJson = False,
) -> None:
    """Hold models against a policy: checks with bounds on models and pictures, three outcomes, and evidence.

    Each model is opened in a process with limits. The evidence is written into the folder DIR, as
    audit.json, .parquet, .html, .junit.xml, .sarif, .intoto.json and .cdx.json. The exit code is 1 if a check
    fails or must be investigated.

    \b
    Example:
      onnxscope audit policy.yaml -o evidence
    """
    from onnxscope.audit.schema import POLICY

    if schema:
        with printing():
            print_json(dict(POLICY))
        return
    if init is not None:
        begin(policy or Path("policy.yaml"), init, workers.resources(), as_json)
        return
    if policy is None:
        raise BadOption("no policy is named", where="audit", remedy="name one, or write one with --init")
    report, written = audited(policy, workers.resources(), out, Further(earlier or [], sign))
    with printing():
        if as_json:
            typer.echo(written[0].read_text(encoding="utf-8"), nl=False)
        else:
            show(report, written)
    raise typer.Exit(FELL_SHORT if report.stops else 0)


def begin(policy: Path, init: tuple[str, str], resources: Resources, as_json: bool) -> None:
    """Write a first policy."""
    from onnxscope.audit.starting import start

    with working(f"measuring {init[0]}"):
        report = start(policy, *init, resources)
    facts = {"written": str(policy), "models": len(report.subjects), "checks": len(report.entries)}
    print_facts(facts, [("written", str(policy))], as_json)


@dataclass(frozen=True)
class Further:
    """Earlier reports, and the key to sign with."""

    earlier: list[Path]
    key: Path | None


def audited(
    policy: Path, resources: Resources, out: Path | None, further: Further
) -> tuple[AuditReport, list[Path]]:
    """Run the audit and write its evidence."""
    from onnxscope.audit.evidence import signing
    from onnxscope.audit.evidence.files import folder_for, write
    from onnxscope.audit.policy import read
    from onnxscope.audit.running import Auditor, read_report

    if further.key is not None:
        signing.check_can_sign(further.key)
    before = [read_report(file) for file in further.earlier]
    stated = read(policy)
    auditor = Auditor(stated, resources)
    folder = folder_for(out or policy.with_suffix(".audit"))
    journal = folder / ".audit.journal"
    with counting("models") as progress:
        report = auditor.report(journal, progress)
    written = write(folder, report, before)
    written = [*reversed(written), auditor.times.write(folder / "audit.times.json", written)]
    if further.key is not None:
        written.append(signing.sign(folder, further.key))
    journal.unlink(missing_ok=True)  # all that it holds is written
    return report, written


def show(report: AuditReport, written: list[Path]) -> None:
    """Print what did not pass, and the verdict."""
    rows = [
        [e.outcome, e.model, titled(e), figure(e.figure), e.bound, why(e)]
        for e in report.entries
        if e.outcome != "pass" and not e.observe_only
    ]
    if rows:
        print_table(["outcome", "model", "check", "figure", "bound", "why"], rows)
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
    typer.echo(f"{report.verdict}: {counts}")
    typer.echo(f"written {printable(', '.join(map(str, written)))}")


def titled(entry: Entry) -> str:
    """A check's name with the slice that it is judged on."""
    return f"{entry.check} ({entry.slice})" if entry.slice else entry.check


def why(entry: Entry) -> str:
    """The layer that the worst value points to, and what is known of it."""
    return "; ".join(filter(None, [entry.layer and f"layer {entry.layer}", entry.note]))


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
