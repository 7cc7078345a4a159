"""All files that an audit leaves behind, by their names, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxscope.audit.evidence.cyclonedx import cyclonedx
from onnxscope.audit.evidence.earlier import history_of
from onnxscope.audit.evidence.intoto import intoto
from onnxscope.audit.evidence.junit import junit
from onnxscope.audit.evidence.page import page
from onnxscope.audit.evidence.sarif import sarif
from onnxscope.audit.evidence.summary import summary
from onnxscope.audit.evidence.table import FILE, table
from onnxscope.audit.evidence.texts import without_infinities
from onnxscope.audit.report import AuditReport
from onnxscope.errors import BadOption
from onnxscope.files import models

SIGNATURE = "audit.sig"


def evidence(report: AuditReport, earlier: Sequence[Mapping[str, Any]] = ()) -> dict[str, bytes]:
    """All files by their names; `earlier` are the audit.json of earlier audits, the oldest first."""
    unknown = {entry.model for entry in report.entries} - {subject.name for subject in report.subjects}
    if unknown:
        raise ValueError(f"entries name models that are no subjects: {sorted(unknown)}")
    history = history_of(earlier)
    report = without_infinities(report)
    return {
        FILE: table(report),
        "audit.html": page(report, history),
        "audit.junit.xml": junit(report),
        "audit.sarif": sarif(report, history),
        "audit.intoto.json": intoto(report),
        "audit.cdx.json": cyclonedx(report),
        "audit.json": summary(report),
    }


def write(folder: Path, report: AuditReport, earlier: Sequence[Mapping[str, Any]] = ()) -> list[Path]:
    """Write all files into a folder, which is made if it is not there.

    Nothing is replaced before all files are whole on the disk. The signature of earlier files is removed, and
    audit.json is replaced last: where it is new, all others are.
    """
    contents, folder = evidence(report, earlier), folder_for(folder)
    targets = {models.check_target(folder / name): iter([data]) for name, data in contents.items()}
    (folder / SIGNATURE).unlink(missing_ok=True)
    models.write(targets, folder)
    return [*targets]


def folder_for(folder: Path) -> Path:
    """The folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise BadOption(
            f"is no folder to write into ({getattr(error, 'strerror', None) or error})",
            where=f"'{folder}'",
            remedy="choose another folder with -o",
        ) from error
    return folder
