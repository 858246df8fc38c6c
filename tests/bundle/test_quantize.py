"""8-bit bundles: the rounding by hand, the logit fitted, the parent named, faults told, nothing half-written."""

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
import torch
from onnx import numpy_helper

from bundle_factory import make_bundle
from leukoscope.bundle.export import ExplainedGraph, graph_bytes
from leukoscope.bundle.quantize import logit_correction, quantized, round_filters, rounded_graph
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.seal import unsealed
from leukoscope.errors import BundleError, DataError
from leukoscope.models import create_model

MADE_ON = {"data": "rendered", "fingerprint": "f" * 64, "groups": ["2", "1", "2"], "seed": 0}
FRAMES = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("crse_cnn", widths=(8, 16, 8)).eval()  # one convolution of 1,152 weights, one of as many


@pytest.fixture(scope="module")
def graph(network: torch.nn.Module) -> bytes:
    return graph_bytes(network, 32, 32)  # type: ignore[arg-type]


@pytest.fixture
def parent(graph: bytes, tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "parent", graph=graph, frame=32, decision={"threshold": 0.4})


@pytest.fixture
def child(parent: Path, tmp_path: Path) -> Path:
    quantized(read_bundle(parent), FRAMES, **MADE_ON).write(tmp_path / "child")
    return tmp_path / "child"


def _logits(graph: bytes) -> np.ndarray:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logit"], {"frames": FRAMES})[0], np.float64)


def test_filters_are_rounded_to_multiples_of_their_own_scale() -> None:
    weights = np.array([[127.0, -63.4], [0.0, 0.0], [-0.5, 0.25]], np.float32)[:, :, None, None]
    whole, scale = round_filters(weights)
    assert whole[..., 0, 0].tolist() == [[127, -63], [0, 0], [-127, 64]]  # 63.5 to the even neighbour
    assert scale.ravel().tolist() == pytest.approx([1, 1, 0.5 / 127])


def test_the_graph_counts_with_the_rounded_weights(network: torch.nn.Module, graph: bytes) -> None:
    made, count = rounded_graph(graph)
    assert count == 2
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(made).graph.initializer}
    assert sorted(each.size for each in stored.values() if each.dtype == np.int8) == [1152, 1152]
    with torch.no_grad():
        kept = [block.conv.weight.clone() for block in network.blocks]  # type: ignore[union-attr]
        for block in list(network.blocks)[1:]:  # type: ignore[arg-type]
            weight = block.conv.weight
            scale = weight.abs().amax((1, 2, 3), keepdim=True) / 127
            weight.copy_((weight / scale).round() * scale)
        by_hand = ExplainedGraph(network, 32)(torch.from_numpy(FRAMES))[0].numpy()  # type: ignore[arg-type]
        for block, weight in zip(network.blocks, kept, strict=True):  # type: ignore[arg-type]
            block.conv.weight.copy_(weight)
    assert _logits(made) == pytest.approx(by_hand, abs=2e-5)
    assert np.abs(_logits(made) - _logits(graph)).max() > 1e-4


def test_slope_and_offset_are_those_of_the_least_squares_line() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(size=50)
    wanted = 1.1 * found - 0.3 + 0.01 * rng.normal(size=50)
    assert logit_correction(wanted, found) == pytest.approx(tuple(np.polyfit(found, wanted, 1)))
    assert logit_correction(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == (1, 0)
    assert logit_correction(wanted, np.ones(50)) == pytest.approx((1, wanted.mean() - 1))


def test_on_the_calibration_cells_the_logit_is_right_on_average(parent: Path, child: Path) -> None:
    before, after = read_bundle(parent).graph, read_bundle(child).graph
    away = _logits(after) - _logits(before)
    assert abs(away.mean()) < 1e-5
    plain = _logits(rounded_graph(before)[0]) - _logits(before)
    assert np.square(away).sum() < np.square(plain).sum()
    assert len(after) < len(before)


def test_the_bundle_names_its_parent_and_decides_like_it(parent: Path, child: Path) -> None:
    before, after = read_bundle(parent).facts, read_bundle(child).facts
    assert (before.precision, after.precision, after.measured) == ("fp32", "int8", [])
    made = after.quantised
    assert made is not None
    assert (made.parent, made.files, made.pictures, made.groups) == ("by-hand", before.files, 6, ["1", "2"])
    assert made.convolutions == 2
    assert (after.decision, after.preparation) == (before.decision, before.preparation)
    assert "8-bit form of by-hand" in (child / "README.md").read_text()


def test_without_cells_there_is_nothing_to_calibrate_on(parent: Path) -> None:
    with pytest.raises(DataError, match="no cells to calibrate on"):
        quantized(read_bundle(parent), [], **MADE_ON)


def test_bundles_that_cannot_be_quantised_are_refused_by_name(child: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is int8 already"):
        quantized(read_bundle(child), FRAMES, **MADE_ON)
    flat = make_bundle(tmp_path / "flat")  # pooling only
    with pytest.raises(BundleError, match=r"model\.onnx: has no convolution of 1,024 weights"):
        quantized(read_bundle(flat), FRAMES, **MADE_ON)
    with pytest.raises(BundleError, match="holds 8-bit numbers already"):
        rounded_graph(read_bundle(child).graph)


def test_cells_of_another_frame_size_are_refused(parent: Path) -> None:
    wrong = np.zeros((2, 100, 100, 3), np.uint8)
    with pytest.raises(BundleError, match="cannot be run on the cells"):
        quantized(read_bundle(parent), wrong, **MADE_ON)


def test_a_bundle_that_says_int8_without_a_parent_is_refused(child: Path, tmp_path: Path) -> None:
    facts, _ = unsealed((child / "bundle.json").read_bytes())
    for name in facts["files"]:
        (tmp_path / name).write_bytes((child / name).read_bytes())
    (tmp_path / "bundle.json").write_text(json.dumps(facts | {"quantised": None}))
    with pytest.raises(BundleError, match="what it was quantised from"):
        read_bundle(tmp_path)


_KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from leukoscope.bundle.quantize import quantized
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.seal import unsealed

def frames():
    yield from np.load(sys.argv[3])
    os.kill(os.getpid(), signal.SIGKILL)

made = quantized(read_bundle(sys.argv[1]), frames(), data="rendered", fingerprint="f", groups=["1"], seed=0)
made.write(Path(sys.argv[2]))
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
