"""The viewer in a real browser: a painted slide and a field, by mouse, fingers and keys, and back to the cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("openslide", reason="the extra `slides` is not installed")

from browser_client import CHROMIUM, Visitor, served
from bundle_factory import make_bundle
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import load
from leukoscope.slides.results import read_slide
from slides import painted

if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PASSWORD = "a long password"
ACCESSIBLE = (Path(__file__).parents[1] / "web" / "accessible.js").read_text(encoding="utf-8")
COLOURS = """() => {
    const canvas = document.querySelector("canvas.field"), found = { "180,83,9": 0, "29,98,176": 0, "74,82,100": 0 };
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
        const colour = `${data[at]},${data[at + 1]},${data[at + 2]}`;
        if (colour in found) found[colour] += 1;
    }
    return found;
}"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Visitor]:
    """A person at a server with a folder of slides, one of which was read."""
    folder = tmp_path_factory.mktemp("viewer")
    bundle, home = make_bundle(folder / "bundle"), folder / "slides"
    home.mkdir()
    path = painted.tiled(home / "slide.tif")
    read_slide(path, home / "read", load(bundle), ReadOptions(), window=painted.WINDOW)
    Image.fromarray(np.ascontiguousarray(painted.painted()[100:1400, 1100:2500])).save(folder / "field.png")
    with served(folder / "workbench", "--bundle", str(bundle), "--slides", str(home)) as (port, said):
        visitor = Visitor(browser, f"http://127.0.0.1:{port}/", PASSWORD, has_touch=True)
        page = visitor.page
        page.goto(f"{visitor.home}#/first/{said[-1].rsplit('/', 1)[1].strip()}")
        for name, value in (("login", "anna"), ("name", "Anna"), ("password", PASSWORD)):
            page.fill(f"[name={name}]", value)
        page.click("text=Make the account")
        page.wait_for_selector("text=New case")
        visitor.folder = folder  # type: ignore[attr-defined]
        yield visitor
        assert visitor.faults == []


def new_case(anna: Visitor, order: str, *, blind: bool = False) -> str:
    """A case with the slide and a field, made in the page; its identifier, when all is answered."""
    page = anna.page
    page.goto(f"{anna.home}#/")
    page.click("text=New case")
    page.fill("[name=order_no]", order)
    page.fill("[name=subject]", "P 1")
    page.fill("[name=um_per_px]", str(painted.UM))
    page.select_option("[name=slide]", "read")
    if blind:
        page.check("[name=blind]")
    page.set_input_files("input[accept]", [str(anna.folder / "field.png")])  # type: ignore[attr-defined]
    page.click("text=Make it and send")
    page.wait_for_selector(".review", timeout=120_000)
    case = page.url.rsplit("/", 1)[1]
    for _ in range(600):
        about = anna.api(f"/cases/{case}")
        if about["pictures"] == 2 and not about["waiting"]:
            break
        page.wait_for_timeout(200)
    return str(case)


def ready(page: Any, picture: str = "", before: dict[str, float] | None = None) -> dict[str, float]:
    """Wait until every tile in sight is there, of this picture, and the view is another than before; where it is."""
    told = page.wait_for_function(
        """([picture, was]) => {
            const told = document.querySelector(".stage")?.dataset;
            if (told?.state !== "ready" || (picture && told.picture !== picture)) return null;
            const view = { x: Number(told.x), y: Number(told.y), zoom: Number(told.zoom) };
            return was && Object.keys(view).every((name) => view[name] === was[name]) ? null : view;
        }""",
        arg=[picture, before],
    )
    return dict(told.json_value())


def moved(page: Any, before: dict[str, float]) -> dict[str, float]:
    return ready(page, before=before)


def test_a_slide_is_looked_at_and_read_in_its_place(anna: Visitor) -> None:
    case = new_case(anna, "S 1")
    anna.open(case)
    page = anna.page
    expect = playwright.expect
    cells = {cell["id"]: cell for cell in anna.api(f"/cases/{case}/cells")["cells"]}
    pictures = {each["sha256"]: each for each in anna.api(f"/cases/{case}/pictures")["pictures"]}
    slide = next(sha for sha, each in pictures.items() if each["kind"] == "slide")
    on_slide = [cell for cell in cells.values() if cell["picture"] == slide]
    assert len(on_slide) == painted.COUNTED

    # By key to the place of the current cell: it is in sight, at a size that can be judged.
    page.keyboard.press("p")
    view = ready(page)
    expect(page.locator(".grid")).to_be_hidden()
    here = page.evaluate("document.querySelector('.grid').getAttribute('aria-activedescendant')").removeprefix("cell-")
    x, y, w, h = cells[here]["box"]
    assert abs(view["x"] - x - w / 2) < 2
    assert abs(view["y"] - y - h / 2) < 2
    assert max(w, h) * view["zoom"] == pytest.approx(120, rel=0.05)
    assert page.locator(".stage").get_attribute("data-bar").endswith("µm")
    page.keyboard.press("Escape")
    expect(page.locator(".grid")).to_be_visible()
    expect(page.locator(".grid")).to_be_focused()

    # The whole slide, and a cell chosen by the mouse: it becomes the current one.
    page.click("text=Fields")
    page.wait_for_selector(".stage")
    page.select_option("[aria-label='which field']", slide)
    whole = ready(page, slide)
    assert (whole["x"], whole["y"]) == (painted.WIDTH / 2, painted.HEIGHT / 2)
    canvas = page.locator("canvas.field")
    box = canvas.bounding_box()
    chosen = next(cell for cell in on_slide if cell["id"] != here)
    x, y, w, h = chosen["box"]
    left = (x + w / 2 - whole["x"]) * whole["zoom"] + box["width"] / 2
    top = (y + h / 2 - whole["y"]) * whole["zoom"] + box["height"] / 2
    canvas.click(position={"x": left, "y": top})
    expect(page.locator(".words")).to_contain_text(f"slide.tif, cell {chosen['number']}.")
    seen = "(what) => document.querySelector(`.pane .layers img[src*=${what}]`)?.naturalWidth > 0"
    for what in ("frame", "heat"):  # drawn by asking the window again
        page.wait_for_function(seen, arg=what, timeout=60_000)

    # A label from here is stored, and the viewer goes on to the next cell.
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/readings")):
        page.keyboard.press("b")
    anna.saved()
    acts = anna.api(f"/cases/{case}/readings")["acts"]
    assert [(act["cell"], act["label"]) for act in acts] == [(chosen["id"], "blast")]

    # Wheel, drag, keys, overview.
    last = ready(page)
    page.click("text=Whole")
    whole = moved(page, last)
    canvas.hover(position={"x": 100, "y": 100})
    page.mouse.wheel(0, -400)
    near = moved(page, whole)
    assert near["zoom"] > 1.5 * whole["zoom"]
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 130, steps=4)
    page.mouse.up()
    dragged = moved(page, near)
    assert dragged["x"] == pytest.approx(near["x"] - 60 / near["zoom"], abs=2)
    assert dragged["y"] == pytest.approx(near["y"] - 30 / near["zoom"], abs=2)
    canvas.focus()
    page.keyboard.press("ArrowRight")
    right = moved(page, dragged)
    assert right["x"] > dragged["x"]
    page.keyboard.press("+")
    assert moved(page, right)["zoom"] == pytest.approx(1.6 * right["zoom"], rel=0.01)
    over = page.locator("canvas.overview")
    size = over.bounding_box()
    over.click(position={"x": size["width"] / 4, "y": size["height"] / 2})
    near_to = "(x) => Math.abs(document.querySelector('.stage').dataset.x - x) < 60"
    page.wait_for_function(near_to, arg=painted.WIDTH / 4)
    jumped = ready(page)
    assert jumped["x"] == pytest.approx(painted.WIDTH / 4, rel=0.05)
    assert page.evaluate(ACCESSIBLE) == []
    page.keyboard.press("p")
    expect(page.locator(".grid")).to_be_visible()
    expect(page.locator(".grid")).to_have_attribute("aria-activedescendant", re.compile("cell-"))


def test_two_fingers_zoom(anna: Visitor) -> None:
    case = new_case(anna, "S 2")
    anna.page.set_viewport_size({"width": 390, "height": 844})
    try:
        anna.open(case)
        page = anna.page
        page.click("text=Fields")
        page.wait_for_selector(".stage")
        before = ready(page)
        session = anna.context.new_cdp_session(page)
        box = page.locator("canvas.field").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        def touch(kind: str, *points: float) -> None:
            at = [{"x": x + by, "y": y, "id": number} for number, by in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

        touch("touchStart", -20, 20)
        for by in (30, 45, 60):
            touch("touchMove", -by, by)
        touch("touchEnd")
        after = moved(page, before)
        assert after["zoom"] == pytest.approx(3 * before["zoom"], rel=0.15)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        anna.page.set_viewport_size({"width": 1280, "height": 800})


def test_a_blind_reader_sees_places_and_no_suggestion(anna: Visitor) -> None:
    case = new_case(anna, "S 3", blind=True)
    anna.open(case)
    page = anna.page
    page.keyboard.press("p")
    ready(page)
    assert "suggested" not in page.inner_text(".legend")
    colours = page.evaluate(COLOURS)
    assert colours["74,82,100"] > 50  # outlines, all alike
    assert (colours["180,83,9"], colours["29,98,176"]) == (0, 0)
