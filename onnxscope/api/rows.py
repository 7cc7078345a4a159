"""What a comparison found for each image, kept in a file as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxscope.errors import BadOption
from onnxscope.pairing.shares import Share


@dataclass(frozen=True)
class Row:
    """What a comparison found for one image."""

    image: str
    question: str
    asked: str
    value_a: float
    value_b: float
    noise: float
    same: bool
    in_filter: float
    remainder: float
    first_wrong: Mapping[str, Any] | None
    changed: float | None  # the share of the decisions that are other ones: 0 or 1 for a class
    divergence: float | None  # Kullback–Leibler, from A's probabilities to B's
    shares: list[Share]

    @classmethod
    def read(cls, line: str) -> Row:
        found = json.loads(line)
        return cls(**{**found, "shares": [Share(**s) for s in found["shares"]]})


class Rows:
    """A file of rows. A run that was killed goes on behind the last whole line."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """`about` tells what is compared; rows of another comparison are refused."""
        self.path = path
        head = json.dumps({"onnxscope": "diff", **about})
        try:
            kept = path.read_bytes() if path.exists() else b""
            whole = kept[: kept.rfind(b"\n") + 1]
            if whole and whole.split(b"\n", 1)[0].decode() != head:
                raise BadOption(
                    "holds rows of another comparison", where=f"'{path}'", remedy="name another file"
                )
            with path.open("wb" if not whole else "r+b") as file:
                file.truncate(len(whole))
                if not whole:
                    file.write(head.encode() + b"\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadOption(
                "cannot be used as a file of rows", where=f"'{path}'", remedy="name another file"
            ) from error

    def __iter__(self) -> Iterator[Row]:
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield Row.read(line)

    def add(self, row: Row) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
