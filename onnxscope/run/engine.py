"""The engine runs a scope's programs on one device. For each image it gives F, a linear map, and r."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, OutOfMemory
from onnxscope.files.models import without_weights
from onnxscope.graph.decisions import note_of
from onnxscope.graph.ends import find_image
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor
from onnxscope.linear.linear_map import ArraySpace, Block, Space
from onnxscope.rewriting.scope import COTANGENT, FROZEN, LEDGER, PROBE, TRANSPOSED, Scope
from onnxscope.run.batch_size import MOST_PROBES, batch_size
from onnxscope.run.channel_blocks import blocked_session
from onnxscope.run.decided import refuse_other_decision
from onnxscope.run.device_space import ValueSpace
from onnxscope.run.feeds import Arrays, feeds
from onnxscope.run.programs import Program, Programs, tensor_bytes
from onnxscope.runtime import Binding, Device, Session, Value, device, from_ort_value, no_memory, ort_value

DEFAULT_MEMORY = 2_000_000_000  # bytes
REPEATED = {
    "linear",
    "transpose",
    "ledger",
}  # programs that run often, whose session may take longer to build
log = logging.getLogger("onnxscope")


@dataclass(frozen=True)
class Running:
    """Where programs run, and with which limits."""

    device: str = "auto"  # auto, cpu or cuda
    threads: int = 0  # of the CPU; 0 for one on each core
    tf32: bool = False  # whether CUDA may round the operands of products to TF32
    memory: int = DEFAULT_MEMORY  # the most bytes that the states and a batch of probes may take together
    stateless: bool = False  # keep no states, and run the base again with every batch of probes

    def engine(self, scope: Scope) -> Engine:
        """An engine for a scope on the chosen device."""
        on = device(self.device, threads=self.threads, tf32=self.tf32)
        return Engine(scope, on, memory=self.memory, stateless=self.stateless)


class Engine:
    """A scope on a device. Its sessions are built when they are first needed, and are used for all images."""

    def __init__(
        self, scope: Scope, on: Device, *, memory: int = DEFAULT_MEMORY, stateless: bool = False
    ) -> None:
        self.scope = replace(scope, original=None)  # its weights are not needed, as the graph has them
        self.on, self.memory = on, memory
        for constant in (t for t in scope.graph.tensors().values() if isinstance(t, gs.Constant)):
            constant.values  # noqa: B018 - reads the values from the file, once for all programs
        self.programs = Programs(scope, stateless=stateless)
        # what the user should know
        self.notes: list[str] = [note_of(scope.decided)] if scope.decided else []
        self._weights: dict[str, Value] = {}  # large ones, which sessions share
        self._sessions: dict[str, Session] = {}

    def session(self, program: Program) -> Session:
        """The session of a program."""
        if program.name not in self._sessions:
            model, large = without_weights(program.graph)
            constants = {
                t.name: t for n in program.graph.nodes for t in n.inputs if isinstance(t, gs.Constant)
            }
            self._weights.update((n, ort_value(constants[n].values)) for n in large if n not in self._weights)
            weights = {n: self._weights[n] for n in large}
            if program.name in REPEATED and self.on.name == "cpu" and not self.programs.stateless:
                session = blocked_session(model, weights, program.graph, self.on)
            else:
                session = Session(model, on=self.on, weights=weights)
            self._sessions[program.name] = session
        return self._sessions[program.name]

    def about(self) -> dict[str, object]:
        """Where and how the programs ran: facts that are added to every result."""
        left = {name: s.left_to_cpu for name, s in self._sessions.items() if s.left_to_cpu}
        return {
            "device": self.on.name,
            "device_note": self.on.why,
            "precision": self.on.precision,
            "left_to_cpu": left,
            "stateless": self.programs.stateless,
            "memory": self.memory,
            "notes": list(self.notes),
        }

    def warn(self, text: str) -> None:
        """Log a warning, and keep it as a note for all results."""
        log.warning(text)
        self.notes.append(text)

    @cached_property
    def inputs(self) -> list[Tensor]:
        """The inputs of the model itself, without the scope's probe and cotangent."""
        return [t for t in self.scope.graph.inputs if t.name not in (PROBE, COTANGENT)]

    @cached_property
    def image_input(self) -> Tensor:
        """The input that a single array is given to: the image, or what the image is computed from."""
        own = [t for t in self.inputs if t.name == self.scope.image]
        if own:
            return own[0]
        read = part(self.scope.graph, [self.scope.tensor(self.scope.image)]).inputs
        return read[0] if len(read) == 1 else find_image(self.scope.base(), None)

    @property
    def takes_image(self) -> bool:
        """Whether the image is an input of the model, and not a tensor inside it."""
        return bool(self.image_input.name == self.scope.image)

    def freeze(self, image: np.ndarray | Arrays) -> FrozenMap:
        """F and r for an image, or for a mapping that gives each input of the model by its name."""
        feeds = self.feeds(image if isinstance(image, Mapping) else {self.image_input.name: image})
        program = self.programs.freeze
        session = self.session(program)
        given = {name: session.value(array) for name, array in feeds.items()}
        values = {**given, **session.on_values(given)}
        refuse_other_decision(self.scope, {n: from_ort_value(values[n]) for n in self.scope.guards})
        x0, y0 = (from_ort_value(values[n]) for n in (self.scope.image, self.scope.output))
        if not (np.isfinite(x0).all() and np.isfinite(y0).all()):
            raise BadModel(
                "it computes NaN or infinity for this image",
                where=f"'{self.scope.output}'",
                remedy="give an image and a preprocessing that the model was made for",
            )

        return FrozenMap(self, {n: values[n] for n in self.programs.states}, given, x0, y0)

    def feeds(self, given: Arrays) -> dict[str, np.ndarray]:
        """Arrays by the names of the model's inputs, brought to the inputs' types and shapes."""
        return feeds(self.inputs, given)


class FrozenMap:
    """F, Fᵀ and r for one image.

    A block is a batch of probes or cotangents. Blocks that are arrays give arrays, and blocks that are values
    on the device give values on the device.
    """

    def __init__(
        self,
        engine: Engine,
        states: Mapping[str, Value],
        given: Mapping[str, Value],
        x0: np.ndarray,
        y0: np.ndarray,
    ) -> None:
        self.engine, self.x0, self.y0 = engine, x0, y0
        self._given, self._states = given, states
        programs = engine.programs
        fed = {t.name: t for p in (programs.linear, programs.transpose) for t in p.graph.inputs}
        held = sum(tensor_bytes(fed[name], 1) for name in states)
        self._forward = Pass(engine, programs.linear, states, held, (PROBE, FROZEN))
        self._transpose = Pass(engine, programs.transpose, states, held, (COTANGENT, TRANSPOSED))
        self.inputs, self.outputs = (self._space(t) for t in (PROBE, COTANGENT))

    def _space(self, name: str) -> Space:
        shape = tuple(int(d) for d in self.engine.scope.tensor(name).shape[1:])
        return ArraySpace(shape) if self.engine.on.name == "cpu" else ValueSpace(shape, self.engine.on)

    @property
    def fed(self) -> dict[str, np.ndarray]:
        """The model's inputs for which it is frozen."""
        return {name: from_ort_value(value) for name, value in self._given.items()}

    @property
    def batch(self) -> int:
        """The number of probes or cotangents that run at once."""
        return min(self._forward.batch, self._transpose.batch)

    def forward(self, block: Block) -> Block:
        """F·v for each probe v of a block."""
        return self._forward(block, self.outputs.shape)

    def transpose(self, block: Block) -> Block:
        """Fᵀ·u for each cotangent u of a block."""
        return self._transpose(block, self.inputs.shape)

    @cached_property
    def residual(self) -> np.ndarray:
        """r, in the shape of y0: what the frozen branch computes for a probe of zeros, F·0 + r."""
        nothing = np.zeros((1, *self.inputs.shape), np.float32)
        affine = Pass(self.engine, self.engine.programs.affine, self._given, 0, (PROBE, FROZEN))
        return np.asarray(affine(nothing, self.outputs.shape)).reshape(self.y0.shape)

    def ledger(self, cotangents: np.ndarray) -> np.ndarray:
        """What each source contributes to ⟨cotangent, y0⟩: [cotangents, sources], in the scope's order."""
        sources = self.engine.scope.at_sources
        if not sources:
            return np.zeros((len(cotangents), 0), np.float32)
        return np.asarray(self._ledger(cotangents, (len(sources),)))

    def contributions(self, cotangent: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """cotangent · value at these tensors of the base, for one cotangent, by the names of the tensors."""
        program = self.engine.programs.contributions(tuple(names))
        session = self.engine.session(program)
        known = {**self._given, COTANGENT: session.value(cotangent)}
        found = session.on_values({n: v for n, v in known.items() if n in program.inputs})
        return {name: from_ort_value(found[made]) for name, made in zip(names, program.outputs, strict=True)}

    @cached_property
    def _ledger(self) -> Pass:
        """The program of the ledger, with the states and the sources that depend on the image."""
        programs = self.engine.programs
        known = {**self._given, **self._states}
        if programs.sources.outputs:
            known |= self.engine.session(programs.sources).on_values(self._given)
        read = [t for t in programs.ledger.graph.inputs if t.name != COTANGENT]
        return Pass(
            self.engine,
            programs.ledger,
            {t.name: known[t.name] for t in read},
            sum(tensor_bytes(t, 1) for t in read),
            (COTANGENT, LEDGER),
        )


class Pass:
    """A program that is run on any number of probes, in batches that fit the memory budget."""

    def __init__(
        self, engine: Engine, program: Program, states: Mapping[str, Value], held: int, names: tuple[str, str]
    ) -> None:
        self._engine, self._program, self._states, self._held = engine, program, states, held
        self._fed, self._made = names  # the input for the probes, and the output

    @cached_property
    def batch(self) -> int:
        engine = self._engine
        return batch_size(self._program, self._held, engine.memory, MOST_PROBES[engine.on.name])

    @cached_property
    def _binding(self) -> Binding:
        return Binding(self._engine.session(self._program), self._states)

    def __call__(self, block: Block, shape: tuple[int, ...]) -> Block:
        if isinstance(block, np.ndarray):
            return self._arrays(block, shape)
        count = block.shape()[0]
        try:
            if count <= self.batch:
                return self._binding(self._fed, block, self._made)
        except OutOfMemory:
            self._halve(count)
        return self._engine.session(self._program).value(self._arrays(block.numpy(), shape))

    def _arrays(self, block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        result = np.empty((len(block), *shape), np.float32)
        start = 0
        while start < len(block):
            count = min(self.batch, len(block) - start)
            try:
                self._run(block[start : start + count], result[start : start + count])
                start += count
            except OutOfMemory:
                self._halve(count)
        return result

    def _run(self, probes: np.ndarray, result: np.ndarray) -> None:
        value = self._engine.session(self._program).value(probes)
        if self._engine.on.name == "cpu":
            self._binding(self._fed, value, self._made, into=ort_value(result))
        else:
            result[...] = self._binding(self._fed, value, self._made).numpy()

    def _halve(self, count: int) -> None:
        """Continue with half as many probes at once, and warn the user of it."""
        if count == 1:
            raise no_memory()
        self.batch = count // 2
        self._engine.warn(
            f"{self._program.name}: out of memory with {count} probes at once; going on with {self.batch}"
        )
