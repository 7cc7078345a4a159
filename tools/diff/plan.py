"""The pairs of exports: which families, and how each side of a pair is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from onnxruntime.quantization import QuantFormat

from diff.exports import Export, NoTruth, dynamo, torchscript
from diff.forms import folded, halved, levels, optimised, quantized, with_softmax
from diff.layers import Network
from diff.layouts import channels_last
from diff.names import scrambled

# A side: an exporter with its opset (ts: TorchScript, dy: dynamo; pts: BatchNormalizations kept), then what is done to it.
FORMS: dict[str, Callable[[Export, Network], Export]] = {
    "nhwc": lambda export, network: channels_last(export, tidy=False),
    "nhwct": lambda export, network: channels_last(export, tidy=True),
    "basic": optimised("basic"),
    "extended": optimised("extended"),
    "qdq": quantized(QuantFormat.QDQ, per_channel=False),
    "qdqc": quantized(QuantFormat.QDQ, per_channel=True),
    "qop": quantized(QuantFormat.QOperator, per_channel=False),
    "qopc": quantized(QuantFormat.QOperator, per_channel=True),
    "fp16": halved(keep=False),
    "fp16io": halved(keep=True),
    "softmax": with_softmax,
    "levels": levels,
    "folded": folded,
    "random": lambda export, network: scrambled(export, "random"),
    "nameless": lambda export, network: scrambled(export, "nameless", nameless=True),
}
PAIRS = """
vgg ts17 dy20+random
vgg ts9 ts20
vgg ts17 pts17+random
vgg ts17 ts17+nhwct+random
vgg ts13 ts13+extended
vgg dy18 ts17+qdq+random
vgg ts17 ts17+qopc
vgg pts17 dy20+fp16io+random
vgg ts17 dy18+softmax+nameless
vgg ts17 ts17+folded+random
vgg ts17+qdqc ts17+qopc+random
resnet ts17 dy25+nameless
resnet ts11 ts20+random
resnet pts13 ts13
resnet ts17 dy18+nhwc+random
resnet pts17 pts17+nhwct
resnet ts17 ts17+basic+random
resnet pts17 dy20+extended
resnet ts17 ts17+qdqc+random
resnet ts13 ts13+qop+random
resnet pts17 dy20+qdq+extended
resnet ts17 dy18+fp16+nameless
resnet_normalised ts17 ts17+levels
resnet dy20+nameless ts17+nhwct+fp16+random
mobilenet ts17 dy20+random
mobilenet ts9 ts17
mobilenet ts17 pts17+random
mobilenet ts13 dy18+nhwct
mobilenet ts17 ts17+extended+random
mobilenet ts17 ts17+qdqc
mobilenet ts13 ts17+qopc+nameless
mobilenet dy20 dy20+fp16io
mobilenet ts17 ts17+softmax+random
mobilenet pts17 ts17+nhwct+qdqc+random
mobilenet dy20+fp16 ts17+qdqc+nameless
efficientnet ts17 dy20
efficientnet ts11 dy25+random
efficientnet pts17 ts17+nhwc+random
efficientnet ts17 ts17+extended
efficientnet ts17 dy18+qdqc+random
efficientnet ts17 ts17+fp16
unet ts17 dy20+random
unet ts9 ts20+nameless
unet ts17 ts17+nhwct+random
unet pts17 ts17+basic
unet ts17 ts17+qdq+random
unet ts13 ts13+qopc
unet ts17 dy18+fp16io+random
unet ts17 dy18+nhwc+qdq+random
edsr ts17 dy20+nameless
edsr ts9 ts20+random
edsr ts17 ts17+nhwc
edsr ts17 ts17+extended+random
edsr ts17 ts17+qdqc
edsr ts13 ts13+qop+random
edsr dy18 dy18+fp16
cyclegan ts17 dy20+random
cyclegan ts11 ts20
cyclegan dy18 dy18+nhwct+random
cyclegan dy18 ts17+extended+random
cyclegan dy18 dy18+qdqc
cyclegan dy18 dy18+fp16+random
cyclegan ts11+nameless dy25+random
cyclegan_normalised dy18 dy18+folded+random
yolo ts17 dy20+random
yolo ts9 ts20+nameless
yolo pts17 ts17+nhwct+random
yolo ts17 ts17+extended
yolo ts17 dy25+random
yolo ts17 ts17+qdqc+random
yolo ts13 ts13+qop
yolo ts17 dy18+fp16
yolo dy20 ts17+nhwct+qdqc+random
vit ts17 dy18+random
vit ts13 ts20
vit ts9 dy25+nameless
vit ts17 ts17+nhwct
vit ts17 ts17+extended+random
vit ts13 dy18+extended
vit ts17 ts17+qdqc+random
vit dy20 dy20+fp16
vit dy20 ts17+qdqc+extended+random
vit_whole ts17 dy25+random
"""


def pairs() -> list[tuple[str, str, str]]:
    """The family, and how A and B are made."""
    return [(f, a, b) for f, a, b in (line.split() for line in PAIRS.split("\n") if line)]


def exported(network: Network, side: str) -> Export:
    """One side of a pair."""
    first, *forms = side.split("+")
    found = re.fullmatch(r"(p?ts|dy)(\d+)", first)
    if found is None or not set(forms) <= FORMS.keys():
        raise NoTruth(f"'{side}' is no way to make a file")
    way, opset = found[1], int(found[2])
    make = dynamo if way == "dy" else partial(torchscript, preserve=way == "pts")
    export = make(network, opset)
    for form in forms:
        export = FORMS[form](export, network)
    return export
