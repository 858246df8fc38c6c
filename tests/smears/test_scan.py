import numpy as np
import pytest

from leukoscope.errors import PictureError
from leukoscope.smears import find_cells
from leukoscope.smears.find import find_in_windows

from .smear import with_red_cells

#: Middles of white cells: in a window, on the seam of two, on the corner of four, cut by the edge of the picture.
PLACES = ((240, 240), (500, 260), (500, 500), (760, 520), (995, 800))


@pytest.fixture(scope="module")
def picture():
    smear = with_red_cells(48, height=1000, width=1000)
    for x, y in PLACES:
        smear.disc(x, y, 150, (198, 200, 197)).white(x, y, 88, 60)
    smear.disc(250, 750, 420, (198, 200, 197))  # bare glass: most of one window
    return smear.picture()


def test_windows_find_what_the_whole_shows_each_cell_once(picture):
    whole, windows = find_cells(picture), find_in_windows(picture, window=500)
    assert len(windows.cells) == len(PLACES)
    assert [cell.state for cell in windows.cells].count("cut") == 1
    for found, wanted in zip(windows.cells, whole.cells, strict=True):
        assert found.centre == pytest.approx(wanted.centre, abs=4)
        assert found.area == pytest.approx(wanted.area, rel=0.06)
        assert found.state == wanted.state
        assert found.mask().sum() == pytest.approx(found.area, rel=0.03)
    assert windows.ruler.um_per_px == pytest.approx(whole.ruler.um_per_px, rel=0.03)
    assert windows.shape == picture.shape[:2]
    assert windows.warnings == ("1 white cell is cut by the edge of the picture",)


def test_blank_windows_are_left_out_and_a_blank_scan_is_refused(picture):
    wide = np.full((500, 1500, 3), 200, np.uint8)
    wide[:, :480] = picture[:500, :480]
    found = find_in_windows(wide, window=500)
    assert [cell.centre for cell in found.cells] == [pytest.approx((240, 240), abs=4)]
    assert "in 1 of 3 windows" in found.warnings[-1]
    with pytest.raises(PictureError, match="blank"):
        find_in_windows(np.full((500, 900, 3), 200, np.uint8), window=500)
