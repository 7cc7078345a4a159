"""Models with parts that depend on values: one image decides them, and others are held to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from forms import made
from onnx import parser
from PIL import Image
from support import POLICIES, close

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.errors import OtherDecision, Undecided
from onnxscope.graph.decisions import Decision, note_of, shown
from onnxscope.rewriting.scope import COTANGENT, FROZEN, PROBE

SHAPE = (1, 2, 4, 4)
DARK = np.random.default_rng(1).uniform(0.1, 0.4, SHAPE).astype(np.float32)  # its mean is below ½
DARKER, BRIGHT = DARK * np.float32(0.9), DARK + np.float32(0.5)  # the first decides as DARK, the second not


def model(body: str, opset: int = 18) -> onnx.ModelProto:
    """A model of these nodes with the image x and the output y; `mean` is x's, `whole` is 4·mean, rounded."""
    return parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : {opset}]>
        net (float[1,2,4,4] x) => (float y) {{
            mean = ReduceMean<keepdims = 0>(x)
            half = Constant<value_float = 0.5>()
            four = Constant<value_float = 4.0>()
            scaled = Mul(mean, four)
            rounded = Round(scaled)
            number = Cast<to = 7>(rounded)
            one = Constant<value_ints = [1]>()
            whole = Reshape(number, one)
            {body}
        }}"""
    )


def number(x: np.ndarray) -> int:
    """`whole`: 1 for dark images, 3 for bright ones."""
    return int(np.round(x.mean() * 4))


def doubled(x: np.ndarray) -> np.ndarray:
    while x.mean() < 0.9:
        x = x * x + x
    return x


@dataclass(frozen=True)
class Case:
    """A model, what it computes, and how a refusal of another image names the decision."""

    body: str
    f: Callable[[np.ndarray], Any]
    refused: str

    @property
    def model(self) -> onnx.ModelProto:
        return model(self.body)


CASES = {
    "If": Case(
        """high = Greater(mean, half)
        y = If<then_branch = bright() => (float[1,2,4,4] a) { a = Neg(x) },
               else_branch = dark() => (float[1,2,4,4] b) { b = Mul(x, x) }>(high)""",
        lambda x: -x if x.mean() > 0.5 else x * x,
        "node 'y' (If): its condition would be true for this image, and the scope is specialised on false;",
    ),
    "Loop": Case(
        """enough = Constant<value_float = 0.9>()
        begin = Less(mean, enough)
        y = Loop<body = round(int64 k, bool c, float[1,2,4,4] v) => (bool on, float[1,2,4,4] w) {
            s = Mul(v, v)
            w = Add(s, v)
            m = ReduceMean<keepdims = 0>(w)
            on = Less(m, enough)
        }>("", begin, x)""",
        doubled,
        "node 'y' (Loop): its conditions would be [true, false, ",
    ),
    "Loop by number": Case(
        """y = Loop<body = round(int64 k, bool c, float[1,2,4,4] v) => (bool on, float[1,2,4,4] w) {
            on = Identity(c)
            w = Mul(v, v)
        }>(whole, "", x)""",
        lambda x: x ** (2 ** number(x)),
        "node 'y' (Loop): its number of rounds would be [3] for this image, and the scope is specialised on [1];",
    ),
    "NonZero": Case(
        """high = Greater(x, half)
        zeros = Not(high)
        places = NonZero(zeros)
        turned = Transpose(places)
        y = GatherND(x, turned)""",
        lambda x: x[np.nonzero(x <= 0.5)],
        "node 'places' (NonZero): its result would be 4x",
    ),
    "Slice": Case(
        """end = Add(whole, one)
        axis = Constant<value_ints = [3]>()
        y = Slice(x, whole, end, axis)""",
        lambda x: x[..., number(x) : number(x) + 1],
        "node 'y' (Slice): its starts would be [3] for this image, and the scope is specialised on [1];",
    ),
    "Resize": Case(
        """fours = Constant<value_ints = [4, 4]>()
        sides = Mul(fours, whole)
        front = Constant<value_ints = [1, 2]>()
        sizes = Concat<axis = 0>(front, sides)
        y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
            (x, , , sizes)""",
        lambda x: x.repeat(number(x), 2).repeat(number(x), 3),
        "node 'y' (Resize): its sizes would be [1, 2, 12, 12] for this image, ",
    ),
    "Reshape": Case(
        """rest = Constant<value_ints = [-1]>()
        two = Constant<value_ints = [2]>()
        other = Min(whole, two)
        shape = Concat<axis = 0>(other, rest)
        row = Reshape(x, shape)
        y = Mul(row, row)""",
        lambda x: (x * x).reshape(min(number(x), 2), -1),
        "node 'row' (Reshape): its shape would be [2, -1] for this image, ",
    ),
    "Range": Case(
        """all = Constant<value_ints = [-1]>()
        row = Reshape(x, all)
        zero = Constant<value_float = 0.0>()
        step = Constant<value_float = 0.5>()
        steps = Range(zero, rounded, step)
        places = Cast<to = 7>(steps)
        parts = Gather(row, places)
        y = ReduceSum<keepdims = 0>(parts)""",
        lambda x: x.reshape(-1)[np.arange(0, number(x), 0.5).astype(int)].sum(),
        "node 'steps' (Range): its limit would be 3 for this image, and the scope is specialised on 1;",
    ),
    "TopK": Case(
        """all = Constant<value_ints = [-1]>()
        row = Reshape(x, all)
        highest, places = TopK(row, whole)
        y = ReduceSum<keepdims = 0>(highest)""",
        lambda x: np.sort(x.reshape(-1))[::-1][: number(x)].sum(),
        "node 'highest' (TopK): its k would be [3] for this image, and the scope is specialised on [1];",
    ),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", CASES)
def test_an_image_decides(name: str, policy: str) -> None:
    """The model is proved for the image, and its output and derivative are those of the reference."""
    case = CASES[name]
    report = onnxscope.verify(case.model, image_values=DARK, policy=policy)
    assert report.ok, report
    x = onnxscope.load(case.model, policy=policy).freeze(DARK)
    close(x.output, case.f(DARK), 1e-6, "y0")
    close(x.project(DARK) + x.residual(), case.f(DARK), 1e-5, "F·x0 + r")
    if policy == "taylor":
        v = np.random.default_rng(2).standard_normal(SHAPE)
        slope = (case.f(DARK + 1e-5 * v) - case.f(DARK - 1e-5 * v)) / 2e-5
        close(x.project(v.astype(np.float32)), slope, 1e-4, "F·v")


@pytest.mark.parametrize("name", CASES)
def test_a_scope_holds_for_images_that_decide_alike(name: str, tmp_path: Path) -> None:
    """Another image is refused, in a line that names the node; so it is by a scope that was saved."""
    case = CASES[name]
    scope = onnxscope.rewrite(case.model, image=DARK)
    onnx.checker.check_model(scope.save(tmp_path / "net.scope.onnx"), full_check=True)
    for opened in (onnxscope.load(scope), onnxscope.load(tmp_path / "net.scope.onnx")):
        close(opened.freeze(DARKER).output, case.f(DARKER), 1e-6, "y0")
        with pytest.raises(OtherDecision) as refused:
            opened.freeze(BRIGHT)
        assert case.refused in str(refused.value) and "\n" not in str(refused.value)
        assert "rewrite the original model for this image" in refused.value.remedy


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_alone_sees_whether_an_image_decides_alike(name: str, tmp_path: Path) -> None:
    path = onnxscope.rewrite(CASES[name].model, image=DARK).save(tmp_path / "net.scope.onnx")
    session = onnxruntime.InferenceSession(path)
    sizes = {i.name: [1, *i.shape[1:]] for i in session.get_inputs()}

    def run(image: np.ndarray) -> tuple[np.ndarray, ...]:
        fed = {"x": image, PROBE: image, COTANGENT: np.zeros(sizes[COTANGENT], np.float32)}
        return tuple(session.run(["y", FROZEN, "scope_holds"], fed))

    for image in (DARK, DARKER):
        y, frozen, holds = run(image)
        close(frozen.reshape(-1), y.reshape(-1), 1e-5, "frozen(x0)")
        close(y, CASES[name].f(image), 1e-6, "y0")
        assert holds.all()
    assert not run(BRIGHT)[2].all()


@pytest.mark.parametrize("name", CASES)
def test_every_image_that_is_frozen_decides_anew(name: str) -> None:
    """The interpreters of earlier images stay as they are."""
    case = CASES[name]
    opened = onnxscope.load(case.model)
    frozen = [(image, opened.freeze(image)) for image in (DARK, BRIGHT, DARKER)]
    for image, x in frozen:
        close(x.output, case.f(image), 1e-6, "y0")
        close(x.project(image) + x.residual(), case.f(image), 1e-5, "F·x0 + r")
        (note,) = x.about()["notes"]
        assert note.startswith("specialised on this image: ")
        assert x.model.scope.decided
    assert frozen[0][1].model.scope.decided != frozen[1][1].model.scope.decided


@pytest.mark.parametrize("name", CASES)
def test_without_an_image_one_line_says_what_is_missing(name: str) -> None:
    opened = onnxscope.load(CASES[name].model)
    assert repr(opened).startswith("OpenModel(waits for an image: ")
    for asked in (
        lambda: onnxscope.rewrite(CASES[name].model),
        lambda: onnxscope.verify(CASES[name].model),
        lambda: opened.scope,
        lambda: opened.task,
    ):
        with pytest.raises(Undecided, match=r"give an image that decides it: --image FILE") as refused:
            asked()
        assert "\n" not in str(refused.value)


def raised(error: type[Exception], asked: Callable[[], Any]) -> str:
    with pytest.raises(error) as refused:
        asked()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_rewriting_needs_no_image_where_nothing_has_to_be_decided() -> None:
    """The loop below is unrolled by sizes alone; an image changes nothing, and decides nothing."""
    proto = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]> net (float[1,2,4,4] x) => (float y) {
            sizes = Shape<start = 3>(x)
            none = Constant<value_ints = [-1]>()
            count = Squeeze(sizes)
            y = Loop<body = round(int64 k, bool c, float[1,2,4,4] v) => (bool on, float[1,2,4,4] w) {
                on = Identity(c)
                w = Mul(v, x)
            }>(count, "", x)
        }"""
    )
    for scope in (onnxscope.rewrite(proto), onnxscope.rewrite(proto, image=DARK)):
        assert not scope.decided and not scope.notes
        assert [t.name for t in scope.graph.outputs] == ["y", FROZEN, "scope_transposed"]
    close(onnxscope.load(proto).freeze(BRIGHT).output, BRIGHT**5, 1e-6, "y0")


def test_what_depends_on_values_but_is_not_needed_is_left_as_it_is() -> None:
    """An output of places beside the one that is explained holds for every image."""
    proto = model("places = NonZero(x)\n y = Mul(x, x)")
    proto.graph.output.append(onnx.helper.make_tensor_value_info("places", onnx.TensorProto.INT64, None))
    scope = onnxscope.rewrite(proto, image=DARK)
    assert not scope.decided
    assert onnxscope.verify(proto).ok


def test_the_boxes_that_a_selection_keeps_can_be_explained() -> None:
    """NonMaxSuppression: how many boxes are kept, and which, is decided by the image."""
    body = """boxes_shape = Constant<value_ints = [1, 8, 4]>()
        boxes = Reshape(x, boxes_shape)
        axis = Constant<value_ints = [2]>()
        totals = ReduceSum<keepdims = 0>(boxes, axis)
        scores = Unsqueeze(totals, one)
        most = Constant<value_ints = [5]>()
        overlap = Constant<value_floats = [0.3]>()
        least = Constant<value_floats = [1.0]>()
        kept = NonMaxSuppression(boxes, scores, most, overlap, least)
        column = Constant<value_int = 2>()
        index = Gather<axis = 1>(kept, column)
        y = Gather<axis = 1>(boxes, index)"""
    proto = model(body)
    with pytest.raises(Undecided, match=r"'y' .*--output, or give an image"):
        onnxscope.rewrite(proto, output="y")
    x = onnxscope.load(proto, output="y").freeze(DARK)
    want = onnxruntime.InferenceSession(proto.SerializeToString()).run(["y"], {"x": DARK})[0]
    assert want.shape[1]
    close(x.output, want, 0.0, "y0")
    close(np.sort(x.dense().sum(1)), np.ones(want.size), 1e-6, "each element of y is one of x")
    scope = x.model.scope
    assert [(d.node, d.what) for d in scope.decided] == [("kept", "result")]
    assert onnxscope.verify(scope, image_values=DARK).ok
    said = raised(OtherDecision, lambda: onnxscope.load(scope).freeze(BRIGHT))
    assert "its result would be" in said


def test_the_different_elements_can_be_explained() -> None:
    """Unique: y holds elements of x, so F chooses them; how often each occurs is decided."""
    x = np.round(DARK * 10) / np.float32(10)
    proto = model("values, first, back, counts = Unique<sorted = 1>(x)\n y = Mul(values, values)")
    found = onnxscope.load(proto, output="y").freeze(x)
    want, first = np.unique(x, return_index=True)
    close(found.output, want**2, 1e-6, "y0")
    chosen = np.zeros((len(first), x.size))
    chosen[np.arange(len(first)), first] = want
    close(found.dense(), chosen, 1e-6, "F")
    close(onnxscope.load(found.model.scope).freeze(x).output, want**2, 1e-6, "y0 again")


def test_a_loop_is_decided_inside_a_loop_and_a_function() -> None:
    """Bodies are written once for each round, and every round has decisions of its own."""
    body = """enough = Constant<value_float = 0.9>()
        three = Constant<value_int = 3>()
        y, means = Loop<body = outer(int64 k, bool c, float[1,2,4,4] v) => (bool on, float[1,2,4,4] w, float s) {
            on = Identity(c)
            s = ReduceMean<keepdims = 0>(v)
            low = Less(s, enough)
            w = If<then_branch = grow() => (float[1,2,4,4] a) { a = Add(v, v) },
                   else_branch = shrink() => (float[1,2,4,4] b) { b = Mul(v, half) }>(low)
        }>(three, "", x)"""

    def f(x: np.ndarray) -> np.ndarray:
        for _ in range(3):
            x = x + x if x.mean() < 0.9 else x * np.float32(0.5)
        return x

    opened = onnxscope.load(model(body))
    for image, low in ((DARK, [True, True, False]), (BRIGHT, [True, False, True])):
        x = opened.freeze(image)
        close(x.output, f(image), 1e-6, "y0")
        found = {d.node: d.value for d in x.model.scope.decided}
        assert found == dict(zip(["y/0/w", "y/1/w", "y/2/w"], low, strict=True))


def test_a_loop_that_an_image_does_not_end_is_refused() -> None:
    body = """begin = Greater(half, mean)
        y = Loop<body = round(int64 k, bool c, float[1,2,4,4] v) => (bool on, float[1,2,4,4] w) {
            w = Mul(v, v)
            m = ReduceMean<keepdims = 0>(w)
            on = Less(m, half)
        }>("", begin, x)"""
    said = raised(onnxscope.Unsupported, lambda: onnxscope.rewrite(model(body), image=DARK))
    assert "node 'y' (Loop): it runs more than 1024 times" in said


def with_inputs() -> onnx.ModelProto:
    """Which part of the picture of whole numbers is shown is a second input."""
    return parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]> net (uint8[1,3,?,?] x, int64[1] begin) => (float y) {
            pixels = Cast<to = 1>(x)
            mean = ReduceMean<keepdims = 0>(pixels)
            level = Constant<value_float = 100.0>()
            high = Greater(mean, level)
            axis = Constant<value_ints = [3]>()
            end = Constant<value_ints = [9]>()
            part = Slice(pixels, begin, end, axis)
            y = If<then_branch = bright() => (float a) { a = Neg(part) },
                   else_branch = dark() => (float b) { b = Mul(part, part) }>(high)
        }"""
    )


def test_other_inputs_decide_too() -> None:
    levels = np.arange(3 * 4 * 9).reshape(1, 3, 4, 9).astype(np.uint8)
    shapes = {"x": levels.shape}
    opened = onnxscope.load(with_inputs(), input_shapes=shapes)
    assert "further input 'begin'" in raised(onnxscope.BadOption, lambda: opened.freeze(levels))
    for begin in (2, 5):
        x = opened.freeze({"x": levels, "begin": np.array([begin])})
        close(x.output, levels[..., begin:].astype(np.float32) ** 2, 1e-6, "y0")
        assert f"starts of 'part' = [{begin}]" in x.about()["notes"][0]
    scope = onnxscope.rewrite(with_inputs(), input_shapes=shapes, image={"x": levels, "begin": np.array([4])})
    assert scope.image == "pixels"
    said = raised(OtherDecision, lambda: onnxscope.load(scope).freeze({"x": levels, "begin": np.array([3])}))
    assert "its starts would be [3] for this image, and the scope is specialised on [4]" in said


def whole_numbers() -> onnx.ModelProto:
    """The same without the second input: pictures of any size."""
    proto = with_inputs()
    del proto.graph.input[1]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "begin"))
    return proto


def test_free_sizes_and_preprocessing_come_from_the_picture(tmp_path: Path, capsys: Any) -> None:
    """Pixels are read as whole numbers, as the type of the input tells before anything is decided."""
    levels = np.arange(3 * 4 * 9).reshape(4, 9, 3).astype(np.uint8)
    for name, add in (("dark.png", 0), ("bright.png", 120)):
        Image.fromarray(levels + np.uint8(add)).save(tmp_path / name)
    onnx.save(whole_numbers(), tmp_path / "net.onnx")

    def said(*words: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert cli.run([*words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    path, dark, bright = (str(tmp_path / name) for name in ("net.onnx", "dark.png", "bright.png"))
    out = str(tmp_path / "out.onnx")
    assert "free" in said("rewrite", path, "-o", out, code=2)["error"]
    found = said("rewrite", path, "-o", out, "--image", dark)
    assert [(d["node"], d["value"]) for d in found["decisions"]] == [("y", False)]
    assert said("doctor", path, "--image", dark)["ok"]
    ask = ("residual", "-o", str(tmp_path / "r"), "--image")
    assert "condition of 'y' = false" in said(*ask, dark, path)["notes"][0]
    assert "condition of 'y' = true" in said(*ask, bright, path)["notes"][0]
    assert "condition of 'y' = false" in said(*ask, dark, out)["notes"][0]
    assert "its condition would be true for this image" in said(*ask, bright, out, code=2)["error"]
    saved = np.load(tmp_path / "r.npz")["output"]
    want = levels.transpose(2, 0, 1)[None, ..., 2:].astype(np.float32) ** 2
    close(saved, want, 1e-6, "y0")


def test_a_folder_is_answered_picture_by_picture(tmp_path: Path, capsys: Any) -> None:
    """A model is rewritten for each that decides otherwise; a saved scope skips it, with the reason."""
    form = made("decides on values")
    for name, level in (("a.png", 200), ("b.png", 20), ("c.png", 180)):
        Image.fromarray(np.full((12, 12, 3), level, np.uint8)).save(tmp_path / name)
    scope = onnxscope.rewrite(form.model, picture=tmp_path / "a.png").save(tmp_path / "net.scope.onnx")
    for path, count in ((form.model, 3), (scope, 2)):
        capsys.readouterr()
        words = ["ledger", str(path), "--image", str(tmp_path), "-o", str(tmp_path / "out" / "x.png")]
        (tmp_path / "out").mkdir(exist_ok=True)
        assert cli.run([*words, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["pictures"] == count
        assert [s["picture"] for s in found["skipped"]] == (["b.png"] if count == 2 else [])


def test_another_picture_in_a_question_has_to_decide_alike(tmp_path: Path) -> None:
    """`same:FILE` runs the network on the other picture."""
    form = made("decides on values")
    x = onnxscope.load(form.model, task="embedding").freeze(form.image)
    for name, level in (("bright.png", 200), ("dark.png", 20)):
        Image.fromarray(np.full((12, 12, 3), level, np.uint8)).save(tmp_path / name)
    assert np.isfinite(x.ask(f"same:{tmp_path / 'bright.png'}").value)
    said = raised(OtherDecision, lambda: x.ask(f"same:{tmp_path / 'dark.png'}"))
    assert "'shown' (If)" in said


def test_the_metadata_say_what_was_decided() -> None:
    scope = onnxscope.rewrite(CASES["Slice"].model, image=DARK)
    decided = json.loads(scope.metadata()["onnxscope.decisions"])
    assert decided == [
        {"node": "y", "op": "Slice", "what": "starts", "tensor": "whole", "value": [1]},
        {"node": "y", "op": "Slice", "what": "ends", "tensor": "end", "value": [2]},
    ]
    assert scope.notes[-1] == "specialised on this image: starts of 'y' = [1]; ends of 'y' = [2]"
    assert onnxscope.rewrite(model("y = Mul(x, x)")).metadata()["onnxscope.decisions"] == "[]"


def test_a_saved_scope_is_proved_on_an_image_that_decides_alike(tmp_path: Path) -> None:
    path = onnxscope.rewrite(CASES["If"].model, image=DARK).save(tmp_path / "net.scope.onnx")
    assert onnxscope.verify(path, image_values=DARKER).ok
    assert "name that image" in raised(onnxscope.BadOption, lambda: onnxscope.verify(path))
    raised(OtherDecision, lambda: onnxscope.verify(path, image_values=BRIGHT))


def test_decisions_are_shown_in_short() -> None:
    assert shown(True) == "true"
    assert shown(2.5) == "2.5"
    assert shown([True, False]) == "[true, false]"
    assert shown([[1, 2], [3, 4]]) == "2x2 numbers [1, 2, 3, 4]"
    assert shown(list(range(9))) == "9 numbers [0, 1, 2, 3, 4, 5, 6, 7, …]"
    many = [Decision(f"n{k}", "If", "condition", "c", True) for k in range(10)]
    assert note_of(many).endswith("condition of 'n7' = true; and 2 more")


def kept(x: np.ndarray) -> np.ndarray:
    """The columns that `whole` does not name."""
    return np.delete(x, number(x), 3)


OPERATORS: dict[str, tuple[str, Callable[[np.ndarray], Any]]] = {  # what else must be known
    "Compress": (
        "row = Reshape(x, all)\n high = Greater(row, mean)\n y = Compress(row, high)",
        lambda x: x[x > x.mean()],
    ),
    "ConstantOfShape": (
        (
            "zeros = ConstantOfShape(whole)\n ones = Cos(zeros)\n sum = ReduceSum<keepdims = 0>(ones)\n"
            "y = Mul(x, sum)"
        ),
        lambda x: x * number(x),
    ),
    "CumSum": ("y = CumSum(x, number)", lambda x: x.cumsum(number(x))),
    "Expand": (
        (
            "sizes = Constant<value_ints = [2, 4, 4]>()\n shape = Concat<axis = 0>(whole, sizes)\n"
            "y = Expand(x, shape)"
        ),
        lambda x: np.broadcast_to(x, (number(x), *SHAPE[1:])),
    ),
    "OneHot": (
        """places = Constant<value_ints = [0, 0]>()
        pair = Constant<value_floats = [1.0, 3.0]>()
        hot = OneHot(places, whole, pair)
        y = Mul(mean, hot)""",
        lambda x: x.mean() * np.array([[3.0] + [1.0] * (number(x) - 1)] * 2),
    ),
    "Pad": (
        (
            "zeros = Constant<value_ints = [0, 0, 0]>()\n none = Constant<value_ints = [0]>()\n"
            "pads = Concat<axis = 0>(zeros, whole, zeros, none)\n y = Pad(x, pads)"
        ),
        lambda x: np.pad(x, [(0, 0), (0, 0), (0, 0), (number(x), 0)]),
    ),
    "ReduceSum": ("y = ReduceSum(x, whole)", lambda x: x.sum(number(x), keepdims=True)),
    "SequenceAt": (
        "parts = SplitToSequence<axis = 3>(x)\n y = SequenceAt(parts, number)",
        lambda x: x[..., number(x) : number(x) + 1],
    ),
    "SequenceErase": (
        (
            "parts = SplitToSequence<axis = 3>(x)\n others = SequenceErase(parts, number)\n"
            "y = ConcatFromSequence<axis = 3>(others)"
        ),
        kept,
    ),
    "SequenceInsert": (
        (
            "parts = SplitToSequence<axis = 3>(x)\n first = SequenceAt(parts, zero)\n"
            "more = SequenceInsert(parts, first, number)\n y = ConcatFromSequence<axis = 3>(more)"
        ),
        lambda x: np.insert(x, number(x), x[..., 0], 3),
    ),
    "Split": (
        (
            "size = Constant<value_ints = [4]>()\n rest = Sub(size, whole)\n"
            "sizes = Concat<axis = 0>(whole, rest)\n y, z = Split<axis = 3>(x, sizes)"
        ),
        lambda x: x[..., : number(x)],
    ),
    "SplitToSequence": (
        "parts = SplitToSequence<axis = 3>(x, number)\n y = SequenceAt(parts, zero)",
        lambda x: x[..., : number(x)],
    ),
    "Squeeze": (
        "square = Mul(whole, whole)\n axis = Mod(square, whole)\n y = Squeeze(x, axis)",
        lambda x: x[0],
    ),
    "Tile": (
        (
            "ones = Constant<value_ints = [1, 1, 1]>()\n repeats = Concat<axis = 0>(ones, whole)\n"
            "y = Tile(x, repeats)"
        ),
        lambda x: np.tile(x, (1, 1, 1, number(x))),
    ),
    "Unsqueeze": ("y = Unsqueeze(x, whole)", lambda x: np.expand_dims(x, number(x))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_image_decides_what_an_operator_has_to_know(name: str) -> None:
    body, f = OPERATORS[name]
    more = "all = Constant<value_ints = [-1]>()\n zero = Constant<value_int = 0>()\n"
    opened = onnxscope.load(model(more + body), output="y")
    for image in (DARK, BRIGHT):
        x = opened.freeze(image)
        close(x.output, np.asarray(f(image)), 1e-6, "y0")
        close(x.project(image) + x.residual(), x.output, 1e-5, "F·x0 + r")
        assert name in {d.op for d in x.model.scope.decided}


def test_scales_are_alike_to_rounding() -> None:
    """A floating-point number decides alike up to a hundred-thousandth of it."""
    body = """eight = Constant<value_float = 8.5>()
        scale = Mul(mean, eight)
        pair = Constant<value_ints = [2]>()
        both = Expand(scale, pair)
        ones = Constant<value_floats = [1.0, 1.0]>()
        scales = Concat<axis = 0>(ones, both)
        y = Resize<mode = "linear">(x, , scales)"""
    scope = onnxscope.rewrite(model(body), image=DARK)
    (decision,) = scope.decided
    assert decision.what == "scales" and isinstance(decision.value[2], float)
    opened = onnxscope.load(scope)
    for factor, alike in ((1 + 4e-6, True), (1 - 4e-6, True), (1 + 4e-5, False), (1 - 4e-5, False)):
        with nullcontext() if alike else pytest.raises(OtherDecision, match=r"its scales would be"):
            opened.freeze(DARK * np.float32(factor))


def test_nothing_may_be_found() -> None:
    """No pixel is as bright as asked for: what is gathered is empty, and its sum does not follow the image."""
    body = """two = Constant<value_float = 2.0>()
        all = Constant<value_ints = [-1]>()
        row = Reshape(x, all)
        high = Greater(row, two)
        places = NonZero(high)
        turned = Transpose(places)
        found = GatherND(row, turned)
        sum = ReduceSum<keepdims = 0>(found)
        y = Add(x, sum)"""
    assert onnxscope.verify(model(body), image_values=DARK).ok
    x = onnxscope.load(model(body)).freeze(DARK)
    close(x.dense(), np.eye(x.image.size), 1e-6, "F")
    assert "4x" not in x.about()["notes"][0] and "1x0 numbers []" in x.about()["notes"][0]


def test_a_scope_for_all_sizes_cannot_be_decided() -> None:
    said = raised(
        onnxscope.Unsupported,
        lambda: onnxscope.rewrite(whole_numbers(), free_size=True, picture="not read.png"),
    )
    assert "its condition depends on 'x'" in said
    assert said.endswith(
        "leave --free-size out, and give an image that decides it: --image FILE, or image=… in Python"
    )
