import cv2
import numpy as np
import pytest

from leukoscope.errors import PictureError
from leukoscope.smears import find_cells, kind_of, standard_cell
from leukoscope.smears.faults import SMOOTHING, edge_width, screen_grid
from leukoscope.smears.find import find_in_crop

from .smear import CYTOPLASM, GROUND, NUCLEUS, RED, Smear, with_red_cells


def painted(cell=(320, 240), red=60):
    return with_red_cells(red, leave=(*cell, 60)).white(*cell, 110, 75)


def test_a_white_cell_is_found_with_both_contours():
    finding = find_cells(painted().picture())
    (cell,) = finding.cells
    assert cell.state == "whole"
    assert cell.centre == pytest.approx((320, 240), abs=3)
    assert cell.diameter == pytest.approx(110, rel=0.05)
    assert np.sqrt(4 * cell.nucleus_area / np.pi) == pytest.approx(75, rel=0.05)
    x, y, width, height = cell.box
    truth = np.zeros((480, 640), np.uint8)
    cv2.circle(truth, (320, 240), 55, 1, -1)
    found = np.zeros_like(truth)
    found[y : y + height, x : x + width] = cell.mask()
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95
    assert cell.mask(part="nucleus").sum() < cell.mask().sum()


def test_platelets_and_dirt_are_left_out():
    smear = painted().disc(60, 60, 18, NUCLEUS).disc(600, 60, 14, NUCLEUS).disc(580, 440, 16, (20, 20, 20))
    finding = find_cells(smear.picture())
    assert len(finding.cells) == 1
    assert finding.platelets >= 2


def test_lobes_are_one_cell_and_touching_cells_are_two():
    lobed = with_red_cells(60, leave=(320, 240, 70)).disc(320, 240, 120, (176, 158, 196))
    for x, y in ((300, 220), (345, 235), (310, 265)):
        lobed.disc(x, y, 30, NUCLEUS)
    (cell,) = find_cells(lobed.picture()).cells
    assert cell.diameter == pytest.approx(120, rel=0.06)
    touching = with_red_cells(60, leave=(320, 240, 110)).white(280, 240, 80, 70).white(352, 240, 80, 70)
    found = find_cells(touching.picture()).cells
    assert len(found) == 2
    assert sorted(cell.centre[0] for cell in found) == pytest.approx([280, 352], abs=8)


def test_a_joined_nucleus_of_two_cells_is_split():
    smear = with_red_cells(60, leave=(320, 240, 110)).disc(288, 240, 68, NUCLEUS).disc(350, 240, 68, NUCLEUS)
    found = find_cells(smear.picture()).cells
    assert sorted(cell.centre[0] for cell in found) == pytest.approx([288, 350], abs=8)


def test_a_cell_at_the_edge_is_named_cut():
    finding = find_cells(painted((10, 240)).picture())
    (cell,) = finding.cells
    assert cell.state == "cut"
    assert any("cut by the edge" in warning for warning in finding.warnings)


def test_no_white_cell_and_no_red_cell_are_said():
    none = find_cells(with_red_cells(60).picture())
    assert none.cells == ()
    assert "no white cell was found" in none.warnings
    alone = find_cells(Smear().white(320, 240, 110, 75).picture())
    assert len(alone.cells) == 1
    assert alone.ruler.um_per_px is None
    flat = np.full((480, 640, 3), 255, np.uint8)  # ground at the top of all levels spreads by nothing
    cv2.circle(flat, (320, 240), 55, CYTOPLASM, -1)
    cv2.circle(flat, (320, 240), 38, NUCLEUS, -1)
    assert [cell.centre for cell in find_cells(flat).cells] == [pytest.approx((320, 240), abs=3)]


@pytest.mark.parametrize("factor", [0.7, 1.6])
def test_the_same_field_at_another_resolution_gives_the_same_micrometres(factor):
    picture = painted().picture()
    other = cv2.resize(
        picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )
    sizes = []
    for rgb in (picture, other):
        finding = find_cells(rgb)
        sizes.append(finding.cells[0].diameter * finding.ruler.um_per_px)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_a_turned_field_gives_the_turned_cells():
    picture = painted((300, 200)).picture()
    cell = find_cells(picture).cells[0]
    turned = find_cells(np.ascontiguousarray(np.rot90(picture))).cells[0]
    assert turned.area == pytest.approx(cell.area, rel=0.03)
    assert turned.centre == pytest.approx((cell.centre[1], 640 - cell.centre[0]), abs=3)


@pytest.mark.parametrize(
    ("rgb", "why"),
    [
        (np.zeros((300, 300, 3), np.uint8), "black"),
        (np.full((300, 300, 3), 220, np.uint8), "blank"),
        (np.random.default_rng(0).normal(225, 4, (300, 300, 3)).astype(np.uint8), "blank"),
        (np.zeros((100, 300, 3), np.uint8), "too small"),
        (np.zeros((300, 300), np.uint8), "uint8"),
        (np.broadcast_to(np.uint8(9), (9000, 9000, 3)), "scan of a slide"),
    ],
)
def test_what_is_no_field_is_refused_by_name(rgb, why):
    with pytest.raises(PictureError, match=why):
        find_cells(rgb)


def test_an_empty_field_darker_towards_its_corners_shows_no_cell_and_no_scale():
    y, x = np.mgrid[:400, :500]
    shade = 225 - 15 * (((x - 250) / 250) ** 2 + ((y - 200) / 200) ** 2)
    noise = np.random.default_rng(0).normal(0, 1, (400, 500, 3))
    finding = find_cells(np.clip(shade[..., None] + noise, 0, 255).astype(np.uint8))
    assert (finding.cells, finding.platelets, finding.ruler.um_per_px) == ((), 0, None)


def test_the_middle_cell_of_a_crop_is_outlined_and_the_others_stay():
    crop = with_red_cells(60, height=300, width=300, leave=(150, 150, 60)).white(150, 150, 110, 75)
    crop.white(10, 290, 110, 75)
    finding = find_in_crop(crop.picture())
    middle, corner = sorted(finding.cells, key=lambda cell: cell.centre[1])
    assert middle.centre == pytest.approx((150, 150), abs=3)
    assert middle.diameter == pytest.approx(110, rel=0.05)
    assert np.sqrt(4 * middle.nucleus_area / np.pi) == pytest.approx(75, rel=0.06)
    assert (middle.state, corner.state) == ("whole", "cut")
    assert finding.warnings == ("1 white cell is cut by the edge of the picture",)
    small = cv2.resize(crop.picture(), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    assert find_in_crop(small).cells  # 120 px, too small for a field


def test_a_photographed_screen_is_told_and_a_smear_is_not():
    picture = painted().picture()
    y, x = np.mgrid[:480, :640]
    grid = 10 * np.sin(2 * np.pi * (x * 0.29 + y * 0.03))
    screen = np.clip(picture + grid[..., None], 0, 255).astype(np.uint8)
    assert screen_grid(screen) == pytest.approx(1 / np.hypot(0.29, 0.03), rel=0.05)
    assert screen_grid(picture) is None
    jpeg = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
    assert screen_grid(jpeg) is None
    assert any("screen" in warning for warning in find_cells(screen).warnings)


def test_the_width_of_an_edge_is_that_of_its_blur_at_any_resolution():
    for red in (40, 80, 160):  # the last is reduced before it is judged
        half = np.full((300, 300, 3), GROUND, np.float32)
        half[:, 150:] = RED
        blurred = np.rint(cv2.GaussianBlur(half, (0, 0), 0.06 * red)).astype(np.uint8)
        assert edge_width(blurred, red) == pytest.approx(np.hypot(0.06, SMOOTHING), rel=0.08)
    assert edge_width(np.full((300, 300, 3), 200, np.uint8), 60) is None


def test_a_blurred_field_is_named_and_a_sharp_one_is_not():
    smear = painted()
    assert find_cells(smear.picture()).warnings == ()
    assert any(warning.startswith("out of focus: ") for warning in find_cells(smear.picture(blur=6)).warnings)


def test_too_little_and_too_much_light_are_named():
    picture = painted().picture().astype(float)
    dark, bright = (np.clip(picture * gain, 0, 255).astype(np.uint8) for gain in (0.4, 1.35))
    assert any("underexposed" in warning for warning in find_cells(dark).warnings)
    assert any("overexposed" in warning for warning in find_cells(bright).warnings)


def test_the_standard_cell_has_the_standard_size_on_black():
    finding = find_cells(painted().picture())
    cell = finding.cells[0]
    out = standard_cell(painted().picture(), cell, 0.125, standard=0.05)
    area = np.count_nonzero(out.max(axis=2))
    assert np.sqrt(4 * area / np.pi) == pytest.approx(cell.diameter * 2.5, rel=0.02)
    assert not out[[0, -1]].any()
    assert not out[:, [0, -1]].any()
    with pytest.raises(ValueError, match="positive"):
        standard_cell(painted().picture(), cell, 0)


def test_kinds():
    framed = np.zeros((300, 300, 3), np.uint8)
    cv2.circle(framed, (150, 150), 80, NUCLEUS, -1)
    crop = with_red_cells(60, height=300, width=300, leave=(150, 150, 60)).white(150, 150, 110, 75)
    assert (kind_of(framed), kind_of(crop.picture()), kind_of(painted().picture())) == ("framed", "crop", "field")


@pytest.mark.data
def test_real_fields_kinds_and_boxes(real_data):
    paths = sorted((real_data / "bccd" / "JPEGImages").glob("*.jpg"))[1:61:12]
    for path in paths:
        rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        finding = find_cells(rgb)
        assert kind_of(rgb) == "field"
        assert len(finding.cells) >= 1
        assert 0.06 < finding.ruler.um_per_px < 0.11
        assert screen_grid(rgb) is None


@pytest.mark.data
def test_crops_are_outlined_as_drawn_by_hand(real_data):
    dice = []
    for path in sorted((real_data / "wbc-seg" / "dataset1").glob("*.mask.png"))[1:60:12]:
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 60
        rgb = cv2.cvtColor(cv2.imread(str(path).replace(".mask", "")), cv2.COLOR_BGR2RGB)
        found = np.zeros(truth.shape, bool)
        cell = max(find_in_crop(rgb).cells, key=lambda each: each.area)
        x, y, width, height = cell.box
        found[y : y + height, x : x + width] = cell.mask()
        dice.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert np.mean(dice) > 0.92
