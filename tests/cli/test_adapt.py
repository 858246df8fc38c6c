"""`leukoscope adapt` on rendered cells and a small real network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.bundle.export import graph_bytes
from leukoscope.bundle.read import read_bundle
from leukoscope.inference.classifier import load
from leukoscope.models import create_model


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network: its features differ by colour, its head knows nothing."""
    torch.manual_seed(1)
    graph = graph_bytes(create_model("plain_cnn", widths=(4, 6, 8, 10)), 32, 64)
    return make_bundle(tmp_path_factory.mktemp("adapt") / "bundle", graph=graph)


def make_cells(root: Path, patients: int = 4, each: int = 6) -> Path:
    rng = np.random.default_rng(0)
    rows = ["path,label,subject"]
    for patient in range(patients):
        for k in range(each):
            blast = patient % 2 == 1
            colour = np.array((190, 40, 120) if blast else (90, 150, 110)) + rng.integers(-25, 26, 3)
            name = f"{patient}-{k}.png"
            root.mkdir(exist_ok=True)
            Image.fromarray(disc(tuple(colour.tolist()))).save(root / name)
            rows.append(f"{name},{'blast' if blast else 'normal'},P{patient}")
    (root / "cells.csv").write_text("\n".join(rows) + "\n")
    return root / "cells.csv"


def test_an_adapted_bundle_names_its_parent_and_answers_by_its_new_head(run, parent: Path, tmp_path: Path) -> None:
    table = make_cells(tmp_path / "site")
    result = run("adapt", parent, "--data", table, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "4 patients" in result.stdout
    new = read_bundle(tmp_path / "new")
    origin = new.facts.parent
    assert origin is not None
    assert origin.files == read_bundle(parent).facts.files
    assert origin.files["model.onnx"] == hashlib.sha256((parent / "model.onnx").read_bytes()).hexdigest()
    assert (origin.cells, origin.blasts, origin.by_patient, origin.forced) == (24, 12, True, False)
    assert origin.after["log_loss"].value < origin.before["log_loss"].value  # type: ignore[operator]
    assert new.facts.name == "by-hand-adapted"
    assert "## Adapted" in (tmp_path / "new/README.md").read_text()
    cells = sorted((tmp_path / "site").glob("*.png"))
    old, answers = load(parent).predict(cells), load(tmp_path / "new").predict(cells)
    right = [a.decision == ("blast" if int(p.name[0]) % 2 else "normal") for a, p in zip(answers, cells, strict=True)]
    assert np.mean(right) > 0.9
    assert all(np.array_equal(a.embedding, b.embedding) for a, b in zip(old, answers, strict=True))
    assert not any(np.allclose(a.heatmap, b.heatmap) for a, b in zip(old, answers, strict=True))
    assert "seen are left out" in run("adapt", tmp_path / "new", "--data", table, "--out", tmp_path / "again").stderr


def test_refusals_leave_nothing(run, parent: Path, small_bundle: Path, tmp_path: Path) -> None:
    table = make_cells(tmp_path / "site")
    new = tmp_path / "new"
    few = tmp_path / "site/few.csv"
    lines = table.read_text().splitlines()
    few.write_text("\n".join(lines[:13]) + "\n")
    assert "too few" in run("adapt", parent, "--data", few, "--out", new).stderr
    alone = tmp_path / "site/alone.csv"
    alone.write_text("\n".join(line.replace("P2", "P0") for line in lines) + "\n")
    result = run("adapt", parent, "--data", alone, "--out", new)
    assert (result.exit_code, "come from one patient" in result.stderr) == (2, True)
    assert "no linear unit" in run("adapt", small_bundle, "--data", table, "--out", new).stderr
    assert run("adapt", parent, "--data", table, "--out", parent).exit_code == 2
    assert not new.exists()


def test_without_a_gain_nothing_is_written_unless_forced(run, parent: Path, tmp_path: Path) -> None:
    table = make_cells(tmp_path / "site", patients=8, each=4)
    lines = table.read_text().splitlines()
    whose = [line.split(",")[0] for line in lines[1:]]
    mixed = [f"{name},{'blast' if k % 2 else 'normal'},P{k}" for k, name in enumerate(whose)]
    table.write_text("\n".join([lines[0], *mixed]) + "\n")  # labels that have nothing to do with the cells
    trained = tmp_path / "trained"
    assert run("adapt", parent, "--data", table, "--out", trained, "--force").exit_code == 0
    result = run("adapt", parent, "--data", table, "--out", tmp_path / "new")
    assert (result.exit_code, "no bundle was written" in result.stderr) == (1, True)
    assert not (tmp_path / "new").exists()
    parent_facts = read_bundle(trained).facts.parent
    assert parent_facts is not None
    assert parent_facts.forced
    assert "nothing was clearly gained" in (trained / "README.md").read_text()
