"""ALL-IDB end to end on painted smears in its layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from leukoscope.cli import main
from leukoscope.datasets.readers import read_dataset
from leukoscope.inference.classifier import Classifier, load
from leukoscope.studies.allidb.report import by_resolution, detection_figures, label_figures
from leukoscope.studies.allidb.score import PictureScore, common_scale, match_points, score_pictures

GROUND, RED, NUCLEUS = (198, 200, 197), (184, 164, 168), (118, 92, 178)


def smear(width: int, height: int, red: int, cells: list[tuple[int, int]]) -> np.ndarray:
    """Red cells of ``red`` px on a grid and white cells of 1.5 of it, uint8 [height, width, 3]."""
    picture = np.full((height, width, 3), GROUND, np.uint8)
    for y in range(red, height - red // 2, round(1.4 * red)):
        for x in range(red, width - red // 2, round(1.4 * red)):
            if all(np.hypot(x - a, y - b) > 1.4 * red for a, b in cells):
                cv2.circle(picture, (x, y), red // 2, RED, -1, cv2.LINE_AA)
    for x, y in cells:
        cv2.circle(picture, (x, y), round(0.75 * red), NUCLEUS, -1, cv2.LINE_AA)
    noise = np.random.default_rng(0).integers(-2, 3, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 1).astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load(threads=1)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, classifier: Classifier) -> tuple[Path, list[PictureScore]]:
    root = tmp_path_factory.mktemp("idb")
    (root / "im").mkdir()
    (root / "xyc").mkdir()
    for name, (width, height, red), cells, listed in (
        ("Im001_1", (640, 480, 50), [(200, 200), (420, 260)], [(203, 199), (420, 264)]),
        ("Im002_1", (640, 480, 50), [(320, 240)], [(320, 240), (520, 400)]),  # the second is none
        ("Im050_0", (640, 480, 50), [(300, 200)], []),
        ("Im051_0", (960, 720, 75), [(480, 360)], []),
    ):
        Image.fromarray(smear(width, height, red, cells)).save(root / "im" / f"{name}.jpg", quality=95)
        (root / "xyc" / f"{name}.xyc").write_text("".join(f"{x}\t{y}\n\n" for x, y in listed))
    return root, score_pictures(classifier, read_dataset(root))


def test_listed_blasts_are_found_at_the_distance_they_are_away(scores):
    first, second, third, fourth = scores[1]
    assert [s.error for s in scores[1]] == [None] * 4
    assert (first.listed, first.found, first.matched) == (2, 2, 2)
    assert first.um_per_px == pytest.approx(0.15, rel=0.06)
    for away, pixels in zip(sorted(first.distances_um), (np.hypot(3, 1), 4), strict=True):
        assert away == pytest.approx(pixels * first.um_per_px, abs=0.25)
    assert (second.listed, second.matched) == (2, 1)
    assert (third.listed, third.matched, third.found, third.label) == (0, 0, 1, 0)
    assert fourth.um_per_px == pytest.approx(0.1, rel=0.06)
    found = detection_figures(scores[1])
    assert found["recall"]["value"] == pytest.approx(3 / 4)
    assert found["blasts_listed"] == 4
    assert found["distance_um"]["90 %"] < 1


def test_the_command_scores_a_folder_in_the_layout(scores, tmp_path):
    for folder, names in (("im", ("Im001_1.jpg", "Im051_0.jpg")), ("xyc", ("Im001_1.xyc", "Im051_0.xyc"))):
        (tmp_path / "idb" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "idb" / folder / name).symlink_to(scores[0] / folder / name)
    call = ["field", str(tmp_path / "idb"), "--truth", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "as it is: 2 pictures, 0 unreadable, 0 without scale; 1.00" in done.stdout
    assert "of 2 listed blasts found" in done.stdout
    assert "note: " in done.stdout  # the size in pixels tells the class
    figures = json.loads((tmp_path / "out" / "truth.json").read_text())
    assert figures["one_scale"]["um_per_px"] == pytest.approx(0.15, rel=0.06)
    assert figures["as_it_is"]["detection"]["recall"]["value"] == 1
    table = json.loads((tmp_path / "out" / "truth-pictures.json").read_text())
    assert [row["matched"] for row in table["one_scale"]] == [2, 0]
    both = CliRunner().invoke(main, [*call, "--by", "patient"])
    assert both.exit_code == 2


def test_a_shorter_reach_finds_less(scores, classifier):
    (first, *_) = score_pictures(classifier, read_dataset(scores[0]).select([0]), reach_um=0.05)
    assert first.matched == 0


def test_resolutions_apart_and_all_at_one_scale(scores, classifier):
    parts = by_resolution(scores[1])
    assert list(parts) == ["640 x 480", "960 x 720"]
    assert parts["640 x 480"]["label"]["answered"] == 3
    assert parts["640 x 480"]["label"]["auc"] is not None
    assert parts["960 x 720"]["label"]["auc"] is None  # one class: nothing to tell apart
    target = common_scale(scores[1])
    assert target == pytest.approx(0.15, rel=0.06)
    fine = score_pictures(classifier, read_dataset(scores[0]).select([3]), target=target)[0]
    assert fine.resampled == pytest.approx(2 / 3, rel=0.07)
    assert fine.resolution == (960, 720)
    assert fine.um_per_px == pytest.approx(target, rel=0.06)
    assert fine.found == 1


def test_crops_are_answered_by_the_cell_in_the_middle(tmp_path, classifier):
    (tmp_path / "img").mkdir()
    for name, at in (("Im001_1", (128, 128)), ("Im131_0", (50, 60))):
        Image.fromarray(smear(257, 257, 40, [at])).save(tmp_path / "img" / f"{name}.tif")
    (tmp_path / "img" / "Im132_0.tif").write_bytes(b"II*\0 broken")
    middle, aside, broken = score_pictures(classifier, read_dataset(tmp_path), um_per_px=0.19)
    assert (middle.listed, middle.matched) == (None, None)
    assert middle.decision in {"blast", "normal", "refer"}
    assert np.isfinite(middle.logit)
    assert (aside.decision, aside.logit) == (None, None)
    assert broken.error
    found = label_figures([middle, aside, broken])
    assert (found["pictures"], found["answered"]) == (3, 1)


def test_figures_by_hand():
    def picture(number: int, label: int, logit: float | None, decision: str) -> PictureScore:
        return PictureScore(f"{number}", label, f"{number}", logit=logit, decision=decision)

    answered = [(1, 2.0, "blast"), (1, -1.0, "refer"), (1, -2.0, "normal"), (0, -3.0, "normal"), (0, 1.0, "blast")]
    rows = [picture(n, *row) for n, row in enumerate([*answered, (0, None, "refer")])]
    found = label_figures(rows)
    assert found["auc"]["value"] == pytest.approx(4 / 6)
    assert found["sensitivity"]["value"] == pytest.approx(1 / 2)  # of the two decided
    assert found["specificity"]["value"] == pytest.approx(1 / 2)
    assert found["referred"]["value"] == pytest.approx(1 / 5)


def test_points_are_matched_once_nearest_first():
    found = np.array([[0.0, 0], [10, 0], [11, 0]])
    truth = np.array([[10.4, 0], [1, 0], [30, 0]])
    assert match_points(found, truth, 5) == [(1, 0, pytest.approx(0.4)), (0, 1, 1.0)]
    assert match_points(np.empty((0, 2)), truth, 5) == match_points(found, np.empty((0, 2)), 5) == []
