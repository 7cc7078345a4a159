"""Files without the names that exporters give: random ones or none, and nodes in another order."""

from __future__ import annotations

import random
from dataclasses import replace

import onnx

from diff.exports import Export

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def scrambled(export: Export, seed: str, nameless: bool = False) -> Export:
    """All nodes and tensors renamed at random, the nodes in another order; `nameless` leaves nodes without names."""
    rng = random.Random(seed)
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    graph = model.graph
    new: dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        if name not in new:
            new[name] = "t" + "".join(rng.choices(LETTERS, k=8))
        return new[name]

    for node in graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        node.name = "" if nameless else "n" + "".join(rng.choices(LETTERS, k=8))
    for held in (*graph.input, *graph.output, *graph.initializer):
        held.name = renamed(held.name)
    graph.name = "graph"
    shuffle(graph, rng)
    layers = {renamed(name): found for name, found in export.layers.items()}
    return replace(export, model=model, layers=layers)


def shuffle(graph: onnx.GraphProto, rng: random.Random) -> None:
    """Put nodes in a random order in which they can run, and initializers in any."""
    waiting = list(graph.node)
    made = {name for n in waiting for name in n.output}
    done: set[str] = {""}
    order: list[onnx.NodeProto] = []
    while waiting:
        ready = [k for k, n in enumerate(waiting) if all(i in done or i not in made for i in n.input)]
        node = waiting.pop(rng.choice(ready))
        order.append(node)
        done |= set(node.output)
    weights = list(graph.initializer)
    rng.shuffle(weights)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in order]
    tensors = [onnx.TensorProto.FromString(t.SerializeToString()) for t in weights]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(copies)
    graph.initializer.extend(tensors)
