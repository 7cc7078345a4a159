"""Installed versions of the packages that parse files, and the published faults that they have.

The table names faults that the oldest supported versions may have. NumPy has none since version 2.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Advisory:
    """A published fault of a package."""

    packages: Sequence[str]  # the names under which it is installed
    fixed: Sequence[str]  # the versions that mended it, the newest line last
    name: str
    what: str


ADVISORIES = (
    Advisory(("onnx",), ("1.21.0",), "CVE-2026-27489", "reads files outside of the model's folder by links"),
    Advisory(("onnx",), ("1.21.0",), "CVE-2026-34445", "keys in a model overwrite its own attributes"),
    Advisory(("onnx",), ("1.21.0",), "CVE-2026-34446", "reads files by hard links"),
    Advisory(("onnx",), ("1.21.0",), "CVE-2026-34447", "reads files by links of folders"),
    Advisory(ONNXRUNTIME, ("1.28.3", "1.30.1"), "onnxruntime #32609", "reads out of bounds in Loop and Scan"),
    Advisory(ONNXRUNTIME, ("1.28.3", "1.30.1"), "onnxruntime #32611", "writes beyond a buffer"),
    Advisory(("pillow",), ("12.2.0",), "CVE-2026-40192", "FITS files without end"),
    Advisory(("pillow",), ("12.3.0",), "CVE-2026-59199", "writes beyond a picture"),
    Advisory(("pillow",), ("13.0.0",), "CVE-2026-112403", "writes beyond a buffer in JPEG files"),
    Advisory(("protobuf",), ("5.29.6", "6.33.5"), "CVE-2026-0994", "JSON that is nested without end"),
)


def known_faults() -> list[str]:
    """A sentence for each installed package that has published faults, with the version to install."""
    found: dict[tuple[str, str], list[Advisory]] = defaultdict(list)
    for advisory in ADVISORIES:
        for package in advisory.packages:
            version = installed(package)
            if version and has_fault(version, advisory.fixed):
                found[package, version].append(advisory)
    return [
        f"{package} {version} has published faults: "
        + ", ".join(f"{a.name} ({a.what})" for a in advisories)
        + f"; install {max((a.fixed[-1] for a in advisories), key=numbers_of)} or newer"
        for (package, version), advisories in found.items()
    ]


def installed(package: str) -> str:
    """The installed version of a package; empty if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def has_fault(version: str, fixed: Sequence[str]) -> bool:
    """Whether a version is older than the newest line's fix, and is not a mended version of an older line."""
    own = numbers_of(version)
    mended = any(own[:2] == numbers_of(f)[:2] and own >= numbers_of(f) for f in fixed)
    return own < numbers_of(fixed[-1]) and not mended


def numbers_of(version: str) -> tuple[int, ...]:
    """The numbers of a release, such as (1, 28, 3)."""
    start = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(n) for n in start[0].split(".")) if start else ()
