"""Sessions on one network or on parts of both, which share large weights and run for any number of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.files.models import without_weights
from onnxscope.graph.ends import named
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor
from onnxscope.pairing.sides import Arrays, Side
from onnxscope.runtime import Session, Value, from_ort_value, ort_value

Values = Mapping[str, Value]


class Sessions:
    """Opens graphs. Their large weights are held once."""

    def __init__(self) -> None:
        self._weights: dict[str, Value] = {}

    def open(self, graph: gs.Graph) -> Session:
        model, large = without_weights(graph)
        constants = {t.name: t for n in graph.nodes for t in n.inputs if isinstance(t, gs.Constant)}
        self._weights.update((n, ort_value(constants[n].values)) for n in large if n not in self._weights)
        return Session(model, weights={n: self._weights[n] for n in large})


class OpenSide:
    """One network, which computes the tensors that are asked for. They stay where the runtime put them."""

    def __init__(self, side: Side, sessions: Sessions | None = None) -> None:
        self.side, self.sessions = side, sessions or Sessions()
        self._wanted: set[str] = set()
        self._running: Session | None = None

    def at(self, fed: Arrays) -> AtImage:
        return self.at_values({n: ort_value(np.ascontiguousarray(v)) for n, v in fed.items()})

    def at_values(self, fed: Values) -> AtImage:
        return AtImage(self, fed)

    def tensor(self, name: str) -> Tensor:
        return named(self.side.b, name)

    def want(self, names: Iterable[str]) -> None:
        """These tensors will be read, too."""
        if not self._wanted.issuperset(names):
            self._wanted.update(names)
            self._running = None

    def run(self, fed: Values) -> Values:
        """The wanted values for these inputs."""
        made = sorted(self._wanted.difference(fed))
        if self._running is None and made:
            graph = self.side.b.graph
            tensors = {t.name: t for n in graph.nodes for t in n.outputs}
            self._running = self.sessions.open(part(graph, [tensors[n] for n in made]))
        found = self._running.on_values({n: fed[n] for n in self._running.inputs}) if self._running else {}
        return {**fed, **found}


class AtImage:
    """The values of one network for one image, computed when they are first read."""

    def __init__(self, network: OpenSide, fed: Values) -> None:
        self.network, self.fed = network, fed
        self._values: Values = fed

    def values(self, names: Iterable[str]) -> Values:
        names = list(names)
        self.network.want(names)
        if any(n not in self._values for n in names):
            self._values = self.network.run(self.fed)
        return self._values

    def array(self, name: str) -> np.ndarray:
        return from_ort_value(self.values([name])[name])
