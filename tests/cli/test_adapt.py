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
    assert "CAUTION" not in result.stdout
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


def test_a_kept_head_ranks_as_the_parent_does(run, parent: Path, tmp_path: Path) -> None:
    table = make_cells(tmp_path / "site")
    result = run("adapt", parent, "--data", table, "--out", tmp_path / "new", "--keep-head", "--force")
    assert result.exit_code == 0, result.output
    assert "head fitted: only its bias moved" in result.stdout
    cells = sorted((tmp_path / "site").glob("*.png"))
    old, new = (load(folder).predict(cells) for folder in (parent, tmp_path / "new"))
    moved = np.array([a.logit - b.logit for a, b in zip(new, old, strict=True)])
    assert moved == pytest.approx(np.full(len(cells), moved[0]), abs=1e-5)
    assert abs(moved[0]) > 1e-3
    assert all(np.allclose(a.heatmap, b.heatmap, atol=1e-6) for a, b in zip(new, old, strict=True))
    origin = read_bundle(tmp_path / "new").facts.parent
    assert origin is not None
    assert (origin.strength, origin.trust) == (None, 1.0)


def test_cells_of_unnamed_patients_come_with_a_caution(run, parent: Path, tmp_path: Path) -> None:
    table = make_cells(tmp_path / "site")
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    result = run("adapt", parent, "--data", table, "--out", tmp_path / "new", "--force")
    assert result.exit_code == 0, result.output
    assert "CAUTION: no patient is named" in result.stdout


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


def test_labels_that_contradict_names_one_class_and_three_cells_are_refused(run, parent: Path, tmp_path: Path) -> None:
    table, new = make_cells(tmp_path / "site"), tmp_path / "new"
    lines = table.read_text().splitlines()
    wrong = []
    for line in lines[1:]:
        name, label, subject = line.split(",")
        told = f"{Path(name).stem}-{'normal' if name == '1-0.png' else label}.png"
        (tmp_path / "site" / name).rename(tmp_path / "site" / told)
        wrong.append(f"{told},{label},{subject}")
    table.write_text("\n".join([lines[0], *wrong]) + "\n")
    said = run("adapt", parent, "--data", table, "--out", new)
    assert said.exit_code == 2
    assert "the labels of 1 of 24 cells contradict their names, the first of 1-0-normal.png" in said.stderr
    right = [line for line in wrong if not line.startswith("1-0")]
    table.write_text("\n".join([lines[0], *right[:3]]) + "\n")
    assert "3 cells are too few" in run("adapt", parent, "--data", table, "--out", new).stderr
    table.write_text("\n".join([lines[0], *(line for line in right if ",normal," in line)] * 2) + "\n")
    assert run("adapt", parent, "--data", table, "--out", new).exit_code == 2
    assert not new.exists()


def test_cells_without_a_label_are_read_and_counted_and_the_steps_stand_on_the_card(
    run, parent: Path, tmp_path: Path
) -> None:
    table = make_cells(tmp_path / "site", patients=6, each=6)
    make_cells(tmp_path / "more")
    (tmp_path / "more/cells.csv").unlink()
    (tmp_path / "more/broken.png").write_bytes(b"no picture")
    result = run("adapt", parent, "--data", table, "--unlabelled", tmp_path / "more", "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "24 cells without a label" in result.stdout
    assert "broken.png" in result.stderr
    facts = read_bundle(tmp_path / "new").facts
    origin = facts.parent
    assert origin is not None
    assert origin.unlabelled == 24
    assert [each.name for each in origin.steps][-2:] == ["head fitted", "gate fitted"]
    assert [each.cells for each in origin.curve] == [10, 20, 36]
    card = (tmp_path / "new/README.md").read_text()
    assert "| labels | AUC, mean of draws | least to most |" in card
    assert "24 cells without a label" in card
    gate = origin.steps[-1]
    assert gate.kept == (facts.gate is not None)  # the parent has none
    assert gate.with_it is not None
    whose = read_bundle(tmp_path / "new").facts.gate
    assert whose is None or whose.pictures == 60


def test_two_laboratories_in_one_are_told(run, parent: Path, tmp_path: Path) -> None:
    table = make_cells(tmp_path / "site", patients=8, each=8)
    for picture in (tmp_path / "site").glob("[0-3]-*.png"):
        pixels = np.asarray(Image.open(picture)).astype(np.float64)
        Image.fromarray(np.where(pixels > 0, pixels * 0.45 + 12, 0).astype(np.uint8)).save(picture)
    said = run("adapt", parent, "--data", table, "--out", tmp_path / "new", "--force")
    assert "two laboratories, or two preparations, are mixed" in said.stderr
    assert "two laboratories" in (tmp_path / "new/README.md").read_text()


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
