"""The text of a policy as values: JSON, or YAML without what a reader may not see through."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from onnxscope.errors import BadOption

MOST_BYTES = 1 << 20  # of a policy's file
RESOLVED = {  # plain words that are no texts, as YAML 1.2 has them, with the characters that they begin with
    "null": (r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
}


class Loader(yaml.SafeLoader):
    """Reads YAML 1.2: 1e-4 is a number, and `no` and dates are texts. What hides something is refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise refused(f"the alias *{event.anchor} is not taken, write its value out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise refused(f"the tag {event.tag} is not taken", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        found: dict[str, Any] = {}
        for place, value in node.value:
            key = self.construct_object(place, True)
            if not isinstance(key, str):
                raise refused("a key must be a text", place.start_mark)
            if key in found:
                raise refused(f"the key '{key}' stands there twice", place.start_mark)
            found[key] = self.construct_object(value, True)
        return found

    def construct_yaml_int(self, node: Any) -> int:
        return int(self.construct_scalar(node))


Loader.yaml_implicit_resolvers = {}  # those of YAML 1.1 take more words for numbers and dates
Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_mapping)
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
for _name, (_pattern, _first) in RESOLVED.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^{_pattern}$"), _first)


def refused(cause: str, mark: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=cause, problem_mark=mark)


def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object; a key that stands there twice would hide a check."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' stands there twice")
        found[key] = value
    return found


def parse(file: Path) -> tuple[Any, bytes]:
    """What a file states, and its bytes."""
    where = f"'{file}'"
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise BadOption(f"cannot be read ({cause})", where=where, remedy="name a policy") from error
    if len(data) > MOST_BYTES:
        cause = f"is larger than the {MOST_BYTES >> 20} MiB that a policy can have"
        raise BadOption(cause, where=where, remedy="name a policy, and its files by patterns")
    kind = "JSON" if file.suffix.lower() == ".json" else "YAML"
    try:
        text = data.decode()
        if kind == "JSON":
            return json.loads(text, object_pairs_hook=unique), data
        return yaml.load(text, Loader), data
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadOption(
            f"cannot be read as {kind}: {cause_of(error)}", where=where, remedy="correct it"
        ) from error


def cause_of(error: Exception) -> str:
    """What is wrong, with the line where the error names one."""
    if isinstance(error, RecursionError):
        return "its parts are nested too deeply"
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {getattr(error, 'problem', error)}" if mark else str(error)
