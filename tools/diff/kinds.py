"""What a kind of fault is: an edit of one node, the networks it is tried on, and the names that are right answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from diff.graph import Graph, layer_of, name_of

CONVOLUTIONS = ("scenes_vgg", "scenes_resnet", "edsr_small", "scenes_vgg_bn", "pixelshuffle_small_torch")
CLASSIFIERS = ("scenes_vgg", "scenes_resnet_torch", "scenes_vgg_bn")
QUANTIZED = ("scenes_resnet_int8", "pixelshuffle_small_int8", "scenes_vgg_qdq")


STYLES = ("chain", "residual", "branches", "plain")


def hosts(*middles: str) -> tuple[str, ...]:
    """The random networks around an operator."""
    return tuple(f"{style}_{middle}" for style in STYLES for middle in middles)


@dataclass(frozen=True)
class Done:
    """What an edit did: a sentence, and the nodes of A and of B that may be named for it."""

    fault: str
    a: Sequence[str]
    b: Sequence[str]
    exact: str = ""  # the very node


Edit = Callable[[Graph, onnx.NodeProto, np.random.Generator], Done | None]


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    name: str
    operators: tuple[str, ...]
    networks: tuple[str, ...]
    edit: Edit
    visible: float = 1e-3  # of the largest output value: the least change that counts


def at(graph: Graph, node: onnx.NodeProto, fault: str) -> Done:
    """The fault lies in a node that both files have."""
    names = layer_of(graph, [node])
    return Done(f"{name_of(node)}: {fault}", names, names, name_of(node))


def removed(graph: Graph, node: onnx.NodeProto, fault: str) -> Done | None:
    """Remove a node; in B the layer before it, which now lacks it, may be named."""
    before = graph.producer(node.input[0])
    names = layer_of(graph, [before]) if before else []
    if not graph.bypass(node):
        return None
    return Done(f"{name_of(node)}: {fault}", [name_of(node)], names, name_of(node))
