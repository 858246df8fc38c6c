"""The graph sees what training saw, and a bundle is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from leukoscope.bundle.audits import Estimate
from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.card import model_card
from leukoscope.bundle.export import graph_bytes
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import DecisionFacts, MeasuredFacts, TrainingFacts
from leukoscope.cells.frame import Preparation, prepare, resize_frame
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import BundleError, LeukoscopeError
from leukoscope.models import CellClassifier, create_model

TRAINING = TrainingFacts(
    model="plain_cnn",
    arguments={"dropout": 0.5},
    parameters=389_633,
    recipe="paper",
    seed=3,
    data="rendered",
    data_fingerprint="f" * 64,
    pictures=12,
    groups_trained=["1", "H2"],
    groups_validated=["3"],
    shortened="12 pictures only",
    machine="one of ours",
)
MEASURED = MeasuredFacts(
    data="rendered",
    protocol="group",
    fold=1,
    pictures=5,
    groups=["4", "H5"],
    metrics={
        "auc": Estimate(value=0.75, low=0.5, high=0.875),
        "ece": Estimate(value=None),
        "matthews": Estimate(value=1),
    },
)


class Eye(CellClassifier):
    """Passes the pictures through, so that what the network sees can be read off the embedding."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x

    def embed(self, features: Tensor) -> Tensor:
        return features.flatten(1)

    def forward_head(self, features: Tensor) -> Tensor:
        return features.mean((1, 2, 3))[:, None]

    def cam_weights(self) -> Tensor:
        return torch.full((3,), 1 / 3)


@pytest.mark.parametrize("size", [224, 112, 200])
def test_the_network_sees_in_the_graph_what_it_saw_in_training(size: int) -> None:
    session = ort.InferenceSession(graph_bytes(Eye(), size, 450), providers=["CPUExecutionProvider"])
    frames = np.stack([prepare(render_cell(seed, "blast"), Preparation()) for seed in range(3)])
    seen = session.run(["embedding"], {"frames": frames})[0].reshape(3, 3, size, size) * 255
    cached = np.stack([resize_frame(frame, size) for frame in frames]).transpose(0, 3, 1, 2).astype(float)
    difference = np.abs(seen - cached)
    assert difference.max() <= 1.001
    assert difference.mean() < 0.1


def test_no_resize_where_sizes_agree() -> None:
    session = ort.InferenceSession(graph_bytes(Eye(), 64, 64), providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    seen = session.run(["embedding"], {"frames": frames})[0].reshape(2, 3, 64, 64) * 255
    np.testing.assert_allclose(seen, frames.transpose(0, 3, 1, 2), atol=1e-4)


def _write(folder: Path, **changes: object) -> None:
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "name": "test",
        "preparation": Preparation(frame_size=64),
        "input_size": 32,
        "decision": DecisionFacts(),
        "training": TRAINING,
        "measured": (MEASURED,),
        "data_licences": ("Rendered cells: none.",),
        "created": "2026-01-01",
    }
    graph = graph_bytes(create_model("plain_cnn", widths=(4, 8)), 32, 64)
    Bundle.of(graph, folder, **(settings | changes)).write(folder)


def test_round_trip(tmp_path: Path) -> None:
    _write(tmp_path / "b")
    bundle = read_bundle(tmp_path / "b")
    assert bundle.facts.training == TRAINING
    assert bundle.facts.measured == [MEASURED]
    for name, digest in bundle.facts.files.items():
        assert hashlib.sha256((tmp_path / "b" / name).read_bytes()).hexdigest() == digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


def test_writing_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    _write(tmp_path / "b")
    (tmp_path / "b" / "stray.txt").write_text("x")
    _write(tmp_path / "b", name="second")
    assert read_bundle(tmp_path / "b").facts.name == "second"
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["README.md", "bundle.json", "model.onnx"]


def test_a_failure_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "b")
    before = {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LeukoscopeError, match=r"cannot be written .No space left on device.; free disk space"):
        _write(tmp_path / "b", name="second")
    assert {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


def test_a_byte_changed_is_found(tmp_path: Path) -> None:
    _write(tmp_path / "b")
    path = tmp_path / "b" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=re.escape("model.onnx")):
        read_bundle(tmp_path / "b")


def test_the_card_says_what_the_facts_say(tmp_path: Path) -> None:
    _write(tmp_path / "b")
    facts = read_bundle(tmp_path / "b").facts
    card = (tmp_path / "b" / "README.md").read_text()
    assert card == model_card(facts.model_copy(update={"files": {}}))
    for words in (
        "never a diagnosis",
        "not calibrated",
        "| ROC AUC | 0.750 [0.500, 0.875] |",
        "| expected calibration error | undefined |",
        "**Shortened** against the recipe: 12 pictures only",
        "Groups trained on (2): 1, H2",
        "389,633 trainable parameters",
        "Rendered cells: none.",
    ):
        assert words in card
    json.loads((tmp_path / "b" / "bundle.json").read_text())


def test_a_card_without_facts_says_so(tmp_path: Path) -> None:
    _write(tmp_path / "b", training=None, measured=(), data_licences=())
    card = (tmp_path / "b" / "README.md").read_text()
    assert "Not recorded." in card
    assert "None were measured." in card
