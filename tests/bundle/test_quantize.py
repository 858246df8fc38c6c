"""8-bit bundles: the arithmetic by hand, the parent named, faults told, nothing half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundle_factory import make_bundle
from leukoscope.bundle.quantize import quantize_bundle, quantized_graph
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import BundleError, DataError

MADE_ON = {"data": "rendered", "fingerprint": "f" * 64, "groups": ["2", "1", "2"], "seed": 0}
FRAMES = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    second = np.random.default_rng(2).normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = _two_convolutions(np.eye(3, dtype=np.float32)[:, :, None, None], second)
    return make_bundle(tmp_path / "parent", graph=graph, frame=32, decision={"threshold": 0.4})


@pytest.fixture
def child(parent: Path, tmp_path: Path) -> Path:
    quantize_bundle(read_bundle(parent), tmp_path / "child", FRAMES, **MADE_ON)
    return tmp_path / "child"


def test_one_convolution_is_the_integer_arithmetic_worked_out_by_hand() -> None:
    rng = np.random.default_rng(0)
    first, second = np.eye(3, dtype=np.float32)[:, :, None, None], rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = _two_convolutions(first, second)
    frames = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    frames[0, 0, 0], frames[0, 0, 1] = 0, 255  # the range of the activations is 0 to 1
    made, count = quantized_graph(graph, frames)
    assert count == 1
    x = frames.transpose(0, 3, 1, 2) / np.float64(255)
    q = np.clip(np.rint(x * 255), 0, 255)  # scale 1/255, zero point 0
    scale = np.abs(second).max((1, 2, 3)) / 64
    w = np.clip(np.rint(second / scale[:, None, None, None]), -64, 64)
    padded = np.pad(q, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    exact = np.einsum("nchwij,ocij->nohw", windows, w) * scale[None, :, None, None] / 255
    scales = {i.name: numpy_helper.to_array(i) for i in onnx.load_from_string(made).graph.initializer}
    step, zero = float(scales["features_scale"]), int(scales["features_zero_point"])
    rounded = (np.clip(np.rint(exact / step) + zero, 0, 255) - zero) * step
    found = ort.InferenceSession(made, providers=["CPUExecutionProvider"]).run(["features"], {"frames": frames})[0]
    off = np.abs(found - rounded)
    assert off.max() < 1.01 * step  # one step, where the sum lies between two
    assert np.mean(off > 0.01 * step) < 0.01
    assert found.std() > 0.5


def _two_convolutions(first: NDArray[np.float32], second: NDArray[np.float32]) -> bytes:
    nodes = [
        helper.make_node("Transpose", ["frames"], ["nchw"], name="t", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["float"], name="c", to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "top"], ["unit"], name="d"),
        helper.make_node("Conv", ["unit", "first"], ["seen"], name="first", kernel_shape=[1, 1]),
        helper.make_node("Conv", ["seen", "second"], ["features"], name="second", pads=[1] * 4, kernel_shape=[3, 3]),
    ]
    constants = {"top": np.array(255, np.float32), "first": first, "second": second}
    graph = helper.make_graph(
        nodes, "two",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 4, 32, 32])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def test_the_bundle_names_its_parent_and_decides_like_it(parent: Path, child: Path) -> None:
    before, after = read_bundle(parent).facts, read_bundle(child).facts
    assert (before.precision, after.precision, after.measured) == ("fp32", "int8", [])
    made = after.quantised
    assert made is not None
    assert (made.parent, made.files, made.pictures, made.groups) == ("by-hand", before.files, 3, ["1", "2"])
    assert made.convolutions == 1
    assert (after.decision, after.preparation) == (before.decision, before.preparation)
    assert "8-bit form of by-hand" in (child / "README.md").read_text()


def test_without_cells_nothing_is_written(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no cells to calibrate on"):
        quantize_bundle(read_bundle(parent), tmp_path / "b", [], **MADE_ON)
    assert not (tmp_path / "b").exists()


def test_bundles_that_cannot_be_quantised_are_refused_by_name(child: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is int8 already"):
        quantize_bundle(read_bundle(child), tmp_path / "b", FRAMES, **MADE_ON)
    flat = make_bundle(tmp_path / "flat")  # pooling only
    with pytest.raises(BundleError, match=r"model\.onnx: has no second convolution"):
        quantize_bundle(read_bundle(flat), tmp_path / "b", FRAMES, **MADE_ON)
    with pytest.raises(BundleError, match="holds 8-bit nodes already"):
        quantized_graph(read_bundle(child).graph, FRAMES)
    assert not (tmp_path / "b").exists()


def test_cells_of_another_frame_size_are_refused(parent: Path, tmp_path: Path) -> None:
    wrong = np.zeros((2, 100, 100, 3), np.uint8)
    with pytest.raises(BundleError, match="cannot be quantised"):
        quantize_bundle(read_bundle(parent), tmp_path / "b", wrong, **MADE_ON)
    assert not (tmp_path / "b").exists()


def test_a_bundle_that_says_int8_without_a_parent_is_refused(child: Path, tmp_path: Path) -> None:
    facts = json.loads((child / "bundle.json").read_text())
    for name in facts["files"]:
        (tmp_path / name).write_bytes((child / name).read_bytes())
    (tmp_path / "bundle.json").write_text(json.dumps(facts | {"quantised": None}))
    with pytest.raises(BundleError, match="what it was quantised from"):
        read_bundle(tmp_path)


_KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from leukoscope.bundle.quantize import quantize_bundle
from leukoscope.bundle.read import read_bundle

def frames():
    yield from np.load(sys.argv[3])
    os.kill(os.getpid(), signal.SIGKILL)

quantize_bundle(
    read_bundle(sys.argv[1]), Path(sys.argv[2]), frames(), data="rendered", fingerprint="f", groups=["1"], seed=0
)
"""


def test_a_process_killed_while_calibrating_leaves_the_old_bundle(parent: Path, tmp_path: Path) -> None:
    old = make_bundle(tmp_path / "here" / "bundle")
    before = {p.name: p.read_bytes() for p in old.iterdir()}
    np.save(tmp_path / "frames.npy", FRAMES)
    command = [sys.executable, "-c", _KILLED, str(parent), str(old), str(tmp_path / "frames.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {p.name: p.read_bytes() for p in old.iterdir()} == before
    assert [p.name for p in old.parent.iterdir()] == ["bundle"]
