"""How many probes go through a program at once: as many as the memory budget holds, up to what still gets faster."""

from __future__ import annotations

from onnxscope.errors import BadOption
from onnxscope.run.programs import Program

MOST_PROBES = {"cpu": 16, "cuda": 128}  # beyond it nothing gets faster
ARENA = 2.5  # onnxruntime takes up to so many times what lives at once: 1.0 to 2.3, measured on four networks


def batch_size(program: Program, states: int, memory: int, most: int) -> int:
    """The number of probes for which the states (in bytes) and the program's own values stay within `memory`."""
    need = states + taken(program, 1)
    if need > memory:
        remedy = ", or --stateless, which keeps no states" if need - states <= memory else ""
        raise BadOption(
            f"one probe needs {bytes_text(need)}, the budget is {bytes_text(memory)}",
            where="--memory",
            remedy=f"give more{remedy}",
        )
    return next(count for count in range(most, 0, -1) if states + taken(program, count) <= memory)


def taken(program: Program, probes: int) -> int:
    """The memory that so many probes take at once."""
    return int(ARENA * program.peak_bytes(probes))


def bytes_text(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
