"""tools/diff/faults.py: what it makes, and how it judges what a tool names."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from diff import cases, harmless, networks, verdicts
from diff.graph import name_of
from diff.kinds import Kind

NAMES_THE_TRUTH = """import json, pathlib, sys
case = pathlib.Path(sys.argv[2]).parent
truth = json.loads((case / "truth.json").read_text())
assert sys.argv[1] == "diff" and "--json" in sys.argv
first = None if truth.get("harmless") else {"a": truth["a"][0], "b": None, "kind": "definition"}
print(json.dumps({"same": first is None, "noise": 1e-7, "difference": 0.5, "first_wrong": first}))
"""
NAMES_ANOTHER = """import json
first = {"a": "another", "b": "another", "kind": "bias"}
print(json.dumps({"same": False, "noise": 1e-7, "difference": 0.5, "first_wrong": first}))
"""
FAILS = """import json, sys
print(json.dumps({"error": "nothing in common"}))
sys.exit(2)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    cases.make(folder, "prelu")
    cases.make(folder, "harmless")
    return folder


def judged(made: Path, tmp_path: Path, text: str, only: str) -> dict[str, dict[str, object]]:
    """What is written about each case when the tool is a script."""
    (made / verdicts.RESULTS).unlink(missing_ok=True)
    script = tmp_path / "tool.py"
    script.write_text(text)
    verdicts.judge(made, "onnxscope", only, [sys.executable, str(script)])
    return verdicts.load(made)["onnxscope"]


def test_there_are_enough_kinds_and_pairs() -> None:
    assert len({kind.name for kind in cases.KINDS}) == len(cases.KINDS) >= 32
    assert all(len(kind.networks) >= cases.NETWORKS_EACH for kind in cases.KINDS)
    assert len([pair for pair in harmless.PAIRS if not pair.hard]) >= 32


def test_every_harmless_pair_is_made(made: Path) -> None:
    assert len(list(made.glob("harmless_*/truth.json"))) == len(harmless.PAIRS)


def test_a_fault_is_at_the_node_that_the_truth_names(made: Path) -> None:
    folders = sorted(made.glob("prelu-slope-*/truth.json"))
    assert len(folders) == cases.NETWORKS_EACH + 1
    for case in folders:
        truth = json.loads(case.read_text())
        a, b = (onnx.load(case.parent / f"{side}.onnx").graph for side in "ab")
        assert {*truth["a"]} <= {name_of(n) for n in a.node}
        assert {*truth["b"]} <= {name_of(n) for n in b.node}
        node = next(n for n in a.node if name_of(n) == truth["exact"])
        other = next(n for n in b.node if name_of(n) == truth["b"][0])
        assert node.op_type == other.op_type == "PRelu"
        slopes = [
            next(onnx.numpy_helper.to_array(i) for i in graph.initializer if i.name == n.input[1])
            for graph, n in ((a, node), (b, other))
        ]
        assert np.array_equal(slopes[0], slopes[1][::-1])


@pytest.mark.parametrize("kind", cases.KINDS, ids=lambda kind: kind.name)
def test_each_kind_of_fault_is_visible_on_three_networks(kind: Kind) -> None:
    found = sum(cases.seeded(kind, name) is not None for name in kind.networks if not name.endswith("_qdq"))
    assert found >= cases.NETWORKS_EACH - any(name.endswith("_qdq") for name in kind.networks)


def test_a_tool_that_names_the_layer_is_right(made: Path, tmp_path: Path) -> None:
    found = judged(made, tmp_path, NAMES_THE_TRUTH, "prelu-slope")
    assert found and all(record["right"] for record in found.values())
    assert verdicts.counted(found, found) == "4 of 4"
    assert verdicts.counted(found, []) == "–"


def test_a_tool_that_names_another_layer_is_wrong(made: Path, tmp_path: Path) -> None:
    found = judged(made, tmp_path, NAMES_ANOTHER, "re")
    assert found and not any(record["right"] for record in found.values())
    assert "**wrong**: `another`" in verdicts.table(made, "prelu")


def test_a_tool_that_fails_is_wrong_on_both(made: Path, tmp_path: Path) -> None:
    found = judged(made, tmp_path, FAILS, "prelu")
    assert all(
        record["right"] is False and record["note"] == "nothing in common" for record in found.values()
    )


def test_cases_answered_rightly_need_not_be_asked_again(made: Path, tmp_path: Path) -> None:
    first = judged(made, tmp_path, NAMES_THE_TRUTH, "prelu-slope-chain")
    verdicts.judge(made, "onnxscope", "prelu-slope-chain", ["no-such-command"], right_ones=False)
    assert verdicts.load(made)["onnxscope"] == first


def test_networks_are_the_same_each_time() -> None:
    first, second = (
        networks.random_network("chain", "concat").SerializeToString() for _ in range(2)
    )  # fmt: skip
    assert first == second
