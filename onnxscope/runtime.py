"""onnxruntime sessions, on the CPU or on CUDA. The only module that imports onnxruntime."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from onnxscope.errors import BadModel, BadOption, OutOfMemory, Unsupported

Value: TypeAlias = onnxruntime.OrtValue  # a tensor on the host or on the device, which stays there

ODD_TYPES = {"tensor(bfloat16)": ml_dtypes.bfloat16}  # types that onnxruntime does not exchange with NumPy
REWORDED = [  # patterns in onnxruntime's messages, and their replacements
    (r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(cc|h):\d+ |Load model from .*? failed:", ""),
    (
        r"Non-zero status code returned while running (\w+) node. Name:'(.*?)' Status Message:",
        r"node '\2' (\1):",
    ),
]

NO_MEMORY = re.compile("(?i)failed to allocate|out of memory|bad_alloc|bad allocation|ALLOC_FAILED|BFCArena")


@dataclass(frozen=True)
class Device:
    """Where sessions run, and how."""

    name: str = "cpu"
    threads: int = 0  # 0: as many as there are cores
    tf32: bool = False
    why: str = ""  # `auto` did not choose CUDA; empty if it did, or if another name was given

    @property
    def providers(self) -> list[tuple[str, dict[str, str]]]:
        """onnxruntime's providers, without trials of algorithms, which could choose others the next time."""
        how = {"use_tf32": str(int(self.tf32)), "cudnn_conv_algo_search": "HEURISTIC"}
        cuda = ("CUDAExecutionProvider", how)
        return [*([cuda] if self.name == "cuda" else []), ("CPUExecutionProvider", {})]

    @property
    def precision(self) -> str:
        return "TF32 in products" if self.name == "cuda" and self.tf32 else "float32"


onnxruntime.set_default_logger_severity(3)  # some kernels warn on stderr, whatever a session's own level is
LEVELS = {False: "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", True: "ENABLE_ALL"}
DEVICES = ("auto", "cpu", "cuda")
CPU = Device()


def device(name: str = "auto", *, threads: int = 0, tf32: bool = False) -> Device:
    """The device of this name; `auto` is CUDA if a session does run there, else the CPU."""
    if name not in DEVICES:
        raise BadOption(
            f"there is no device '{name}'", where="--device", remedy=f"choose {', '.join(DEVICES)}"
        )
    if threads < 0:
        raise BadOption(
            f"the number of threads must be at least 0, not {threads}",
            where="--threads",
            remedy="give 0 for all cores",
        )
    problem = "" if name == "cpu" else no_cuda()
    if problem and name == "cuda":
        raise BadOption(
            f"CUDA does not run here ({problem})",
            where="--device cuda",
            remedy="choose --device cpu, or install '.[cuda]'",
        )
    return Device("cpu" if problem else name.replace("auto", "cuda"), threads, tf32, problem)


@cache
def no_cuda() -> str:
    """Why CUDA does not run here; empty if a convolution just ran on it."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if hasattr(ctypes, "windll") else "libcuda.so.1")
        count = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
            return "the NVIDIA driver finds no GPU"
    except OSError:
        return "there is no NVIDIA driver"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime is built without it"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        onnxruntime.preload_dlls()
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 3, 3])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 1, 1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Conv", ["x", "x"], ["y"])], "one", [x], [y])
    trial = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    try:
        session = Session(trial.SerializeToString(), on=Device("cuda"))
        session.run({"x": np.ones((1, 1, 3, 3), np.float32)})
    except (BadModel, Unsupported) as error:
        return error.cause
    reason = next(iter(printed.getvalue().splitlines()), "") or "its libraries cannot be loaded"
    return "" if session.on_device else reason


class Session:
    """A model from a file or from bytes; `optimise=False` runs the graph as it is written.

    `weights` are the values of external initializers. Several sessions can share them. The optimised graph is
    written to `written`, and its large weights to a file of their own in the same folder.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        optimise: bool | str = True,
        on: Device = CPU,
        weights: Mapping[str, Value] | None = None,
        written: Path | None = None,
    ) -> None:
        options = session_options(optimise, on.threads, written)
        if not optimise and weights is None:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if weights:
            options.add_external_initializers(list(weights), list(weights.values()))
            for name, value in weights.items():  # without this the session keeps a copy
                options.add_initializer(name, value)
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=on.providers)
        except Exception as error:  # onnxruntime raises many kinds of its own
            if NO_MEMORY.search(str(error)):
                raise no_memory() from error
            raise Unsupported(
                f"onnxruntime cannot run the model ({first_line(error)})",
                remedy="export it with operators and types that onnxruntime has",
            ) from error
        self._weights = weights  # they must outlive the session
        self.inputs = {i.name: i.type for i in self._session.get_inputs()}
        self._types = {o.name: o.type for o in self._session.get_outputs()}
        self.outputs = list(self._types)
        self.on = on

    def close(self) -> None:
        """Give the weights' memory back."""
        del self._session

    @property
    def on_device(self) -> bool:
        """Whether onnxruntime uses the device at all: where it cannot, it silently runs on the CPU."""
        return bool(self._session.get_providers()[0] == self.on.providers[0][0])

    @property
    def left_to_cpu(self) -> dict[str, int]:
        """The operators that run on the CPU although another device was asked for, and how often."""
        if self.on.name == "cpu":
            return {}
        parts = [
            part
            for part in self._session.get_provider_graph_assignment_info()
            if part.ep_name == "CPUExecutionProvider"
        ]
        return dict(sorted(Counter(node.op_type for part in parts for node in part.get_nodes()).items()))

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The named outputs, or all of them."""
        names = list(outputs or self.outputs)
        feeds = {k: v for k, v in feeds.items() if k in self.inputs}
        with failing():
            if not any(t in ODD_TYPES for t in (*self.inputs.values(), *self._types.values())):
                return dict(zip(names, self._session.run(names, feeds), strict=True))
            values = self._session.run_with_ort_values(names, {k: ort_value(v) for k, v in feeds.items()})
            return {n: from_ort_value(v) for n, v in zip(names, values, strict=True)}

    def on_values(self, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """All outputs, left where they were computed."""
        binding = Binding(self, feeds)
        return binding.all()

    def value(self, array: np.ndarray) -> Value:
        """An array on the session's device; on the CPU it is the array itself."""
        return ort_value(array, self.on.name)


def session_options(optimise: bool | str, threads: int, written: Path | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # a product with quantized weights must not quantize what it is multiplied with: F and Fᵀ would disagree
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # threads that wait busily for the next run would take the cores from NumPy and from other sessions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = f"ORT_{LEVELS[optimise]}"
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if written is not None:
        options.optimized_model_filepath = str(written)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{written.name}.data"
        )
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
        )
    return options


class Binding:
    """A session bound once to its feeds; a run binds only the feed that changes."""

    def __init__(self, session: Session, feeds: Mapping[str, Value]) -> None:
        self._session, self._binding = session, session._session.io_binding()
        self._feeds = {k: v for k, v in feeds.items() if k in session.inputs}
        for name, value in self._feeds.items():
            self._binding.bind_ortvalue_input(name, value)

    def all(self) -> dict[str, Value]:
        for name in self._session.outputs:
            self._binding.bind_output(name, self._session.on.name)
        self._run()
        return dict(zip(self._session.outputs, self._binding.get_outputs(), strict=True))

    def __call__(self, name: str, value: Value, output: str, into: Value | None = None) -> Value:
        """One output for one changed input, written into a given value or a new one on the device."""
        self._binding.bind_ortvalue_input(name, value)
        if into is None:
            self._binding.bind_output(output, self._session.on.name)
        else:
            self._binding.bind_ortvalue_output(output, into)
        self._run()
        return self._binding.get_outputs()[0] if into is None else into

    def _run(self) -> None:
        with failing():
            self._session._session.run_with_iobinding(self._binding)


@contextlib.contextmanager
def failing() -> Iterator[None]:
    """Turn whatever onnxruntime raises while it runs into an error of one line."""
    try:
        yield
    except Exception as error:  # onnxruntime raises many kinds of its own
        if NO_MEMORY.search(str(error)) or isinstance(error, MemoryError):
            raise no_memory() from error
        raise BadModel(
            f"onnxruntime stops while it runs the model ({first_line(error)})",
            remedy="check the sizes given with --input-shape, or the export",
        ) from error


def no_memory() -> OutOfMemory:
    return OutOfMemory(
        "there is not enough memory to run it",
        remedy="give a smaller --memory, smaller sizes, or --stateless",
    )


def first_line(error: Exception) -> str:
    """The message of an error of onnxruntime, without its codes and source files."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    for pattern, plain in REWORDED:
        text = re.sub(pattern, plain, text)
    return text[:300].strip()


def ort_value(array: np.ndarray, where: str = "cpu") -> Value:
    """An array as a value, also of the ODD_TYPES; without a copy on the CPU."""
    if array.dtype not in ODD_TYPES.values():
        return Value.ortvalue_from_numpy(np.ascontiguousarray(array), where, 0)
    element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return Value.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array).view(np.uint16), element)


def from_ort_value(value: Value) -> np.ndarray:
    """A copy of a value on the host: onnxruntime's own array is a view that does not keep its memory."""
    kind = value.data_type()
    if kind not in ODD_TYPES:
        return np.array(value.numpy())
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    array: np.ndarray = np.frombuffer(raw, dtype=np.uint16).reshape(shape).view(ODD_TYPES[kind])
    return array


def reference(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by the standard's own reference implementation, which is slow and has every operator."""
    names = [o.name for o in model.graph.output]
    inputs = {i.name for i in model.graph.input}
    values = ReferenceEvaluator(model).run(names, {k: v for k, v in feeds.items() if k in inputs})
    return {n: np.asarray(v) for n, v in zip(names, values, strict=True)}


def evaluate(model: onnx.ModelProto) -> list[np.ndarray] | None:
    """The outputs of a small model without inputs, or None where neither runtime can compute it."""
    names = [o.name for o in model.graph.output]
    try:
        session = Session(model.SerializeToString(), optimise=False)
        return [session.run({})[n] for n in names]
    except Unsupported:  # onnxruntime lacks the kernel for this type: the reference has all of them
        pass
    except Exception:  # the values are not those that it takes
        return None
    try:
        return list(reference(model, {}).values())
    except Exception:  # the reference refuses too: the expression stays in the graph
        return None
