"""Tests of a bundle's heat maps: real small trainings on rendered cells, with true and with shuffled labels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper
from PIL import Image

from leukoscope.bundle.audits import KINDS, TITLES, RuleFacts
from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.export import graph_bytes
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import TrainingFacts
from leukoscope.cells.frame import Clahe, Preparation, prepare
from leukoscope.cli import main
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import BundleError, DataError
from leukoscope.inference.classifier import Classifier
from leukoscope.models import CellClassifier, closed_form_cam, create_model
from leukoscope.studies.audits.audit import part_of
from leukoscope.studies.audits.heatmaps.bundle import drawn_cells, explain_bundle, load_cells, relative_of
from leukoscope.studies.audits.heatmaps.randomise import random_layers
from leukoscope.studies.audits.shortcuts.bundle import shortcut_bundle

FRAME, INPUT = 96, 32
PREPARATION = Preparation(frame_size=FRAME)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered cells to learn from and others to test on; a bundle that learned, and one from shuffled labels."""
    folder = tmp_path_factory.mktemp("explained")
    write_synthetic(folder / "train", count=160, seed=1, subjects=8, size=FRAME, layout="folders")
    write_synthetic(folder / "test", count=40, seed=2, subjects=8, size=FRAME, layout="folders")
    data = read_dataset(folder / "train")
    frames = np.stack([prepare(np.asarray(Image.open(path)), PREPARATION) for path in data.paths()])
    for name in ("true", "shuffled"):
        label = data.labels()
        if name == "shuffled":
            label = np.random.default_rng(5).permutation(label)
        model = _trained(frames, label)
        graph = graph_bytes(model, INPUT, FRAME)
        Bundle.of(graph, folder, name=name, preparation=PREPARATION, input_size=INPUT).write(folder / name)
    return folder


def _trained(frames: np.ndarray, label: np.ndarray) -> CellClassifier:
    torch.manual_seed(0)
    model = create_model("crse_cnn", widths=(8, 16), se_ratio=4, dropout=0.0)
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    x = torch.nn.functional.interpolate(x, size=(INPUT, INPUT), mode="bilinear", antialias=True).round() / 255
    y = torch.from_numpy(label).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(25):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], y[rows])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        for _ in range(30):  # the running statistics catch up with the final weights
            model(x)
    return model.eval()


def test_shuffled_labels_fail_the_audit(world: Path) -> None:
    cells, _ = load_cells(read_dataset(world / "test"), PREPARATION, count=24)
    true, shuffled = (Classifier(read_bundle(world / name), threads=1) for name in ("true", "shuffled"))
    learned = explain_bundle(true, cells, shuffled=shuffled, draws=1)
    nothing = explain_bundle(shuffled, cells, draws=1)
    outcome = {rule.key: rule.outcome for rule in learned.rules}
    assert outcome["knows"] == "passes"
    assert outcome["hangs on labels"] != "not measured"
    assert {rule.key: rule.outcome for rule in nothing.rules}["knows"] == "fails"
    assert json.loads(json.dumps(learned.to_json(), allow_nan=False))["counts"]["cells"] == 24
    assert learned.figures["less the empty frame"]["cell"].value > 0
    equalised = shuffled.bundle.facts.model_copy(update={"preparation": Preparation(frame_size=FRAME, clahe=Clahe())})
    with pytest.raises(BundleError, match="another way"):
        explain_bundle(true, cells, shuffled=Classifier(replace(shuffled.bundle, facts=equalised), threads=1))


@pytest.mark.parametrize("name", ["crse_cnn", "plain_cnn", "compact_cnn"])
def test_random_layers_keep_the_map_that_of_the_logit(name: str, tmp_path: Path) -> None:
    """The new weights, put into the network itself, give the randomised graph's logit and closed-form map."""
    torch.manual_seed(1)
    arguments: dict[str, Any] = {"widths": (4, 6)}
    if name != "plain_cnn":
        arguments["residual"] = False  # the exporter folds the shortcut's normalisation into its weights
    model = create_model(name, **arguments).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    frames = np.random.default_rng(0).integers(0, 256, (2, INPUT, INPUT, 3), dtype=np.uint8)
    graph = graph_bytes(model, INPUT, INPUT)
    bundle = Bundle.of(graph, tmp_path, name=name, preparation=Preparation(frame_size=INPUT), input_size=INPUT)
    stages = list(random_layers(graph, seed=3))
    assert [stage[0] for stage in stages] == sorted({stage[0] for stage in stages})
    assert stages[-1][0] == stages[-1][1]
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    first = Classifier(bundle, threads=1).predict_frames(frames)[1]
    for layers, _, changed in stages:
        values = {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(changed).graph.initializer}
        state = {
            # Gates are 1x1 convolutions in a graph and linear layers in a network.
            key: torch.from_numpy(values[f"model.{key}"].reshape(value.shape).copy())
            if f"model.{key}" in values
            else value
            for key, value in model.state_dict().items()
        }
        moved = sum(not torch.equal(value, model.state_dict()[key]) for key, value in state.items() if value.ndim >= 2)
        assert moved == layers
        other = create_model(name, **arguments).eval()
        other.load_state_dict(state)
        with torch.no_grad():
            features = other.forward_features(x)
            logit = other.forward_head(features)[:, 0]
            shown = other.shown_map(closed_form_cam(other, features), x, logit)
            wanted = shown.numpy(), logit.numpy()
        found = Classifier(type(bundle)(bundle.folder, bundle.facts, changed), threads=1).predict_frames(frames)
        assert found[1] == pytest.approx(wanted[0], abs=float(1e-4 + 1e-3 * np.abs(wanted[0]).max()))
        assert found[0] == pytest.approx(wanted[1], rel=1e-3, abs=1e-4)
        assert np.abs(found[1] - first).max() > 0.01 * np.abs(first).max()


def test_a_graph_without_layers_cannot_be_randomised(small_graph: bytes) -> None:
    with pytest.raises(BundleError):
        list(random_layers(small_graph, seed=0))


@pytest.fixture
def small_graph() -> bytes:
    from bundle_factory import make_graph  # noqa: PLC0415

    return make_graph()


def test_the_empty_frame_has_no_map_of_its_own(world: Path) -> None:
    explain = relative_of(Classifier(read_bundle(world / "true"), threads=1))
    assert not explain(np.zeros((1, FRAME, FRAME, 3), np.uint8)).any()


def test_shortcuts_of_a_real_small_network(world: Path) -> None:
    data = read_dataset(world / "test")
    run = shortcut_bundle(Classifier(read_bundle(world / "true"), threads=1), data, count=40)
    assert run.result.auc["plain"].value > 0.7
    assert run.result.auc["background only"].value == 0.5
    assert run.result.black
    again = shortcut_bundle(Classifier(read_bundle(world / "true"), threads=1), data, count=40)
    assert again.result.to_json() == run.result.to_json()


def test_the_commands(world: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "blast").mkdir(parents=True)
    (tmp_path / "data" / "normal").mkdir()
    for index, path in enumerate(sorted((world / "test").rglob("*.png"))[::3]):
        kind = "blast" if "blast" in path.parts else "normal"
        (tmp_path / "data" / kind / f"{index}.png").write_bytes(path.read_bytes())
    (tmp_path / "data" / "blast" / "broken.png").write_bytes(b"no picture")
    bundle = shutil.copytree(world / "true", tmp_path / "bundle")
    for verb in ("explanations", "shortcuts"):
        result = CliRunner().invoke(
            main, ["audit", verb, str(bundle), "--data", str(tmp_path / "data"), "--cells", "20", "--threads", "1",
                   "--out", str(tmp_path / "out"), "--write"]
        )  # fmt: skip
        assert result.exit_code == (1 if "broken" in result.output else 0), result.output
        assert "verdict: " in result.output
        page = (tmp_path / "out" / f"{verb}.html").read_text()
        facts = json.loads((tmp_path / "out" / f"{verb}.json").read_text())
        assert all(RuleFacts.model_validate(rule).title in page for rule in facts["rules"])
        assert "data:image/png;base64," in page
        assert "<svg" in page
        kept = {each.kind: each for each in read_bundle(bundle).facts.audits}[verb]
        assert (kept.cells, kept.patients) == (facts["counts"]["cells"], "unseen")
        assert [rule.model_dump() for rule in kept.rules] == facts["rules"]
        assert set(kept.figures) <= set(TITLES)
        assert f"**{KINDS[verb]}**: " in (bundle / "README.md").read_text()
    assert kept.figures["auc_plain"].to_json() == facts["auc"]["plain"]
    assert kept.unreadable in {0, 1}


def test_evaluate_runs_both_audits(world: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(world / "true", tmp_path / "bundle")
    arguments = ["evaluate", "--bundle", str(bundle), "--data", str(world / "test"), "--out", str(tmp_path / "out")]
    for more in (["--audit", "--audit-cells", "16", "--write"], []):  # the second tells what is recorded
        result = CliRunner().invoke(main, [*arguments, "--threads", "1", "--replace", *more])
        assert result.exit_code == 0, result.output
        told = json.loads((tmp_path / "out" / "metrics.json").read_text())
        page = (tmp_path / "out" / "report.html").read_text()
        kept = [each.model_dump(mode="json") for each in read_bundle(bundle).facts.audits]
        assert told["audits"] == kept
        assert [each["kind"] for each in kept] == ["explanations", "shortcuts"]
        assert all(escape(rule["found"]) in page for each in kept for rule in each["rules"])
        assert "not audited" not in page
        assert ('href="shortcuts.html"' in page) == bool(more)
    assert CliRunner().invoke(main, [*arguments, "--write"]).exit_code == 2


def test_what_the_bundle_has_seen_is_left_out_and_named(world: Path) -> None:
    data = read_dataset(world / "test")
    groups = sorted(set(data.groups().tolist()))
    bundle = read_bundle(world / "true")
    training = TrainingFacts(
        model="m", arguments={}, parameters=1, recipe="r", seed=0, data=data.name, data_fingerprint="0", pictures=9,
        groups_trained=groups[:2], groups_validated=groups[2:3], machine="x",
    )  # fmt: skip
    bundle = replace(bundle, facts=bundle.facts.model_copy(update={"training": training}))
    part = part_of(bundle, data)
    assert (part.left_out, part.seen) == (tuple(groups[:3]), False)
    assert set(part.cells.groups().tolist()) == set(groups[3:])
    assert part.left_out_pictures == len(data) - len(part.cells)
    assert part_of(bundle, data, include_trained=True).seen
    test = data.select(data.groups() == groups[3])
    given = part_of(bundle, data, test=test)
    assert (given.cells, given.left_out, given.seen) == (test, tuple(groups[:3]), False)


@pytest.mark.parametrize("verb", ["explanations", "shortcuts"])
def test_bad_input_in_one_line(verb: str, world: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    for bundle, data in ((tmp_path / "no", world / "test"), (world / "true", tmp_path / "none")):
        result = CliRunner().invoke(
            main, ["audit", verb, str(bundle), "--data", str(data), "--out", str(tmp_path / "o")]
        )
        assert result.exit_code == 2
        assert "Traceback" not in result.output
        assert not (tmp_path / "o").exists()


def _pair(folder: Path, mask: np.ndarray, size: int = 60) -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((size, size, 3), 150, np.uint8)).save(folder / "a.png")
    Image.fromarray(mask.astype(np.uint8)).save(folder / "a.mask.png")
    return folder


def test_drawn_masks_are_scaled_with_their_pictures(tmp_path: Path) -> None:
    y, x = np.mgrid[:60, :60]
    mask = np.where((x - 25) ** 2 + (y - 35) ** 2 <= 20**2, 128, 0)
    mask[(x - 25) ** 2 + (y - 35) ** 2 <= 10**2] = 255
    cells = drawn_cells(_pair(tmp_path / "d", mask), PREPARATION, 2000.0)
    assert cells.outline.sum() == pytest.approx(2000, rel=0.03)
    assert cells.nucleus[0] is not None
    assert cells.nucleus[0].sum() == pytest.approx(500, rel=0.08)
    rows, columns = np.nonzero(cells.outline[0])
    assert (rows.mean(), columns.mean()) == pytest.approx((47.5, 47.5), abs=0.6)


@pytest.mark.parametrize("fault", ["size", "empty", "none"])
def test_drawn_masks_that_do_not_fit(fault: str, tmp_path: Path) -> None:
    mask = np.zeros((60, 60)) if fault == "empty" else np.full((50, 60), 255)
    folder = tmp_path if fault == "none" else _pair(tmp_path / "d", mask)
    with pytest.raises(DataError):
        drawn_cells(folder, PREPARATION, 2000.0)
