"""What is drawn over a field or lies around it moves neither its light, nor its ruler, nor its cells."""

import cv2
import numpy as np
import pytest

from leukoscope.cells.frame import Preparation
from leukoscope.errors import PictureError
from leukoscope.inference.cells import CellReader, ReadOptions
from leukoscope.smears import find_cells, kind_of
from leukoscope.smears.kind import is_framed
from leukoscope.smears.seen import seen_part
from leukoscope.smears.stain import ground_light

from .smear import with_red_cells

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
}
CELL = (420, 300)


def field(height=600, width=800):
    return with_red_cells(60, height=height, width=width, leave=(*CELL, 60)).white(*CELL, 110, 75).picture()


def bar(rgb, colour, share):
    height, width = rgb.shape[:2]
    tall = max(4, round((share * height * width / 8) ** 0.5))
    cv2.rectangle(rgb, (width - 8 * tall - 15, height - tall - 15), (width - 16, height - 16), colour, -1)


def data_bar(rgb, colour, share):
    height, width = rgb.shape[:2]
    tall = max(10, round(share * height))  # a small one does not run through
    rgb[-tall:, : min(width, round(share * height * width / tall))] = colour
    ink = (255, 255, 255) if sum(colour) < 300 else (0, 0, 0)
    cv2.putText(rgb, "100x 20 um", (20, height - 3), cv2.FONT_HERSHEY_SIMPLEX, tall / 40, ink, 1, cv2.LINE_AA)


def text(rgb, colour, share):
    size = (share * rgb[..., 0].size / 6000) ** 0.5 * 2
    for line in range(1 if share < 0.01 else 2):
        where = (15, round((line + 1) * 32 * size))
        cv2.putText(
            rgb, "P 17 / 20 um", where, cv2.FONT_HERSHEY_SIMPLEX, size, colour, max(2, round(3 * size)), cv2.LINE_AA
        )


def arrow(rgb, colour, share):
    thick = max(2, round(share * rgb[..., 0].size / 420))
    cv2.arrowedLine(rgb, (60, 540), (330, 360), colour, thick, cv2.LINE_AA, tipLength=0.2)


def frame(rgb, colour, share):
    wide = max(1, round(share * rgb[..., 0].size / (2 * sum(rgb.shape[:2]))))
    for edge in (np.s_[:wide], np.s_[-wide:], np.s_[:, :wide], np.s_[:, -wide:]):
        rgb[edge] = colour


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("draw", "share"),
    [(draw, share) for draw in (bar, data_bar, text, arrow, frame) for share in (0.003, 0.01, 0.03)],
)
def test_what_is_drawn_over_a_field_moves_nothing(draw, share, colour):
    plain = field()
    drawn = plain.copy()
    draw(drawn, COLOURS[colour], share)
    changed = float((drawn != plain).any(axis=2).mean())
    assert 0.3 * share < changed < 3 * share  # the painter does what it says
    before, after = find_cells(plain), find_cells(drawn)
    assert kind_of(drawn) == kind_of(plain) == "field"
    seen = seen_part(drawn)
    assert np.abs(ground_light(seen.rgb, seen.hidden) - ground_light(plain)).max() <= 2
    assert after.ruler.um_per_px == pytest.approx(before.ruler.um_per_px, rel=0.02)
    assert len(after.red_cells) >= 0.75 * len(before.red_cells)
    assert [cell.centre for cell in after.cells] == [pytest.approx(cell.centre, abs=3) for cell in before.cells]
    assert [cell.diameter for cell in after.cells] == [pytest.approx(cell.diameter, rel=0.05) for cell in before.cells]
    assert after.warnings == before.warnings == ()
    assert after.shape == before.shape


@pytest.mark.parametrize("colour", COLOURS)
def test_after_jpeg_the_same_holds(colour):
    drawn = field()
    bar(drawn, COLOURS[colour], 0.01)
    text(drawn, COLOURS[colour], 0.005)
    ok, code = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    assert ok
    finding = find_cells(np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]))
    assert finding.ruler.um_per_px == pytest.approx(0.125, rel=0.03)
    assert [cell.centre for cell in finding.cells] == [pytest.approx(CELL, abs=4)]


def test_a_cell_under_a_bar_is_cut():
    drawn = field()
    drawn[CELL[1] + 20 : CELL[1] + 60, CELL[0] - 90 : CELL[0] + 90] = 0
    (cell,) = find_cells(drawn).cells
    assert cell.state == "cut"


def circle(rgb, radius, level=0):
    height, width = rgb.shape[:2]
    y, x = np.ogrid[:height, :width]
    out = rgb.copy()
    out[np.hypot(y - height / 2, x - width / 2) > radius] = level
    return out


def letterbox(rgb, across, down):
    return cv2.copyMakeBorder(rgb, down, down, across, across, cv2.BORDER_CONSTANT)


def vignette(rgb, radius, soft):
    height, width = rgb.shape[:2]
    y, x = np.mgrid[:height, :width]
    light = np.clip((radius + soft - np.hypot(y - height / 2, x - width / 2)) / soft, 0, 1)
    return np.rint(rgb * light[..., None]).astype(np.uint8)


AROUND = {
    "circle": lambda rgb: circle(rgb, 290),
    "circle cut above and below": lambda rgb: circle(rgb, 340),
    "grey surround": lambda rgb: circle(rgb, 290, 18),
    "letterbox": lambda rgb: letterbox(rgb, 0, 150),
    "pillarbox": lambda rgb: letterbox(rgb, 200, 0),
    "window": lambda rgb: letterbox(rgb, 300, 200),
    "vignette": lambda rgb: vignette(rgb, 270, 20),
}


@pytest.mark.parametrize("zoom", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("name", AROUND)
def test_a_black_surround_is_left_out(name, zoom):
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    rgb = cv2.resize(AROUND[name](field()), None, fx=zoom, fy=zoom, interpolation=how)
    assert not is_framed(rgb)
    assert kind_of(rgb) != "framed"
    finding = find_cells(rgb)
    assert finding.shape == rgb.shape[:2]
    assert finding.left_out > 0.05
    assert finding.ruler.um_per_px == pytest.approx(0.125 / zoom, rel=0.05 if name == "vignette" else 0.03)
    height, width = rgb.shape[:2]
    at = (width / 2 + zoom * (CELL[0] - 400), height / 2 + zoom * (CELL[1] - 300))
    whole = [cell for cell in finding.cells if cell.state == "whole"]
    assert [cell.centre for cell in whole] == [pytest.approx(at, abs=4)]
    assert whole[0].diameter == pytest.approx(110 * zoom, rel=0.06)


@pytest.mark.parametrize("name", AROUND)
def test_predict_takes_it_for_a_field_too(name):
    rgb = AROUND[name](field())
    assert CellReader(Preparation(), options=ReadOptions(fields=False)).read(rgb).error is not None
    found = CellReader(Preparation()).read(rgb)
    assert found.error is None
    assert any(cell.withheld is None for cell in found.cells)


def test_a_surround_with_little_in_it_is_named_with_the_size_of_that():
    with pytest.raises(PictureError, match=r"14\d x 14\d px is too small \(a black surround left out\)"):
        find_cells(letterbox(field()[200:350, 300:450], 200, 200))


def test_cells_on_black_stay_cells():
    for axes, turn in (((80, 60), 20), ((70, 69), 0), ((90, 50), 70)):
        rgb = np.zeros((450, 450, 3), np.uint8)
        cv2.ellipse(rgb, (225, 225), axes, turn, 0, 360, (160, 120, 190), -1)
        cv2.ellipse(rgb, (225, 225), (axes[0] // 2, axes[1] // 2), turn, 0, 360, (110, 60, 150), -1)
        assert is_framed(rgb)
        assert CellReader(Preparation(), options=ReadOptions(fields=False)).read(rgb).error is None


@pytest.mark.data
def test_real_cells_on_black_stay_cells_and_real_fields_in_a_circle_are_fields(real_data):
    for path in sorted((real_data / "cnmc2019").glob("**/*.webp"))[::400]:
        assert is_framed(cv2.imread(str(path))[..., ::-1])
    for folder in ("bccd/JPEGImages", "txl-pbc-raabin/images"):
        for path in sorted((real_data / folder).glob("*.jpg"))[::40]:
            rgb = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            assert kind_of(circle(rgb, 0.48 * min(rgb.shape[:2]))) != "framed"
            assert kind_of(letterbox(rgb, 100, 60)) != "framed"
