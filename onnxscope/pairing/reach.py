"""What a tensor is computed from, and what is computed from it, between tensors that are matched."""

from __future__ import annotations

from collections.abc import Mapping

from onnxscope.pairing.sides import Side

REACH = 24  # the most nodes of B from a matched tensor to one that may be the same as a tensor of A


def origins(name: str, side: Side, groups: Mapping[str, int]) -> frozenset[int]:
    """The groups that a tensor is computed from without passing another group."""
    found, seen, queue = set(), {name}, [name]
    while queue:
        for t in side.carried(side.producers[queue.pop()]):
            if t.name in groups:
                found.add(groups[t.name])
            elif t.name not in seen:
                seen.add(t.name)
                queue.append(t.name)
    return frozenset(found)


def beyond(origins: frozenset[int], b: Side, groups: Mapping[str, int]) -> list[str]:
    """The tensors of B that are not matched and can be reached from these groups, near ones first."""
    edge = [name for name, group in groups.items() if group in origins]
    seen: dict[str, None] = {}
    for _ in range(REACH):
        outputs = dict.fromkeys(t.name for name in edge for n in b.consumers[name] for t in n.outputs)
        edge = [o for o in outputs if o in b.active and o not in seen and o not in groups]
        seen.update(dict.fromkeys(edge))
    return list(seen)
