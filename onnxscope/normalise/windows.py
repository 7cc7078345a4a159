"""Windows that slide: `auto_pad`, `kernel_shape` and `ceil_mode` spelled out as pads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxscope.errors import BadModel, Unsupported
from onnxscope.graph.tensors import shape_of
from onnxscope.normalise.attributes import sliding
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source


def spell_out(n: Source, sizes: Sequence[int], kernel: Sequence[int]) -> None:
    """Write out kernel and pads of a convolution or pool, whose windows are (kernel − 1)·dilation + 1 long.

    SAME gives ⌈size/stride⌉ windows and puts an odd pixel at the end (UPPER) or the beginning (LOWER).
    """
    a, rank = n.attrs, len(sizes)
    if len(kernel) != rank:
        raise BadModel(
            f"its kernel has {len(kernel)} axes for {rank} of the input",
            where=n.where,
            remedy="export the model again",
        )
    steps = {**sliding(rank), **a}
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, steps["dilations"], strict=True)]
    mode = a.pop("auto_pad", "NOTSET") or "NOTSET"
    a["kernel_shape"] = list(kernel)
    if mode == "VALID":
        a["pads"] = [0] * 2 * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        needs = zip(sizes, steps["strides"], reach, strict=True)
        total = [max((-(-x // s) - 1) * s + r - x, 0) for x, s, r in needs]
        head = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        a["pads"] = head + [t - h for t, h in zip(total, head, strict=True)]
        a.pop("ceil_mode", None)
    elif mode != "NOTSET":
        raise BadModel(
            f"auto_pad '{mode}' is not the standard's", where=n.where, remedy="export the model again"
        )


def spell_out_ceil(n: Source, sizes: Sequence[int]) -> None:
    """Ceil mode as padding up to the end of its last window, where padding changes no value.

    It is left out where it adds no window, also because one over nothing but padding is dropped.
    """
    a, rank = n.attrs, len(sizes)
    if not a.get("ceil_mode"):
        return
    steps, kernel = {**sliding(rank), **a}, a["kernel_shape"]
    pads, adds = list(steps["pads"]), False
    for k, (x, s, d) in enumerate(zip(sizes, steps["strides"], steps["dilations"], strict=True)):
        reach = (kernel[k] - 1) * d + 1
        windows = -(-(x + pads[k] + pads[k + rank] - reach) // s) + 1
        if (windows - 1) * s >= x + pads[k]:  # a window over nothing but padding is dropped
            windows -= 1
        adds = adds or windows > (x + pads[k] + pads[k + rank] - reach) // s + 1
        pads[k + rank] = max((windows - 1) * s + reach - x - pads[k], 0)
    if not adds:
        del a["ceil_mode"]
    elif not a.get("count_include_pad") and all(p < kernel[k % rank] for k, p in enumerate(pads)):
        # onnxruntime takes no larger ones
        a["pads"] = pads
        del a["ceil_mode"]


def convolution(weight: int) -> Lift:
    """The kernel is the weight's own."""

    def lift(w: Normaliser, n: Source) -> None:
        spell_out(n, shape_of(n[0])[2:], shape_of(n[weight])[2:])

    return lift


def pool(w: Normaliser, n: Source) -> None:
    spell_out_pool(n, shape_of(n[0])[2:])


def spell_out_pool(n: Source, sizes: Sequence[int]) -> None:
    if "kernel_shape" not in n.attrs:
        raise BadModel("it has no kernel_shape", where=n.where, remedy="export the model again")
    spell_out(n, sizes, n.attrs["kernel_shape"])
    if n.op != "LpPool":
        spell_out_ceil(n, sizes)


def max_pool(w: Normaliser, n: Source) -> None:
    """storage_order only changes how Indices count."""
    if not n.wants(1):
        n.attrs.pop("storage_order", None)
    pool(w, n)


def lp_pool(w: Normaliser, n: Source) -> None:
    lp(w, n)
    pool(w, n)


def lp(w: Normaliser, n: Source) -> None:
    """<2: p was a float, and 2.0 if left out."""
    p: Any = n.attrs.get("p", 2)
    if p != int(p):
        raise Unsupported(
            f"its p is {p}, and only whole numbers are left in the standard",
            where=n.where,
            remedy="export with a whole p",
        )
    n.attrs["p"] = int(p)


def conv_transpose(w: Normaliser, n: Source) -> None:
    """Pads that give output_shape, or size·stride under SAME; the odd one is at the end for SAME_UPPER only.

    This is the standard since opset 11. Its text was the opposite before, but onnxruntime reads every opset
    like this.
    """
    a, sizes, kernel = n.attrs, shape_of(n[0])[2:], shape_of(n[1])[2:]
    rank = len(sizes)
    mode, wanted = a.pop("auto_pad", "NOTSET") or "NOTSET", a.pop("output_shape", None)
    a["kernel_shape"] = list(kernel)
    steps = {**sliding(rank), **a}
    strides, dilations, extra = steps["strides"], steps["dilations"], list(steps["output_padding"])
    if mode == "VALID":
        a["pads"] = [0] * 2 * rank
    if wanted is None and mode.startswith("SAME"):
        wanted = [x * s for x, s in zip(sizes, strides, strict=True)]
    if not wanted:
        return
    wanted, pads = list(wanted)[-rank:], [0] * 2 * rank
    for k in range(rank):
        total = strides[k] * (sizes[k] - 1) + extra[k] + (kernel[k] - 1) * dilations[k] + 1 - wanted[k]
        extra[k] += max(-total, 0)
        total = max(total, 0)
        pads[k] = total // 2 if mode == "SAME_UPPER" else total - total // 2
        pads[k + rank] = total - pads[k]
    a["pads"] = pads
    if any(extra):
        a["output_padding"] = extra


WINDOWS: dict[str, Lift] = {
    **{op: convolution(1) for op in ("Conv", "ConvInteger", "DeformConv")},
    "QLinearConv": convolution(3),
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": pool,
    "LpPool": lp_pool,
    "GlobalLpPool": lp,
}
