"""`leukoscope demo`: rendered cells that say so, or a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bundle_factory import by_hand, make_bundle
from leukoscope.cells.frame import Preparation, prepare
from leukoscope.cli.demo import IN_FIELD, OF_PATIENT, PATIENT
from leukoscope.datasets.drawing import draw_cell


def test_rendered_cells_say_so_everywhere(run, tmp_path: Path) -> None:
    bundle, out = make_bundle(tmp_path / "bundle", frame=450), tmp_path / "out"
    result = run("demo", "--out", out, "--bundle", bundle)
    assert result.exit_code == 0
    assert result.stderr.startswith("SYNTHETIC")
    assert f"gallery: {out}/report.html" in result.stderr
    page = (out / "report.html").read_text()
    assert "<b>SYNTHETIC</b>" in page
    rows = [line.split() for line in result.stdout.splitlines() if "-like-" in line]
    told = []
    for kind in ("blast", "normal"):
        called = [row[2] for row in rows if any(f"-{kind}-like-" in word for word in row)]
        told.append(f"of 6 cells drawn as {kind}, {called.count(kind)} called so, {called.count('refer')} referred")
    assert f"{'; '.join(told)}." in page
    pictures = sorted((out / "pictures").glob("*-like-*.png"))
    assert len(pictures) == len(result.stdout.splitlines()) - 1 - len(IN_FIELD) - OF_PATIENT == 12
    assert all(path.name.startswith(("rendered-blast-like-", "rendered-normal-like-")) for path in pictures)
    assert sum("rendered-field.png #" in line for line in result.stdout.splitlines()) == len(IN_FIELD) == 5
    theirs = [line.split()[2] for line in result.stdout.splitlines() if f"{PATIENT}-" in line]
    assert len(theirs) == OF_PATIENT
    assert "1 patient, named by what the demo drew" in result.stderr
    assert f"<h3>{PATIENT}" in page
    assert f"Called blast: {100 * theirs.count('blast') / OF_PATIENT:.0f} %" in page
    rgb = np.asarray(Image.open(out / "pictures/rendered-blast-like-3.png"))
    np.testing.assert_array_equal(rgb, draw_cell(3, "blast"))
    [line] = [line for line in result.stdout.splitlines() if "rendered-blast-like-3.png" in line]
    assert abs(float(line.split()[1]) - by_hand(prepare(rgb, Preparation()))[0]) < 0.006

    assert run("demo", "--out", out, "--bundle", bundle).exit_code == 0  # again, over its own folder


def test_a_folder_is_not_called_rendered(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    result = run("demo", cells, "--out", tmp_path / "out", "--bundle", small_bundle)
    assert result.exit_code == 0
    assert "SYNTHETIC" not in result.output + (tmp_path / "out/report.html").read_text()
    (cells / "text.png").write_text("x")
    assert run("demo", cells, "--out", tmp_path / "out", "--bundle", small_bundle, "--replace").exit_code == 1


def test_somebody_elses_pictures_are_left_alone(run, tmp_path: Path, small_bundle: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/mine.png").write_bytes(b"x")
    result = run("demo", "--out", tmp_path, "--bundle", small_bundle)
    assert result.exit_code == 2
    assert "not written by leukoscope" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
