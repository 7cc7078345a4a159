"""`audit.junit.xml`: a suite for each model and a case for each check, as CI systems show test results.

What fails here is what stops the audit. A check to be investigated that does not stop it is skipped with its
reason, because a passed case would hide it. A check that is only observed is never a failure; the suite's
output has its figure. The text of a failure repeats its message, as some systems show only one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from onnxscope.audit.evidence.texts import STOPPED, effect, explained, fixed_time, sentence, title
from onnxscope.audit.report import INVESTIGATE, AuditReport, Entry, Subject
from onnxscope.errors import printable

EPOCH = "1970-01-01T00:00:00"  # the schema demands a time; the real ones stand in another file


def junit(report: AuditReport) -> bytes:
    """The outcomes as JUnit XML, in the form of the schema that Ant's reports have."""
    root = ElementTree.Element("testsuites")
    for place, subject in enumerate(report.subjects):
        entries = [entry for entry in report.entries if entry.model == subject.name]
        root.append(suite(report, subject, entries, place))
    ElementTree.indent(root, " ")
    text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


def suite(report: AuditReport, subject: Subject, entries: Sequence[Entry], place: int) -> ElementTree.Element:
    """All checks of one model."""
    name = token(subject.name)
    cases = [case(report, entry, name) for entry in entries]
    time = fixed_time()
    element = ElementTree.Element(
        "testsuite",
        name=name,
        package=token(report.policy),
        id=str(place),
        timestamp=f"{time:%Y-%m-%dT%H:%M:%S}" if time else EPOCH,
        hostname="localhost",
        tests=str(len(cases)),
        failures=str(sum(found.find("failure") is not None for found in cases)),
        errors="0",
        skipped=str(sum(found.find("skipped") is not None for found in cases)),
        time="0",
    )
    properties = ElementTree.SubElement(element, "properties")
    for key, value in facts(report, subject).items():
        ElementTree.SubElement(properties, "property", name=token(key), value=printable(value))
    element.extend(cases)
    observed = [f"observed only: {sentence(entry)}" for entry in entries if entry.observe_only]
    ElementTree.SubElement(element, "system-out").text = "\n".join(observed)
    ElementTree.SubElement(element, "system-err")
    return element


def facts(report: AuditReport, subject: Subject) -> dict[str, str]:
    """What the outcomes of a model depend on."""
    return {
        "policy.sha256": report.policy_sha256,
        "model.sha256": subject.sha256,
        **{f"environment.{name}": value for name, value in report.environment.items()},
    }


def case(report: AuditReport, entry: Entry, model: str) -> ElementTree.Element:
    """One check. Systems list it under `classname`, so that this is the model."""
    element = ElementTree.Element("testcase", name=token(title(entry)), classname=model, time="0")
    if effect(report, entry) == STOPPED:
        found = ElementTree.SubElement(element, "failure", type=entry.outcome, message=sentence(entry))
        found.text = "\n".join(explained(entry))
    elif entry.outcome == INVESTIGATE and not entry.observe_only:
        found = ElementTree.SubElement(element, "skipped", message=f"to be investigated: {sentence(entry)}")
        found.text = "\n".join(explained(entry))
    return element


def token(text: str) -> str:
    """Text for an attribute that must not be empty."""
    return printable(text).strip() or "(no name)"
