"""A painted slide in three forms: the map, each cell once, a stopped run, and what is broken."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from click.testing import CliRunner, Result

from bundle_factory import make_bundle
from leukoscope.cli import main
from leukoscope.dicom.objects import read_annotations
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.slides.source import Slide
from leukoscope.slides.source import open_slide as open_any
from leukoscope.slides.stored import read_facts, stored_cells
from leukoscope.slides.survey import scale_of, survey, thumbnail_of
from leukoscope.smears.stain import ground_light

from . import painted
from .painted import COUNTED, PLACES, UM, WINDOW, ZONES

HELD: list[Slide] = []


def open_slide(path: Path) -> Slide:
    HELD.append(open_any(path))
    return HELD[-1]


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    while HELD:
        HELD.pop().close()


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("slides") / "bundle")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slide")
    return {
        "tiled": painted.tiled(folder / "slide.tif"),
        "ome": painted.ome(folder / "slide.ome.tif"),
        "dicom": painted.dicom(folder / "dicom"),
    }


@pytest.fixture(scope="module")
def results(slides: dict[str, Path], bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("results")
    for kind, path in slides.items():
        done = leukoscope("slide", path, "--out", home / kind, "--bundle", bundle, "--window", WINDOW, "--threads", 1)
        assert done.exit_code == 0, done.output
    return {kind: home / kind for kind in slides}


def cells_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]


def middle(cell: dict[str, Any]) -> tuple[float, float]:
    x, y, width, height = cell["box"]
    return x + width / 2, y + height / 2


def test_zones_and_scale(slides: dict[str, Path]) -> None:
    for path in slides.values():
        slide = open_slide(path)
        thumbnail = thumbnail_of(slide)
        ruler = scale_of(slide, thumbnail)
        assert (ruler.source, ruler.warnings) == ("file", ())
        assert ruler.um_per_px == pytest.approx(UM, rel=1e-4)
        assert ruler.red_cell_px == pytest.approx(painted.SIDE, rel=0.05)
        found = survey(slide, ruler, ground_light(thumbnail), window=WINDOW)
        assert [window.zone for window in found.windows] == [*ZONES, *ZONES]
        assert found.level == 1


def test_parts_are_those_that_were_written(tmp_path: Path) -> None:
    """Without loss, by both readers, at the edges and beyond."""
    whole = painted.painted()
    plain = painted.tiled(tmp_path / "a.tif", compression="deflate")
    for path in (plain, painted.ome(tmp_path / "b.ome.tif", compression="deflate")):
        slide = open_slide(path)
        for x, y, width, height in ((0, 0, 300, 200), (1000, 700, 611, 333), (4900, 1900, 220, 148)):
            assert np.array_equal(slide.read(0, x, y, width, height), whole[y : y + height, x : x + width])
        edge = slide.read(0, 5000, 2000, 300, 100)
        assert np.array_equal(edge[:48, :120], whole[2000:, 5000:])
        assert (edge[48:] == 255).all()
        before = slide.read(0, -50, -20, 100, 100)
        assert np.array_equal(before[20:, 50:], whole[:80, :50])
        assert (before[:20] == 255).all()


@pytest.mark.parametrize("kind", ["tiled", "ome", "dicom"])
def test_each_cell_of_the_single_layer_is_counted_once(results: dict[str, Path], kind: str) -> None:
    cells = cells_of(results[kind])
    assert len(cells) == COUNTED
    for place in PLACES[:COUNTED]:
        reach = 12 if place[0] < 5000 else 25  # half of that cell lies beyond the edge
        near = [cell for cell in cells if np.hypot(*np.subtract(middle(cell), place)) < reach]
        assert len(near) == 1, place
        if place[0] < 5000:
            assert near[0]["state"] == "whole"
            assert near[0]["diameter_um"] == pytest.approx(74 * UM, rel=0.1)
            ring = np.array(near[0]["outline"])
            assert ring.mean(axis=0) == pytest.approx(place, abs=12)
    assert [cell["number"] for cell in cells] == list(range(1, COUNTED + 1))
    with (results[kind] / "cells.csv").open(newline="") as file:
        assert [int(row["x"]) for row in csv.DictReader(file)] == [cell["box"][0] for cell in cells]
    drawn = json.loads((results[kind] / "cells.geojson").read_text())["features"]
    assert sum("nucleus" not in each["properties"]["name"] for each in drawn) == COUNTED


def test_the_page_and_the_facts(results: dict[str, Path]) -> None:
    page = (results["tiled"] / "report.html").read_text()
    assert page.count("<circle") == COUNTED
    assert page.count('<rect class="monolayer"') == 6
    assert page.count('<rect class="thick"') == 2
    assert "0.1875 um per pixel, from file" in page
    assert re.search(r">100 um</text><rect [^>]*width=\"145.8\"", page)  # 1400 px hold 5120 of 0.1875 um
    assert re.search(r"the edge of the picture cuts the cell</td><td[^>]*>1<", page)
    assert str(results["tiled"]) not in page.partition("<h1>")[2].partition("</h1>")[0]
    facts = json.loads((results["tiled"] / "slide.json").read_text())
    assert facts["windows"] == {"empty": 2, "monolayer": 6, "thick": 2, "unread": 0}
    assert sum(facts["decisions"].values()) == COUNTED


@pytest.mark.parametrize("left", ["nothing", "a window that could not be read"])
def test_a_stopped_run_goes_on_and_gives_the_same(
    left: str, slides: dict[str, Path], results: dict[str, Path], bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(results["tiled"], tmp_path / "out")
    second = tmp_path / "out/rows/00001.json"
    if left == "nothing":
        second.unlink()
    else:  # a window for which memory ran out
        row = json.loads(second.read_text())
        row["windows"][0] |= {"error": "cannot be decoded (MemoryError: )", "cells": []}
        second.write_text(json.dumps(row))
    first = tmp_path / "out/rows/00000.json"
    before = first.stat().st_mtime_ns
    command = ("slide", slides["tiled"], "--bundle", bundle, "--threads", 1, "--out", tmp_path / "out")
    done = leukoscope(*command, "--window", WINDOW)
    assert done.exit_code == 0, done.output
    assert "6 windows (3 of an earlier run) of 10" in done.stdout
    assert first.stat().st_mtime_ns == before
    for name in ("cells.jsonl", "cells.csv", "cells.geojson", "slide.json", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (results["tiled"] / name).read_bytes()
    assert "of other settings" in leukoscope(*command, "--window", 2 * WINDOW).stderr


def test_a_scale_that_the_red_cells_contradict_gives_way_to_theirs(tmp_path: Path) -> None:
    slide = open_slide(painted.tiled(tmp_path / "a.tif", um=0.5))
    ruler = scale_of(slide, thumbnail_of(slide))
    assert ruler.source == "red cells"
    assert ruler.um_per_px == pytest.approx(UM, rel=0.05)
    assert "the file states 0.5 um per pixel (slide's mpp)" in ruler.warnings[0]
    given = scale_of(slide, thumbnail_of(slide), um_per_px=0.2)
    assert (given.source, given.um_per_px) == ("given", 0.2)


def test_without_lower_levels_the_full_one_makes_the_map(tmp_path: Path) -> None:
    slide = open_slide(painted.tiled(tmp_path / "a.tif", count=1, um=None))
    thumbnail = thumbnail_of(slide)
    ruler = scale_of(slide, thumbnail)
    assert (len(slide.levels), slide.stated, ruler.source) == (1, None, "red cells")
    found = survey(slide, ruler, ground_light(thumbnail), window=WINDOW)
    assert [window.zone for window in found.windows] == [*ZONES, *ZONES]


def test_a_slide_without_cells_has_no_scale(tmp_path: Path) -> None:
    blank = np.full((1024, 1024, 3), 230, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", blank, tile=(256, 256), photometric="rgb")
    slide = open_slide(tmp_path / "a.tif")
    with pytest.raises(PictureError, match="states no size of a pixel, and its red cells tell none; give --um-per-px"):
        scale_of(slide, thumbnail_of(slide))


def hurt(path: Path, folder: Path) -> Path:
    """A copy with a damaged tile at row 2, column 5 of the full level."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        place = page.dataoffsets[2 * painted.WIDTH // painted.TILE + 5]
    data[place : place + 400] = bytes(400)
    (folder / path.name).write_bytes(data)
    return folder / path.name


def test_damaged_tiles_cost_their_windows_alone(slides: dict[str, Path], bundle: Path, tmp_path: Path) -> None:
    path, out = hurt(slides["tiled"], tmp_path), tmp_path / "out"
    done = leukoscope("slide", path, "--out", out, "--bundle", bundle, "--window", WINDOW, "--threads", 1)
    assert done.exit_code == 1, done.output
    assert "1 windows: a part of it is damaged or cannot be unpacked" in done.stderr
    assert sum(json.loads((out / "slide.json").read_text())["faults"].values()) == 1
    assert 0 < len(cells_of(out)) < COUNTED
    slide = open_slide(hurt(slides["ome"], tmp_path))
    with pytest.raises(PictureError, match="a part of it is damaged or cannot be unpacked"):
        slide.read(0, 1200, 400, 300, 300)
    assert slide.read(0, 1800, 400, 100, 100).shape == (100, 100, 3)


def test_what_was_altered_in_results_is_read_anew_or_told(
    slides: dict[str, Path], results: dict[str, Path], bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(results["tiled"], out)
    row = next(path for path in sorted((out / "rows").glob("*.json")) if b'"number": 1' in path.read_bytes())
    whole, cells = row.read_bytes(), cells_of(out)
    row.write_bytes(whole.replace(b'"number": 1', b'"number": 7', 1))
    command = ("slide", slides["tiled"], "--out", out, "--bundle", bundle, "--window", WINDOW, "--threads", 1)
    assert leukoscope(*command).exit_code == 0  # the row is read anew
    assert row.read_bytes() == whole
    assert list(stored_cells(out, read_facts(out))) == cells
    lines = (out / "cells.jsonl").read_text()
    (out / "cells.jsonl").write_text(lines.replace('"box": [', '"box": [1', 1))
    with pytest.raises(LeukoscopeError, match="altered"):
        next(stored_cells(out, read_facts(out)))
    facts = (out / "slide.json").read_text()
    (out / "slide.json").write_text(facts.replace('"red_cells": ', '"red_cells": 1', 1))
    with pytest.raises(LeukoscopeError, match="damaged"):
        read_facts(out)


def broken(name: str, folder: Path) -> Path:
    path = folder / "broken.tif"
    rgb = painted.painted()[:512, :512]
    if name == "text":
        path.write_text("x" * 300)
    elif name == "empty folder":
        path.mkdir()
    elif name == "a method without a decoder":
        tifffile.imwrite(path, rgb, tile=(256, 256), photometric="rgb", compression="jpegxl", ome=True)
    elif name == "grey channels":
        tifffile.imwrite(path, rgb[..., 0], tile=(256, 256), photometric="minisblack", ome=True)
    elif name == "no tiles":
        tifffile.imwrite(path, rgb, photometric="rgb", ome=True)
    elif name == "sixteen bits":
        tifffile.imwrite(path, rgb.astype(np.uint16), tile=(256, 256), photometric="rgb", ome=True)
    return path


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("text", "cannot be opened as a slide"),
        ("missing", "cannot be read"),
        ("empty folder", "holds no slide in DICOM"),
        ("a method without a decoder", "has tiles of JPEG XL, for which no decoder is here"),
        ("grey channels", "has 1 bands of 8 bits"),
        ("no tiles", "has no tiles"),
        ("sixteen bits", "has 3 bands of 16 bits"),
    ],
)
def test_what_is_no_slide_is_told(name: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=line) as caught:
        open_slide(broken(name, tmp_path))
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["tiled", "ome"])
def test_a_slide_that_is_cut_short_is_told(slides: dict[str, Path], tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.tif").write_bytes(slides[kind].read_bytes()[:50_000])
    with pytest.raises(PictureError, match=r"cannot be opened as a slide|is damaged or cannot be unpacked"):
        thumbnail_of(open_slide(tmp_path / "a.tif"))


def test_jpeg_2000_is_read(tmp_path: Path) -> None:
    rgb = painted.painted()[:512, 1024:1536]
    tifffile.imwrite(tmp_path / "a.ome.tif", rgb, tile=(256, 256), photometric="rgb", compression="jpeg2000", ome=True)
    assert np.abs(open_slide(tmp_path / "a.ome.tif").read(0, 0, 0, 512, 512).astype(int) - rgb).max() <= 2


def test_damaged_jpeg_2000_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    rgb = painted.painted()[:512, 1024:1536]
    tifffile.imwrite(path, rgb, tile=(256, 256), photometric="rgb", compression="jpeg2000", ome=True)
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[3], file.pages[0].databytecounts[3]
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    slide = open_slide(path)
    with pytest.raises(PictureError, match="a part of it is damaged or cannot be unpacked"):
        slide.read(0, 300, 300, 100, 100)
    assert np.abs(slide.read(0, 0, 0, 200, 200).astype(int) - rgb[:200, :200]).max() <= 2


def test_a_level_in_dicom_that_is_cut_short_is_told(slides: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    shutil.copytree(slides["dicom"], folder)
    full = folder / "level-0.dcm"
    full.write_bytes(full.read_bytes()[: full.stat().st_size // 2])
    with pytest.raises(PictureError, match=r"cannot be opened as a slide|is damaged or cannot be unpacked"):
        open_slide(folder).read(0, painted.WIDTH - 300, painted.HEIGHT - 300, 300, 300)


def test_without_the_extra_it_is_named(slides: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    done = leukoscope("slide", slides["tiled"], "--out", slides["tiled"].parent / "none")
    assert done.exit_code == 2
    assert "pip install 'leukoscope[slides]'" in done.stderr


def test_cells_of_a_slide_go_back_as_annotations(slides: dict[str, Path], bundle: Path, tmp_path: Path) -> None:
    """From a folder of DICOM under a pseudonym to annotations of the full level, equal to the results."""
    pytest.importorskip("highdicom")
    done = leukoscope("dicom", "get", slides["dicom"], "--out", tmp_path / "in")
    assert "3 instances: 0 pictures, 3 levels of slides" in done.stdout, done.output
    (level, *_) = (tmp_path / "in/slides").rglob("*.dcm")
    assert b"MRN-4711" not in level.read_bytes()
    window = ("--window", 2 * WINDOW, "--threads", 1, "--bundle", bundle)
    assert leukoscope("slide", level.parent, "--out", tmp_path / "out", *window).exit_code == 0
    done = leukoscope("dicom", "put", tmp_path / "in", tmp_path / "out", "--to", tmp_path / "back", "--bundle", bundle)
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "back").rglob("ann-*.dcm")
    made = pydicom.dcmread(path)
    found = read_annotations(made)
    wanted = cells_of(tmp_path / "out")
    assert [cell.outline.tolist() for cell in found] == [cell["outline"] for cell in wanted]
    assert made.PixelOriginInterpretation == "VOLUME"
    source = pydicom.dcmread(slides["dicom"] / "level-0.dcm")
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.PatientID.startswith("P-")
