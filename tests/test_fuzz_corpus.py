"""What the fuzzer once found stays mended, and the fuzzer finds what it looks for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "hostile" / "corpus")]
import fuzz_child  # noqa: E402
import fuzz_mutations  # noqa: E402
from fuzz_findings import FINDINGS, network  # noqa: E402

from onnxscope.cli import main as cli  # noqa: E402

READ = ("row", "ledger", "votes", "residual")


@pytest.mark.parametrize("name", FINDINGS)
def test_findings(name, capfd, tmp_path, monkeypatch):
    make, (verb, *more), code = FINDINGS[name]
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(make().SerializeToString())
    Path("fuzz.data").write_bytes(np.linspace(-1, 1, 4096, dtype=np.float32).tobytes())
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save("fuzz.png")
    image = ["--image", "fuzz.png", "--preset", "unit"] if verb in READ else []
    out = ["-o", "out.onnx"] if verb == "rewrite" else ["-o", "out.npz"] if image else []
    command = [verb, "model.onnx", *image, *more, *out, *(["--json"] if code else [])]
    given = {p.name for p in tmp_path.iterdir()}
    assert cli.run(command) == code
    printed, errors = capfd.readouterr()
    assert fuzz_child.wrong(code, command, errors, printed) == []
    assert code == 0 or {p.name for p in tmp_path.iterdir()} == given


def test_a_case_is_made_the_same_way_again():
    seeds = {"form": [network().SerializeToString()]} | {k: [] for k in ()}
    assert [fuzz_child.mutated(k, seeds) for k in range(30)] == [
        fuzz_child.mutated(k, seeds) for k in range(30)
    ]
    assert len({fuzz_child.mutated(k, seeds) for k in range(30)}) > 15


@pytest.mark.parametrize(
    ("code", "errors", "printed", "kind"),
    [
        (2, "onnxscope: error: no\n", "", None),
        (2, "warning: odd\nonnxscope: error: no\n", "", "an error in 2 lines"),
        (
            70,
            "onnxscope: error: fault of onnxscope in a.py:3 (KeyError: 1)\n",
            "",
            "fault KeyError in a.py:3",
        ),
        (-11, "", "", "exit code -11"),
        (0, "Traceback (most recent call last):\n", "", "traceback"),
        (0, "", "\x1b[2J", "control characters"),
    ],
)
def test_what_is_a_finding(code, errors, printed, kind):
    found = fuzz_child.wrong(code, ["doctor"], errors, printed)
    assert [k for k, _ in found][:1] == ([kind] if kind else [])


def test_every_mutation_changes_some_model(monkeypatch):
    import random

    seed = network(pads=[1] * 4).SerializeToString()
    for mutation in fuzz_mutations.STRUCTURED:
        changed = set()
        for k in range(40):
            proto = fuzz_child.fuzz_seeds.parsed(seed)
            try:
                mutation(random.Random(k), proto)
            except (LookupError, ValueError, TypeError):
                continue
            changed.add(proto.SerializeToString())
        assert changed - {seed} or mutation.__name__ in ("into_function", "refer_to_attribute"), (
            mutation.__name__
        )
