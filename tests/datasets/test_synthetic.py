"""Rendered cells: the same every time, unlike each other, like the real ones in figures, and labelled as synthetic."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.cells import cell_mask, frame_cell, read_picture
from leukoscope.datasets.readers.cnmc import read_cnmc
from leukoscope.datasets.readers.folders import read_folders
from leukoscope.datasets.synthetic import render_cell, write_synthetic
from leukoscope.errors import DataError

KINDS = ("blast", "normal")


def digest(rgb: np.ndarray) -> str:
    return hashlib.sha256(rgb.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def cells() -> dict[str, list[np.ndarray]]:
    """100 cells of each kind, at half the size to save time."""
    return {kind: [render_cell(seed, kind, size=225) for seed in range(100)] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_give_the_same_bytes(kind: str) -> None:
    first = render_cell(7, kind)
    assert first.shape == (450, 450, 3)
    assert first.dtype == np.uint8
    code = (
        "import hashlib; from leukoscope.datasets.synthetic import render_cell;"
        f"print(hashlib.sha256(render_cell(7, '{kind}').tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert digest(first) == digest(render_cell(7, kind)) == other


def test_seeds_and_kinds_give_different_cells(cells: dict[str, list[np.ndarray]]) -> None:
    assert len({digest(rgb) for kind in KINDS for rgb in cells[kind]}) == 200


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**70), kind=st.sampled_from(KINDS), size=st.integers(64, 200))
def test_every_cell_is_one_object_on_pure_black_that_can_be_framed(seed: int, kind: str, size: int) -> None:
    rgb = render_cell(seed, kind, size=size)
    mask = cell_mask(rgb)
    assert not rgb[~mask].any()
    ring = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    assert not ring.any()
    assert frame_cell(rgb, size).any(axis=2).sum() == rgb.any(axis=2).sum()


def test_blasts_are_larger_but_area_alone_does_not_separate(cells: dict[str, list[np.ndarray]]) -> None:
    blast, normal = (np.array([4 * cell_mask(rgb).sum() for rgb in cells[kind]]) for kind in KINDS)
    assert 33_000 < blast.mean() < 40_000  # C-NMC 2019: 36,600
    assert 23_000 < normal.mean() < 29_500  # C-NMC 2019: 26,300
    separated = np.mean(blast[:, None] > normal)
    assert 0.7 < separated < 0.95


def test_blasts_are_paler_and_less_round(cells: dict[str, list[np.ndarray]]) -> None:
    lightness = {kind: np.mean([rgb[cell_mask(rgb)].mean() for rgb in cells[kind]]) for kind in KINDS}
    assert lightness["blast"] > lightness["normal"] + 1

    def roundness(rgb: np.ndarray) -> float:
        """Area over that of the circle with the same second moments: 1 for a disc, less for any other shape."""
        y, x = np.nonzero(cell_mask(rgb))
        return y.size / (2 * np.pi * (y.var() + x.var()))

    assert np.mean([roundness(a) for a in cells["blast"]]) < np.mean([roundness(a) for a in cells["normal"]])


def test_chromatin_is_finer_in_blasts(cells: dict[str, list[np.ndarray]]) -> None:
    """The share of fine detail in the contrast of the middle of the nucleus, free of any shading."""

    def fineness(rgb: np.ndarray) -> float:
        middle = rgb[87:138, 87:138, 1].astype(float)
        shift = (middle[1:] - middle[:-1]).var() + (middle[:, 1:] - middle[:, :-1]).var()
        return float(shift / middle.var())

    blast, normal = ([fineness(rgb) for rgb in cells[kind]] for kind in KINDS)
    assert np.median(blast) > 1.2 * np.median(normal)


@pytest.mark.data
def test_colours_are_near_those_of_real_cells(real_data: Path, cells: dict[str, list[np.ndarray]]) -> None:
    for kind, word in zip(KINDS, ("all", "hem"), strict=True):
        paths = sorted((real_data / "cnmc2019").rglob(f"*_{word}.webp"))[::120]
        real = np.mean([rgb[cell_mask(rgb)].mean(axis=0) for rgb in (read_picture(path).rgb for path in paths)], axis=0)
        drawn = np.mean([rgb[cell_mask(rgb)].mean(axis=0) for rgb in cells[kind]], axis=0)
        assert np.abs(real - drawn).max() < 8, kind


def test_the_official_tree(tmp_path: Path) -> None:
    root = tmp_path / "data"
    paths = write_synthetic(root, count=40, seed=3, subjects=6, size=64)
    assert len(set(paths)) == 40
    assert all(path.is_file() for path in paths)
    assert sorted(paths) == sorted(root.rglob("*.png"))
    assert paths[0].relative_to(root).as_posix() == "C-NMC_Leukemia/training_data/fold_0/all/UID_101_1_1_all.png"
    assert paths[1].relative_to(root).as_posix() == "C-NMC_Leukemia/training_data/fold_0/hem/UID_H102_1_1_hem.png"
    records = read_cnmc(root).records
    assert sum(record.label or 0 for record in records) == 20
    assert {record.group for record in records} == {"101", "H102", "103", "H104", "105", "H106"}
    for fold in range(3):
        assert {record.label for record in records if record.fold == fold} == {0, 1}


def test_class_folders(tmp_path: Path) -> None:
    root = tmp_path / "data"
    paths = write_synthetic(root, count=11, seed=3, layout="folders", subjects=3, size=64)
    records = read_folders(root).records
    assert sorted(record.path for record in records) == sorted(path.relative_to(root).as_posix() for path in paths)
    assert {record.subject: record.label for record in records} == {"101": 1, "H102": 0, "103": 1}


def test_a_png_and_every_folder_say_that_they_are_synthetic(tmp_path: Path) -> None:
    path = write_synthetic(tmp_path / "data", count=1, seed=0, size=64)[0]
    with Image.open(path) as image:
        assert image.info["Software"] == "leukoscope synthetic"
    assert "are synthetic" in (tmp_path / "data" / "SYNTHETIC.txt").read_text()


def test_both_formats_hold_the_same_pixels_and_repeat(tmp_path: Path) -> None:
    folders = [(tmp_path / name, form) for name, form in (("a", "png"), ("b", "bmp"), ("c", "png"))]
    png, bmp, again = (
        write_synthetic(folder, count=7, seed=9, picture_format=form, size=64)  # type: ignore[arg-type]
        for folder, form in folders
    )
    assert [path.suffix for path in bmp] == [".bmp"] * 7
    for one, other, third in zip(png, bmp, again, strict=True):
        np.testing.assert_array_equal(read_picture(one).rgb, read_picture(other).rgb)
        assert one.read_bytes() == third.read_bytes()


def test_subjects_differ_in_stain_more_than_their_cells(tmp_path: Path) -> None:
    paths = write_synthetic(tmp_path / "data", count=200, seed=2, layout="folders", subjects=20, size=64)
    means: dict[str, list[float]] = {}
    for path in paths:
        rgb = read_picture(path).rgb
        means.setdefault(path.parent.name, []).append(float(np.log(rgb[cell_mask(rgb)].mean())))
    blasts = np.array([values for subject, values in means.items() if not subject.startswith("H")])
    within = blasts.var(axis=1, ddof=1).mean()
    between = blasts.mean(axis=1).var(ddof=1)
    assert between > 2 * within / blasts.shape[1]  # twice what cells alone would give


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "the seed -1 is negative"),
        ({"kind": "monocyte"}, "no kind of cell is called 'monocyte'; choose one of blast, normal"),
        ({"size": 63}, "a cell cannot be rendered at 63 px; ask for 64 px or more"),
    ],
)
def test_render_faults(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        render_cell(**{"seed": 0, "kind": "blast", **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0}, "cannot render 0 pictures"),
        ({"subjects": 1}, "of 1 subjects"),
        ({"seed": -1}, "the seed -1 is negative"),
        ({"layout": "coco"}, "no layout is called 'coco'"),
        ({"picture_format": "gif"}, "no picture format is called 'gif'"),
        ({"size": 10}, "a cell cannot be rendered at 10 px"),
    ],
)
def test_write_faults_leave_nothing(tmp_path: Path, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        write_synthetic(tmp_path / "data", **{"count": 2, "seed": 0, **arguments})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_real_and_synthetic_pictures_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "real.png"):
        with pytest.raises(DataError, match="is not an empty folder; choose a new folder"):
            write_synthetic(folder, count=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["real.png"]
