"""`audit.intoto.json`: which files were tested by which policy with which result, as an in-toto statement."""

from __future__ import annotations

from onnxscope.audit.evidence.texts import PASSED, STOPPED, WARNED, effect, json_bytes, set_digest, title
from onnxscope.audit.report import AuditReport
from onnxscope.errors import printable

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"


def intoto(report: AuditReport) -> bytes:
    """The statement, without a signature. A file that could not be read has no digest and is no subject."""
    tests: dict[str, list[str]] = {PASSED: [], WARNED: [], STOPPED: []}
    for entry in report.entries:
        tests[effect(report, entry)].append(f"{printable(entry.model)}: {title(entry)}")
    digests: dict[str, str] = {}
    for subject in report.subjects:
        digests |= {subject.name: subject.sha256, **subject.files}
    passed = tests[PASSED] and not tests[WARNED]  # a test that judged nothing has not passed
    configuration = {report.policy_file: report.policy_sha256}
    configuration |= report.further
    configuration |= {f"images:{name}": set_digest(files) for name, files in report.images.items()}
    return json_bytes(
        {
            "_type": STATEMENT,
            "subject": descriptors(digests),
            "predicateType": PREDICATE,
            "predicate": {
                "result": "FAILED" if tests[STOPPED] or report.stops else "PASSED" if passed else "WARNED",
                "configuration": descriptors(configuration),
                "passedTests": tests[PASSED],
                "warnedTests": tests[WARNED],
                "failedTests": tests[STOPPED],
            },
        }
    )


def descriptors(digests: dict[str, str]) -> list[dict[str, object]]:
    """Files by their names and digests, as in-toto describes them."""
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in digests.items() if digest]
