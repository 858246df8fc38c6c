"""Fields, the camera, words and paper of the app in Chromium; the camera is a film of a painted field."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect

from app_page import ARGUMENTS, CHROMIUM, answers, exported, sees, table_of
from leukoscope.app.site import PAGES
from leukoscope.datasets.synthetic import render_cell
from leukoscope.smears import RED_CELL_UM, find_cells
from smears.smear import with_red_cells

Opener = Callable[..., Any]


def painted(seed: int = 0) -> NDArray[np.uint8]:
    smear = with_red_cells(42, leave=(320, 240, 60)).white(320, 240, 84, 60)
    return np.ascontiguousarray(smear.picture(seed=seed))


def film(path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    """A y4m film, full colour, which Chromium takes as its camera."""
    height, width = pictures[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F5:1 Ip A1:1 C420jpeg\n".encode())
        for rgb in pictures:
            planes = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
            file.write(b"FRAME\n" + planes[..., 0].tobytes())
            for channel in (1, 2):
                halved = planes[..., channel].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
                file.write(np.rint(halved).astype(np.uint8).tobytes())


def camera(path: Path) -> list[str]:
    """What makes Chromium take a film as its camera."""
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    return [*fake, f"--use-file-for-fake-video-capture={path}"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not CHROMIUM.is_file():
        pytest.skip(f"no Chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = tmp_path_factory.mktemp("film") / "field.y4m"
    film(path, [painted(seed) for seed in range(3)])
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*ARGUMENTS, *camera(path)])
        yield running
        running.close()


def test_a_field_gives_its_white_cell_and_a_tap_adds_one(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    smear = with_red_cells(42, leave=(320, 240, 110)).white(320, 240, 84, 60)
    rgb = np.ascontiguousarray(smear.white(400, 240, 30, 20).picture(seed=0))  # the second one is small as a platelet
    Image.fromarray(rgb).save(tmp_path / "field.png")
    (found,) = answers(page, [tmp_path / "field.png"])
    (own,) = find_cells(rgb).cells
    x, y, width, height = found["place"]
    assert np.hypot(x + width / 2 - own.centre[0], y + height / 2 - own.centre[1]) < 4
    assert width * height == pytest.approx(own.box[2] * own.box[3], rel=0.2)
    assert found["decision"] == "refer"  # as the command line says of it
    assert found["gate"] == "turned down"
    told = re.search(r"a red cell is (\d+) px", sees(page, "#found", "a red cell is"))
    assert told is not None
    ruler = find_cells(rgb).ruler
    assert ruler.um_per_px is not None
    assert int(told[1]) == pytest.approx(RED_CELL_UM / ruler.um_per_px, rel=0.02)
    box = page.locator("#seen").bounding_box()
    scale = min(box["width"] / 640, box["height"] / 480)  # fitted into its box

    def tap(x: float, y: float) -> None:
        left, top = (box["width"] - 640 * scale) / 2, (box["height"] - 480 * scale) / 2
        page.click("#seen", position={"x": left + x * scale, "y": top + y * scale})

    tap(400, 240)
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 2", timeout=60_000)
    added = exported(page)["cells"][1]
    assert added["tapped"]
    assert added["sha256"] == found["sha256"]
    assert added["place"][0] <= 400 <= added["place"][0] + added["place"][2]
    tap(352, 48)  # ground, or a red cell
    sees(page, "#state", "nothing purple")
    assert page.locator(".tile").count() == 2


FOUND = """async ({ pixels, width, height }) => {
  const { findCells, isFramed } = await import("/find.mjs");
  const rgb = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
  const { cells, hidden, redCell } = findCells(rgb, width, height);
  return { framed: isFramed(rgb, width, height), hidden, redCell, cells: cells.map(({ box, cut }) => ({ box, cut })) };
}"""


def seen(page: Any, rgb: NDArray[np.uint8]) -> dict[str, Any]:
    pixels = base64.b64encode(np.ascontiguousarray(rgb).tobytes()).decode()
    answer: dict[str, Any] = page.evaluate(FOUND, {"pixels": pixels, "width": rgb.shape[1], "height": rgb.shape[0]})
    return answer


def test_an_eyepiece_is_left_out_and_kinds_are_told_apart(site: Path, opened: Opener) -> None:
    page = opened(site)
    rgb = painted()
    y, x = np.ogrid[:480, :640]
    circle = (x - 320) ** 2 + (y - 240) ** 2 <= 225**2
    behind = seen(page, rgb * circle[..., None].astype(np.uint8))
    assert not behind["framed"]
    assert 0.4 < behind["hidden"] < 0.6
    (cell,) = behind["cells"]
    assert not cell["cut"]
    half = (x - 120) ** 2 + (y - 240) ** 2 <= 225**2  # its edge goes through the cell
    (cell,) = seen(page, rgb * half[..., None].astype(np.uint8))["cells"]
    assert cell["cut"]
    assert seen(page, render_cell(3, "blast"))["framed"]
    assert not seen(page, rgb)["framed"]
    blank = seen(page, np.full((300, 400, 3), 220, np.uint8))
    assert blank["cells"] == []
    assert blank["redCell"] is None


def test_the_camera_frames_and_takes_a_picture(site: Path, opened: Opener) -> None:
    page = opened(site, permissions=["camera"])
    page.click("#camera")
    page.wait_for_function("() => document.getElementById('hint').dataset.hint", timeout=60_000)
    assert re.fullmatch(r"Sharpness \d+\.\d, light \d+", sees(page, "#measured", "Sharpness"))
    page.click("#shoot")
    page.wait_for_selector(".tile", timeout=60_000)
    (cell,) = exported(page)["cells"]
    assert cell["name"].startswith("camera-")
    assert (cell["width"], cell["height"], cell["format"]) == (640, 480, "PNG")
    assert cell["place"] is not None
    page.click("#camera")
    page.wait_for_selector("#finder", state="hidden")
    assert page.evaluate("document.getElementById('video').srcObject") is None


FRAMING = """async (pictures) => {
  const { framing } = await import("/camera.mjs"), all = [];
  for (const text of pictures) {
    const rgba = Uint8ClampedArray.from(atob(text), (letter) => letter.charCodeAt(0));
    all.push(framing(rgba, 320, 320));
  }
  return all;
}"""


def test_hints_while_framing(site: Path, opened: Opener) -> None:
    page = opened(site)
    sharp = painted()[80:400, 160:480]
    small = np.zeros_like(sharp)
    small[100:220, 100:220] = sharp[100:220, 100:220]
    views = [sharp, cv2.GaussianBlur(sharp, (0, 0), 6), sharp // 4, np.minimum(sharp.astype(int) + 60, 255), small]
    given = [np.dstack([view, np.full((320, 320), 255)]).astype(np.uint8) for view in views]
    told = page.evaluate(FRAMING, [base64.b64encode(each.tobytes()).decode() for each in given])
    assert [each["hint"] for each in told] == ["hint good", "hint focus", "hint dark", "hint bright", "hint circle"]


def test_a_refused_camera_is_told(site: Path, opened: Opener) -> None:
    page = opened(site)
    page.evaluate("""() => { navigator.mediaDevices.getUserMedia = () =>
      Promise.reject(new DOMException("no", "NotAllowedError")); }""")
    page.click("#camera")
    sees(page, "#state", "camera was refused")
    page.wait_for_selector("#finder", state="hidden")
    page.click("#language")
    page.click("#camera")
    sees(page, "#state", "La cámara fue rechazada")


def test_both_languages_have_the_same_keys_and_places(site: Path) -> None:
    known = table_of("words.mjs", "WORDS", "GATE_ES") | table_of("faults.mjs", "FAULTS")
    place = re.compile(r"\{\w+\}")
    english = json.loads((site / "app.json").read_text(encoding="utf-8"))["words"]
    gate = {key: text for key, text in english.items() if "withheld" not in key}
    tables = [known["WORDS"], known["FAULTS"], {"en": gate, "es": known["GATE_ES"]}]
    for one, other in ((table["en"], table["es"]) for table in tables):
        assert one.keys() == other.keys()
        for key, text in one.items():
            assert sorted(place.findall(text)) == sorted(place.findall(other[key])), key
    pages = (PAGES / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'data-t="([^"]+)"', pages)) <= known["WORDS"]["en"].keys()


def test_spanish_notes_and_paper(site: Path, opened: Opener, tmp_path: Path) -> None:
    page = opened(site)
    cell = np.ascontiguousarray(render_cell(5, "blast")[..., ::-1])
    Image.fromarray(cell).save(tmp_path / "cell.png")
    answers(page, [tmp_path / "cell.png"])
    page.fill("textarea", "under the edge")
    page.locator("textarea").blur()
    page.wait_for_selector("html[data-saving='0']", state="attached")
    page.click("#language")
    sees(page, "#cell h1", "Remitir a una persona")  # its pixels come from the storage first
    sees(page, ".reason", "rojo y azul cambiados")
    page.reload()
    page.wait_for_selector("html[data-state=ready][lang=es]", state="attached")
    expect(page.locator("textarea")).to_have_value("under the edge")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert "under the edge" in sees(page, "#printed", "nunca un diagnóstico")
    page.wait_for_selector("#intake", state="hidden")
    page.emulate_media(media="screen")
    assert exported(page)["cells"][0]["note"] == "under the edge"


def test_pictures_shared_by_another_app_are_taken(site: Path, opened: Opener) -> None:
    page = opened(site)
    page.wait_for_selector("html[data-offline=ready]", state="attached")
    page.wait_for_function("navigator.serviceWorker.controller !== null", timeout=60_000)  # it has taken the page over
    buffer = io.BytesIO()
    Image.fromarray(render_cell(2, "normal")).save(buffer, "PNG")
    page.evaluate(
        """async (content) => {
          await navigator.serviceWorker.ready;
          const form = new FormData(), bytes = Uint8Array.from(content);
          form.append("pictures", new File([bytes], "from gallery.png", { type: "image/png" }));
          await fetch("./", { method: "POST", body: form });
        }""",
        list(buffer.getvalue()),
    )
    page.reload()
    page.wait_for_selector(".tile", timeout=60_000)
    assert exported(page)["cells"][0]["name"] == "from gallery.png"


@pytest.fixture(scope="module")
def real_field() -> NDArray[np.uint8]:
    """The first field of bccd with one white cell."""
    data = Path(os.environ.get("LEUKOSCOPE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    path = data / "bccd" / "JPEGImages" / "BloodImage_00001.jpg"
    if not path.is_file():
        pytest.skip(f"no bccd here: {path}")
    return np.array(Image.open(path).convert("RGB"))


@pytest.mark.data
def test_a_film_of_a_real_field(
    browser: Any, site: Path, opened: Opener, real_field: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The field is the camera's film: framed, taken, its white cell where the command line finds it."""
    film(tmp_path / "real.y4m", [real_field])
    running = browser.browser_type.launch(
        executable_path=str(CHROMIUM), args=[*ARGUMENTS, *camera(tmp_path / "real.y4m")]
    )
    try:
        page = opened(site, of=running, permissions=["camera"])
        page.click("#camera")
        page.wait_for_selector("#hint[data-hint='hint good']", timeout=60_000)
        page.click("#shoot")
        page.wait_for_selector(".tile", timeout=60_000)
        sees(page, "#found", "a red cell is")
        cells = [cell for cell in exported(page)["cells"] if cell["place"]]
    finally:
        running.close()
    (own,) = find_cells(real_field).cells
    (found,) = cells
    x, y, width, height = found["place"]
    assert np.hypot(x + width / 2 - own.centre[0], y + height / 2 - own.centre[1]) < 8  # the film's colours are halved
    assert width * height == pytest.approx(own.box[2] * own.box[3], rel=0.2)


@pytest.mark.data
def test_the_ruler_and_the_cells_of_a_real_field_are_those_of_python(
    site: Path, opened: Opener, real_field: NDArray[np.uint8]
) -> None:
    own, found = find_cells(real_field), seen(opened(site), real_field)
    assert found["redCell"] == pytest.approx(own.ruler.red_cell_px, rel=0.005)
    assert len(found["cells"]) == len(own.cells)
    for mine, other in zip(own.cells, found["cells"], strict=True):
        assert np.abs(np.array(mine.box) - other["box"]).max() < 0.04 * max(mine.box[2:])
