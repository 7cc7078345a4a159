"""Files that are exchanged between the check and the reading, and systems that open no file by a descriptor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from makers import external, model, node, stored

from onnxscope.errors import BadModel
from onnxscope.files import external as opening
from onnxscope.files import models, weights
from onnxscope.run.single_runs import run_original

SECRET = np.full((256, 256), 7, np.float32)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model whose weight is so large that it stays in its file, and a secret of the same size outside."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(SECRET.tobytes())
    weight = np.eye(256, dtype=np.float32)
    proto = model([node("MatMul", ["x", "w"])], [stored(weight)], (1, 256))
    path = tmp_path / "in" / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def exchange(path: Path, how: str) -> None:
    secret = path.parents[1] / "secret"
    data = path.with_name("w.bin")
    if how == "a change":
        data.write_bytes(secret.read_bytes())
        os.utime(data, ns=(1, 1))
    elif how == "a folder":
        path.parent.rename(path.parents[1] / "old")
        path.parent.mkdir()
        data.write_bytes(secret.read_bytes())
    else:
        data.unlink()
        {"a link": data.symlink_to, "a hard link": data.hardlink_to, "a file": secret.rename}[how](
            data if how == "a file" else secret
        )


HOWS = ["a link", "a hard link", "a file", "a change", "a folder"]


@pytest.mark.parametrize("how", HOWS)
def test_a_file_that_is_exchanged_after_the_check_is_not_read(how, large):
    loaded = models.load(large)
    (tensor,) = loaded.proto.graph.initializer
    np.testing.assert_array_equal(weights.StoredValues(tensor).part(0, 2), [1, 0])
    exchange(large, how)
    for read in (
        lambda: weights.StoredValues(tensor).load(),
        lambda: weights.StoredValues(tensor).part(0, 1),
    ):
        with pytest.raises(BadModel, match=r"exchanged|link"):
            read()
    with pytest.raises(BadModel, match=r"exchanged|link"):
        run_original(loaded, {"x": np.zeros((1, 256), np.float32)})


@pytest.mark.parametrize("by_descriptor", [True, False])
@pytest.mark.parametrize("how", ["a link", "a hard link", "a file"])
def test_a_file_that_is_exchanged_while_it_is_opened_is_not_read(how, by_descriptor, large, monkeypatch):
    monkeypatch.setattr(opening, "BY_DESCRIPTOR", by_descriptor and opening.BY_DESCRIPTOR)
    looked, done = opening.refuse, []

    def then(where, location, found, *, inner=False):
        looked(where, location, found, inner=inner)
        if not done:
            done.append(exchange(large, how))

    monkeypatch.setattr(opening, "refuse", then)
    opened = opening.opened("weight", large.parent, "w.bin")
    if how == "a file" and by_descriptor:  # an honest file of the folder, which only came later
        with opened:
            return
    with pytest.raises(BadModel, match=r"link|exchanged|cannot be read"), opened:
        pass


@pytest.mark.parametrize(
    ("location", "said"),
    [("link", "symbolic link"), ("up/secret", "lies behind one"), ("hard", "hard link"), ("none", "missing")],
)
def test_without_descriptors_the_same_is_refused(location, said, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "BY_DESCRIPTOR", False)
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(432))
    (folder / "link").symlink_to("w.bin")
    (folder / "up").symlink_to("..")
    (folder / "hard").hardlink_to(tmp_path / "secret")
    onnx.save(external(folder), folder / "good.onnx")
    models.load(folder / "good.onnx")
    onnx.save(external(folder, location), folder / "bad.onnx")
    with pytest.raises(BadModel, match=said):
        models.load(folder / "bad.onnx")


def test_the_runtime_opens_no_file_of_a_model_whose_weights_are_elsewhere(large):
    loaded = models.load(large)
    large.unlink()
    x = np.arange(256, dtype=np.float32)[None]
    np.testing.assert_array_equal(run_original(loaded, {"x": x})["y"], x)
