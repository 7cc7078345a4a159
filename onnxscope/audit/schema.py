"""The schema of policies, as JSON Schema, and the check of a policy against it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Any

from onnxscope.ask.explain import EXPLANATIONS
from onnxscope.ask.presets import AUTO
from onnxscope.ask.tasks import TASKS
from onnxscope.ask.trials import MAPS
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.report import LEVELS, OUTCOMES, PASS
from onnxscope.errors import BadOption
from onnxscope.files.preprocessing import PRESETS
from onnxscope.version import VERSION

Schema = Mapping[str, Any]
STATISTICS = ("mean", "median", "least", "most")
METHODS = sorted({*EXPLANATIONS, *MAPS})
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def number(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "number", "description": description, **more}


def yes_or_no(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


def several(description: str, items: Schema | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items or {"type": "string"}, "description": description, **more}


def named(description: str, values: Schema, **more: Any) -> dict[str, Any]:
    """An object with names of the user's own."""
    whole = {"type": "object", "additionalProperties": values, "propertyNames": {"minLength": 1}}
    return {**whole, "description": description, **more}


def fixed(
    description: str, properties: Schema, required: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
        "description": description,
        **more,
    }


OPENED = {
    "labels": text("a text file with the names of the scores, one on each line"),
    "preset": text("the preprocessing of pictures", enum=[AUTO, *PRESETS]),
    "layout": text("the order of an image's axes", enum=["auto", "nchw", "nhwc"]),
    "task": text("what the network gives, where it is not recognised", enum=list(TASKS)),
    "image_input": text("the tensor that is the image"),
    "output": text("the tensor to explain"),
    "input_shape": named(
        "shapes of inputs whose sizes the model leaves free",
        several("sizes", {"type": "integer", "minimum": 1}),
    ),
    "inputs": several("values of further inputs, as NAME=VALUE or NAME=FILE"),
    "opaque": several("nodes or operators that are taken as constant decisions"),
}
MODELS = fixed(
    "models that are opened alike",
    {
        "files": several("paths and patterns such as models/*.onnx", minItems=1),
        "except": several("paths and patterns of models that are left out"),
        "images": several("the sets of pictures that these models are audited on; all, if it is left out"),
        **OPENED,
    },
    ("files",),
)
IMAGES = fixed(
    "a folder of pictures NAME.png, with masks NAME.mask.png of their objects if there are any",
    {
        "folder": text("the folder"),
        "files": several("patterns of names; all pictures, if it is left out"),
        "count": {"type": "integer", "minimum": 1, "description": "only the first so many pictures"},
        "labels": text(
            "the true classes: a CSV file with the columns picture and label, or 'names' where a picture's "
            "name begins with its label, as in dog-3.png"
        ),
    },
    ("folder",),
)
SLICE = fixed(
    "a part of the pictures that checks are also judged on; a picture belongs to it if all of these hold",
    {
        "pictures": several("patterns of names"),
        "labels": several("true classes"),
        "mask_share": fixed(
            "the share of the picture that the object's mask covers",
            {"least": number("at least"), "most": number("at most")},
        ),
    },
)
BASELINE = fixed(
    "what a check compares with: another model, or an earlier report",
    {
        "model": text(
            "a model; of several with the same name as the audited one, as in floats/*.onnx, that one"
        ),
        "report": text("the audit.json of an earlier run"),
    },
    minProperties=1,
)
SETTINGS = fixed(
    "further settings of the measure",
    {
        "tolerance": number("of largest-gain: the residual at which it is taken", minimum=1e-12, maximum=1),
        "levels": number("of fgsm-flips: the change of each pixel, of 255", minimum=0, maximum=255),
        "allowed": several("of other-operators: the only operators that may be there", minItems=1),
        "forbidden": several("of other-operators: the operators that may not be there", minItems=1),
        "methods": several(
            "of agreement: the methods whose maps are compared",
            {"type": "string", "enum": METHODS},
            minItems=2,
        ),
    },
)
CHECK = fixed(
    "a measure with a bound",
    {
        "measure": text("what is measured", enum=sorted(MEASURES)),
        "least": number("the least value that is good"),
        "most": number("the largest value that is good"),
        "of": text("the figure of many values that is judged (mean)", enum=list(STATISTICS)),
        "hold": number(
            "judge each picture by the bound: at least this share of them must be within it",
            minimum=0,
            maximum=1,
        ),
        "worse_by": number("the most by which the figure may be worse than that of the baseline's report"),
        "method": text("the explanation method whose maps are measured", enum=METHODS),
        "than": text(
            "another method: what is measured is by how much the map is better than that one's", enum=METHODS
        ),
        "question": text("what is asked of the network, such as class:dog"),
        "settings": SETTINGS,
        "models": several("groups of models; all, if it is left out"),
        "images": several("sets of pictures; all, if it is left out"),
        "pictures": {"type": "integer", "minimum": 1, "description": "only the first so many of each set"},
        "slices": several("slices that the check is judged on, too; all, if it is left out"),
        "baseline": text("the name of the baseline that is compared with"),
        "means": text("what a failure means, for those who read the report"),
        "level": text("how serious a failure is", enum=list(LEVELS)),
        "observe_only": yes_or_no("report the figure, but never fail"),
    },
    ("measure",),
)
POLICY: Schema = {
    "$schema": DRAFT,
    "$id": f"https://onnxscope.example/policy-{VERSION}.json",
    "title": "onnxscope audit policy",
    **fixed(
        "What is audited: models, pictures, and checks with bounds. Paths start at the policy's folder.",
        {
            "name": text("the name of the policy"),
            "models": named("groups of models by name", MODELS, minProperties=1),
            "images": named("sets of pictures by name", IMAGES),
            "questions": several(
                "questions that ledgers are asked; what suits the network, if it is left out", minItems=1
            ),
            "slices": named("parts of the pictures by name", SLICE),
            "baselines": named("what checks compare with, by name", BASELINE),
            "checks": named("checks by name", CHECK, minProperties=1),
            "stops_on": several(
                "the outcomes that end the audit with exit code 1; fail and investigate, if it is left out",
                {"type": "string", "enum": [o for o in OUTCOMES if o != PASS]},
            ),
            "seed": {"type": "integer", "minimum": 0, "description": "of random numbers"},
        },
        ("models", "checks"),
    ),
}
KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
ARTICLES = {
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def check(value: Any, schema: Schema, where: str, file: str) -> None:
    """Refuse a value that does not fit the schema; what is unknown is told with the nearest known name."""
    kind = schema.get("type")
    if kind and (not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        raise wrong(file, where, f"must be {ARTICLES[kind]}, not {value!r}")
    if (allowed := schema.get("enum")) and value not in allowed:
        raise wrong(file, where, f"there is no '{value}'", nearest(str(value), allowed))
    if isinstance(value, (int, float)):
        check_number(value, schema, where, file)
    elif isinstance(value, list):
        if len(value) < (least := schema.get("minItems", 0)):
            raise wrong(file, where, f"must have at least {least} values" if value else "must not be empty")
        for k, item in enumerate(value):
            check(item, schema.get("items", {}), f"{where}[{k}]", file)
    elif isinstance(value, dict):
        check_keys(value, schema, where, file)


def check_number(value: float, schema: Schema, where: str, file: str) -> None:
    if not abs(value) <= sys.float_info.max:
        raise wrong(file, where, "must be a finite number")
    least, most = schema.get("minimum"), schema.get("maximum")
    if (least is not None and value < least) or (most is not None and value > most):
        sides = [f"at least {least}"] * (least is not None) + [f"at most {most}"] * (most is not None)
        raise wrong(file, where, f"must be {' and '.join(sides)}, not {value}")


def check_keys(value: Mapping[str, Any], schema: Schema, where: str, file: str) -> None:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    if len(value) < schema.get("minProperties", 0):
        raise wrong(file, where, "must not be empty")
    for key, item in value.items():
        place = f"{where}.{key}" if where else key
        if len(key) < schema.get("propertyNames", {}).get("minLength", 0):
            raise wrong(file, where, "a name must not be empty")
        if key not in known and others is False:
            raise wrong(file, place, "there is no such key", nearest(key, known))
        check(item, known.get(key, others), place, file)
    for key in schema.get("required", ()):
        if key not in value:
            raise wrong(file, where, f"'{key}' is missing")


def nearest(name: str, known: Any) -> str:
    """Which known name may be meant, and all of them."""
    close = difflib.get_close_matches(name, list(known), 1, 0.5)
    meant = f"did you mean '{close[0]}'? " if close else ""
    return f"{meant}The names here are {', '.join(known)}"


def wrong(file: str, where: str, cause: str, remedy: str = "see 'onnxscope audit --schema'") -> BadOption:
    return BadOption(f"{where}: {cause}" if where else cause, where=f"'{file}'", remedy=remedy)
