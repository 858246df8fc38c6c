"""A bundle measured on data sets of other layouts, of one class, and on several at once."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from sklearn.metrics import accuracy_score, recall_score

from bundle_factory import disc, make_bundle
from leukoscope.bundle.schema import TrainingFacts
from leukoscope.datasets.combine import combine
from leukoscope.datasets.readers import read_dataset
from leukoscope.metrics.scores import Scores

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))


def write_lab(root: Path, seed: int) -> Path:
    """Ten cells of five subjects a class, in class folders, of colours that the bundle decides at times wrongly."""
    random = np.random.default_rng(seed)
    for word, red in (("blast", 170), ("normal", 60)):
        for subject in range(5):
            folder = root / word / f"{word}{subject}"
            folder.mkdir(parents=True)
            for cell in range(2):
                colour = (int(np.clip(red + random.normal(0, 70), 20, 250)), 120, 60)
                Image.fromarray(disc(colour)).save(folder / f"{cell}.png")
    return root


def write_crops(folder: Path, count: int) -> Path:
    """White cells in the middle of pale plasma."""
    folder.mkdir(parents=True)
    y, x = np.ogrid[:96, :96]
    for number in range(count):
        picture = np.full((96, 96, 3), (226, 214, 220), np.uint8)
        picture[(x - 48) ** 2 + (y - 48) ** 2 < (20 + number) ** 2] = (90 + 20 * number, 40, 120)
        Image.fromarray(picture).save(folder / f"Im{number + 1:03d}_{number % 2}.tif")
    return folder


def test_crops_with_surroundings_are_cut_out_first(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    data = write_crops(tmp_path / "ALL_IDB2" / "img", 4).parent
    done = run("evaluate", "--bundle", small_bundle, "--data", data, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "4 cells were cut out of 4 pictures first; their scale is not known" in done.output
    assert "on allidb2: 4 pictures, protocol external" in done.output
    facts = json.loads((tmp_path / "out/metrics.json").read_text())
    assert "No patient is named in allidb2" in facts["context"]["warning"]
    assert "No patient is named in allidb2" in (tmp_path / "out/report.html").read_text()
    # The logit is 4 x the mean of r - g + b/2 over the frame of 64 px, + 0.25.
    scores = Scores.read_csv(tmp_path / "out/predictions.csv")
    assert scores.label.tolist() == [0, 1, 0, 1]
    area = [np.pi * (20 + n) ** 2 / 64**2 for n in range(4)]
    expected = [4 * a * (90 + 20 * n - 40 + 60) / 255 + 0.25 for n, a in enumerate(area)]
    np.testing.assert_allclose(scores.logit, expected, rtol=0.1)


def test_one_class_gives_its_own_figure_only(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    data = write_lab(tmp_path / "lab", 1) / "normal"
    refused = run("evaluate", "--bundle", small_bundle, "--data", data, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    done = run("evaluate", "--bundle", small_bundle, "--data", data, "--all", "normal", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "All pictures are normal, none is blast: only specificity can be measured" in done.output
    facts = json.loads((tmp_path / "out/metrics.json").read_text())
    scores = Scores.read_csv(tmp_path / "out/predictions.csv")
    share = np.mean(scores.probability < facts["threshold"])
    assert 0 < share < 1
    assert facts["metrics"]["specificity"]["value"] == pytest.approx(share)
    assert {facts["metrics"][key]["value"] for key in ("auc", "sensitivity")} == {None}


def test_sets_are_told_apart(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    labs = [write_lab(tmp_path / name, seed) for seed, name in enumerate(("lab1", "lab2"))]
    data = [word for lab in labs for word in ("--data", lab)]
    done = run("evaluate", "--bundle", small_bundle, *data, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    with (tmp_path / "out/sets.csv").open() as file:
        rows = {(row["set"], row["figure"]): row for row in csv.DictReader(file)}
    scores = Scores.read_csv(tmp_path / "out/predictions.csv")
    assert len(scores) == 40
    called = scores.probability >= 0.5
    for name in ("lab1", "lab2"):
        mine = np.array([path.startswith(f"{name}/") for path in scores.path])
        truth, answer = scores.label[mine], called[mine]
        assert float(rows[name, "accuracy"]["value"]) == pytest.approx(accuracy_score(truth, answer))
        assert float(rows[name, "sensitivity"]["value"]) == pytest.approx(recall_score(truth, answer))
        assert (rows[name, "auc"]["pictures"], rows[name, "auc"]["groups"]) == ("20", "10")
        assert f"  {name}, 20 pictures: auc " in done.output
    # Wrong cells, the surest first: as many as there are, each beside its heat map; pictures that are in the page.
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    wrong = sorted(
        np.flatnonzero(called != (scores.label == 1)).tolist(), key=lambda row: -abs(scores.probability[row] - 0.5)
    )
    assert 1 < len(wrong) < 24
    assert f"{len(wrong)} cells decided wrongly at the threshold, the worst first" in page
    places = [page.index(f"{scores.path[row]}</span></li>") for row in wrong]
    assert places == sorted(places)
    shown = [base64.b64decode(code) for code in re.findall(r'src="data:image/webp;base64,([^"]+)"', page)]
    assert {cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR).shape for each in shown} == {(220, 220, 3)}
    assert len(shown) == 2 * len(wrong)
    assert "Second component" in (tmp_path / "out/embedding.svg").read_text()
    alone = run("evaluate", "--bundle", small_bundle, "--data", labs[0], "--out", tmp_path / "out", "--replace")
    assert alone.exit_code == 0
    assert not (tmp_path / "out/sets.csv").exists()


def trained_on(data: str, groups: list[str], folder: Path) -> Path:
    facts = TrainingFacts(
        model="m", arguments={}, parameters=1, recipe="r", seed=0, data=data, data_fingerprint="0" * 64, pictures=9,
        groups_trained=groups, groups_validated=[], machine="x",
    )  # fmt: skip
    return make_bundle(folder, training=facts.model_dump(mode="json"))


def test_patients_of_a_combined_training_set_are_left_out_of_each_part(run: Run, tmp_path: Path) -> None:
    labs = [write_lab(tmp_path / name, seed) for seed, name in enumerate(("lab1", "lab2"))]
    both = combine([read_dataset(lab) for lab in labs])
    groups = sorted(set(both.groups().tolist()))
    bundle = trained_on(both.name, [g for g in groups if not g.endswith("4")], tmp_path / "bundle")
    done = run("evaluate", "--bundle", bundle, "--data", labs[1], "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "16 pictures of groups that the bundle has seen are left out" in done.output
    assert "protocol unseen groups" in done.output
    assert {g[-1] for g in Scores.read_csv(tmp_path / "out/predictions.csv").group} == {"4"}


def test_the_other_half_of_a_pair_of_sets_is_no_new_patient(run: Run, tmp_path: Path) -> None:
    bundle = trained_on("allidb1", ["picture:im/Im001_1.jpg"], tmp_path / "bundle")
    data = write_crops(tmp_path / "img", 2)
    done = run("evaluate", "--bundle", bundle, "--data", data, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "allidb2 shows the same patients under other names" in done.output


@pytest.mark.data
def test_normal_cells_of_another_laboratory(run: Run, real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "pbc" / "lymphocyte").is_dir():
        pytest.skip(f"pbc not found in {real_data}")
    folder = tmp_path / "lymphocyte"
    folder.mkdir()
    for picture in sorted((real_data / "pbc" / "lymphocyte").iterdir())[:6]:
        (folder / picture.name).symlink_to(picture)
    done = run("evaluate", "--data", folder, "--all", "normal", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "6 cells were cut out of 6 pictures first" in done.output
    facts = json.loads((tmp_path / "out/metrics.json").read_text())
    assert 0 <= facts["metrics"]["specificity"]["value"] <= 1
