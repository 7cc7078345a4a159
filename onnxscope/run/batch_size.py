"""How many probes run through a program at once: as many as fit the memory budget, up to a limit."""

from __future__ import annotations

from onnxscope.errors import BadOption
from onnxscope.run.programs import Program

MOST_PROBES = {"cpu": 16, "cuda": 128}  # more of them at once are no faster
# The memory that onnxruntime takes, as a multiple of the largest sum of values that a run needs at the same
# time. On four networks it was between 1.0 and 2.3.
ARENA = 2.5


def batch_size(program: Program, states: int, memory: int, most: int) -> int:
    """The largest number of probes, at most `most`, that need no more bytes than `memory`.

    `states` are the bytes that the states take, whatever the number of probes is.
    """
    need = states + taken(program, 1)
    if need > memory:
        remedy = ", or --stateless, which keeps no states" if need - states <= memory else ""
        raise BadOption(
            f"one probe needs {bytes_text(need)}, the budget is {bytes_text(memory)}",
            where="--memory",
            remedy=f"give a larger budget{remedy}",
        )
    return next(count for count in range(most, 0, -1) if states + taken(program, count) <= memory)


def taken(program: Program, probes: int) -> int:
    """The bytes that a run of the program takes with this number of probes."""
    return int(ARENA * program.peak_bytes(probes))


def bytes_text(count: int) -> str:
    """`2.00 GB` or `12.3 MB`."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
