"""The pages in a real browser: the whole way of real cells, lost sessions, every control, labels, keys alone.

Chromium is that of the system, driven by Playwright; without either, the tests are skipped with the reason.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from pypdf import PdfReader

from browser_client import CHROMIUM, Visitor, Wire, served
from leukoscope.datasets.synthetic import render_cell
from leukoscope.service.demo import DEMO_PASSWORD

HOME = Path(__file__).parents[2]
sys.path.append(str(HOME / "tests" / "smears"))
sys.path.append(str(HOME / "benchmarks"))

if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PASSWORD = "a long password"
ACCESSIBLE = (HOME / "tests" / "web" / "accessible.js").read_text(encoding="utf-8")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A server with the default model, and the cable to it; its first link is in `wire.first`."""
    with served(tmp_path_factory.mktemp("browser") / "workbench") as (port, said):
        made = Wire(port)
        made.first = said[-1].rsplit("/", 1)[1].strip()  # type: ignore[attr-defined]
        yield made
        made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Rendered cells."""
    folder = tmp_path_factory.mktemp("cells")
    paths = []
    for seed in range(13):
        for kind in ("blast", "normal"):
            paths.append(folder / f"{kind}-{seed}.png")
            Image.fromarray(render_cell(seed, kind)).save(paths[-1])  # type: ignore[arg-type]
    return paths


@pytest.fixture(scope="module")
def anna(wire: Wire, browser: playwright.Browser) -> Iterator[Visitor]:
    """The first person, who may do everything; she makes a reader."""
    home = f"http://127.0.0.1:{wire.port}/"
    visitor = Visitor(browser, home, PASSWORD)
    page = visitor.page
    page.goto(f"{home}#/first/{wire.first}")  # type: ignore[attr-defined]
    page.fill("[name=login]", "anna")
    page.fill("[name=name]", "Anna")
    page.fill("[name=password]", PASSWORD)
    page.click("text=Make the account")
    page.wait_for_selector("text=New case")
    page.click("text=Accounts")
    page.click("text=New account")
    page.fill("dialog [name=login]", "ben")
    page.fill("dialog [name=name]", "Ben")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("text=Make the account")
    page.wait_for_selector("td >> text=ben")
    yield visitor
    assert visitor.faults == []


@pytest.mark.data
def test_three_hundred_real_cells_from_upload_to_a_new_model(
    anna: Visitor, wire: Wire, browser: playwright.Browser, real_data: Path
) -> None:
    """Five subjects of C-NMC 2019, read by what the set says of them: two blind by two readers, one the fixed set."""
    of_subject: dict[str, list[Path]] = {}
    for path in sorted((real_data / "cnmc2019").rglob("fold_0/*/UID_*")):
        of_subject.setdefault(path.name.split("_")[1], []).append(path)
    by_size = sorted(of_subject, key=lambda subject: -len(of_subject[subject]))
    ill = [subject for subject in by_size if not subject.startswith("H")][:3]
    healthy = [subject for subject in by_size if subject.startswith("H")][:2]
    counts = {ill[0]: 100, healthy[0]: 100, ill[1]: 34, healthy[1]: 33, ill[2]: 33}
    page = anna.page
    cases = {}
    for subject, count in counts.items():
        double = {"readers": "2", "blind": "check"} if count == 100 else {}
        cases[subject] = anna.new_case(f"real {subject}", subject, of_subject[subject][:count], **double)

    # Two hundred keys, and the cable cut among them: what was pressed meanwhile is kept, then sent once.
    for subject, label in ((ill[0], "b"), (healthy[0], "n")):
        anna.open(cases[subject])
        assert page.locator("[class*=suggests-]").count() == 0
        assert page.locator(".heat").count() == 0
        anna.keys(label * 30)
        if subject == ill[0]:
            wire.cut()
            anna.keys(label * 40)
            page.wait_for_selector("#outbox.offline")
            assert "kept in this browser" in page.inner_text("#outbox")
            for _ in range(600):
                if wire.refused >= 4:  # it was tried again and again, in vain
                    break
                page.wait_for_timeout(100)
            assert wire.refused >= 4
            wire.mend()
            anna.keys(label * 30)
        else:
            anna.keys(label * 70)
        anna.saved()
        acts = anna.api(f"/cases/{cases[subject]}/readings")["acts"]
        assert len({act["cell"] for act in acts}) == len(acts) == 100
        anna.finish()
    ben = Visitor(browser, anna.home, PASSWORD)
    ben.log_in("ben")
    for subject, label in ((ill[0], "b"), (healthy[0], "n")):
        ben.page.goto(f"{ben.home}#/case/{cases[subject]}")
        ben.page.wait_for_selector(f"h1 >> text=real {subject}")
        ben.page.wait_for_selector(".tile")
        assert ben.page.locator("[class*=suggests-]").count() == 0
        ben.read_screens(label)
        if subject == ill[0]:
            ben.page.locator(".grid").evaluate("(box) => { box.scrollTop = 0; }")
            ben.page.click("[aria-posinset='1']")
            ben.keys("n")
            ben.saved()
        ben.finish()
    assert ben.faults == []
    ben.context.close()
    anna.open(cases[ill[0]])
    page.wait_for_selector(".count >> text=1 to decide")
    page.click("text=Where readers differ")
    page.select_option("[name=label]", "blast")
    page.fill("[name=reason]", "nucleoli")
    page.click("text=Decide")
    page.wait_for_selector("text=There is nothing left to decide")
    page.click("text=Back to the case")
    page.wait_for_selector(".grid:focus")
    anna.sign()
    anna.open(cases[healthy[0]])
    anna.sign()
    found = anna.api(f"/cases/{cases[ill[0]]}/report.json")
    assert found["content"]["after"]["counts"] == {"blast": 100}
    pdf = page.request.get(f"{anna.home}api/v1/cases/{cases[ill[0]]}/report.pdf").body()
    words = " ".join(sheet.extract_text() for sheet in PdfReader(BytesIO(pdf)).pages).replace("\n", "")
    for told in (found["signature"]["head"], "never a diagnosis", "Blast 100", "99 of 100 cells called alike"):
        assert told in words, told

    for subject in (ill[1], healthy[1], ill[2]):
        anna.open(cases[subject])
        anna.read_screens("b" if subject in ill else "n")
        anna.finish()
        anna.sign()
    page.click("text=Into the fixed set")
    page.wait_for_selector("text=In the fixed set")
    page.click("nav >> text=Models")
    page.click("text=Export what was signed")
    link = page.wait_for_selector("a >> text=manifest.csv", timeout=300_000)
    rows = list(csv.reader(io.StringIO(page.request.get(f"{anna.home}{link.get_attribute('href')[2:]}").text())))
    assert len(rows) == 1 + 300
    assert "Anna and Ben: kappa of blast or not" in page.inner_text("main")
    page.click("text=Adapt to what was signed")
    page.wait_for_selector("figure.curve", timeout=600_000)
    if page.locator("text=Make it all the same").count():
        page.click("text=Make it all the same")
    page.wait_for_selector("text=A new model, on trial", timeout=600_000)
    assert page.locator("figure.curve circle").count() >= 2
    assert "267 cells, 134 of them blasts" in page.inner_text(".said")
    page.click("button >> text=Activate")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("dialog >> button >> text=Activate")
    page.wait_for_selector("dialog [role=alert] >> text=was not tried")
    page.keyboard.press("Escape")
    page.click("text=Try on signed cases")
    page.wait_for_selector("text=statements would change", timeout=600_000)
    assert "33 cells of 1 subjects" in page.locator("tr", has_text="Fixed set").inner_text()
    page.click("button >> text=Activate")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("dialog >> button >> text=Activate")
    page.wait_for_selector(".state.retired")
    states = {each["name"]: each["state"] for each in anna.api("/bundles")["bundles"]}
    assert sorted(states.values()) == ["active", "retired"]
    assert next(name for name, state in states.items() if state == "active").endswith("adapted")
    assert anna.api("/events/verify")["sound"]


def test_a_lost_session_a_new_window_and_undo_lose_nothing(anna: Visitor, cells: list[Path]) -> None:
    page = anna.page
    case = anna.new_case("2026-1", "P-1", cells[:16])
    anna.open(case)
    anna.keys("bnbn")
    anna.saved()
    page.context.clear_cookies()
    anna.keys("bnb")
    page.click("text=Log in again")
    page.fill("[name=password]", PASSWORD)
    page.click("dialog >> text=Log in >> nth=-1")
    anna.saved()
    assert page.inner_text(".count").startswith("7 of 16 read")
    page.reload()  # a new window goes on where the old one was, and can undo what it did
    page.wait_for_selector(".tile.current.unread")
    anna.keys("u")
    anna.saved()
    assert page.inner_text(".count").startswith("6 of 16 read")
    assert "taken back. Cell 7 of 16, not read" in page.inner_text(".unseen[role=status]")
    acts = anna.api(f"/cases/{case}/readings")["acts"]
    assert sum("withdrawn" in act for act in acts) == 1
    assert len(acts) == 8


def test_each_control_of_the_review_page_does_what_it_says(anna: Visitor, cells: list[Path], tmp_path: Path) -> None:
    from smear import with_red_cells  # noqa: PLC0415  (painted fields, of the tests beside these)

    field = with_red_cells(55, leave=(320, 240, 70)).white(320, 240, 90, 66)
    Image.fromarray(field.picture()).save(tmp_path / "field.png")
    page = anna.page
    case = anna.new_case("2026-2", "P-2", [*cells[16:25], tmp_path / "field.png"])
    anna.open(case)
    assert page.locator(".tile").count() == 10
    first = page.get_attribute(".tile.current", "id")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute(".tile.current", "id") != first
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute(".tile.current", "id") == first
    page.keyboard.press("h")
    page.wait_for_selector(".layers.off")
    page.keyboard.press("h")
    page.keyboard.press("o")
    page.wait_for_selector(".neighbours img")
    page.locator(".neighbours button").first.click()  # leads there
    assert page.get_attribute(".tile.current", "id") != first
    of_field = next(cell["id"] for cell in anna.api(f"/cases/{case}/cells")["cells"] if cell["box"])
    page.click(f"#cell-{of_field}")
    page.wait_for_selector(".words >> text=field.png")
    page.keyboard.press("o")
    page.wait_for_selector(".neighbours img")
    page.keyboard.press("p")
    page.wait_for_selector(".field-view .spot.here")
    page.locator(".tile").first.click()
    page.keyboard.press("p")
    page.wait_for_selector("text=The picture shows this one cell")
    page.keyboard.press("?")
    assert "undo the last reading" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    orders = page.locator("[aria-label=order] option").count()
    assert orders == 5
    for _ in range(orders):
        page.keyboard.press("s")
        assert page.locator(".tile").count() == 10
    page.keyboard.press("a")
    assert page.locator(".tile.chosen").count() == 10
    page.keyboard.press("Escape")
    assert page.locator(".tile.chosen").count() == 0
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.keyboard.press("8")  # both are smudges
    assert page.inner_text("[data-label=smudge] b") == "2"
    page.locator(".tile.unread").first.drag_to(page.locator("[data-label=artefact]"))
    page.wait_for_selector("[data-label=artefact] b >> text=1")
    page.select_option("[aria-label='which cells']", "smudge")
    assert page.locator(".tile").count() == 2
    page.select_option("[aria-label='which cells']", "all")
    page.locator(".tile.unread").first.click()
    page.click("[data-label=monocyte]")
    assert page.inner_text("[data-label=monocyte] b") == "1"
    page.click("text=Undo")
    assert page.inner_text("[data-label=monocyte] b") == "0"
    size = page.locator(".tile").first.bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator(".tile").first.bounding_box()["width"] > size
    anna.saved()
    marks = {cell["id"]: cell["label"] for cell in anna.api(f"/cases/{case}/cells")["cells"] if cell["label"]}
    assert sorted(marks.values()) == ["artefact", "smudge", "smudge"]
    other = anna.context.new_page()  # a second window of the same reader follows the first
    other.goto(f"{anna.home}#/case/{case}")
    other.wait_for_selector(".tile")
    page.locator(".tile.unread").first.click()
    page.keyboard.press("9")
    other.wait_for_selector("[data-label=artefact] b >> text=2", timeout=60_000)
    other.close()


def test_a_laboratory_s_own_label_is_a_lane_with_a_key(anna: Visitor, cells: list[Path]) -> None:
    page = anna.page
    case = anna.new_case("2026-3", "P-3", cells[:4])
    page.click("nav >> text=Labels")
    page.click("text=New label")
    row = page.locator("tbody tr").last
    row.locator("input").first.fill("Promyelocyte")
    row.locator("input.key").fill("u")
    row.locator("select").select_option("blast")
    page.click("text=Save the labels")
    page.wait_for_selector("text=/the key u is that of a command/")
    row.locator("input.key").fill("r")
    page.locator("[aria-label='Basophil is a lane']").uncheck()
    page.click("text=Save the labels")
    page.wait_for_selector("text=The labels are changed")
    anna.open(case)
    assert page.locator("[data-label=basophil]").count() == 0
    page.keyboard.press("r")
    page.keyboard.press("5")  # was that of basophils
    page.locator(".tile.unread").first.drag_to(page.locator("[data-label=promyelocyte]"))
    page.wait_for_selector("[data-label=promyelocyte] b >> text=2")
    anna.saved()
    page.wait_for_selector(".count >> text=2 blasts")
    summary = anna.api(f"/cases/{case}/summary")
    assert summary["mine"] == {
        "counts": {"promyelocyte": 2}, "white_cells": 2, "blasts": 2, "percent": {"promyelocyte": 100.0},
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_serves_those_who_see_little_or_use_no_mouse(
    anna: Visitor, browser: playwright.Browser, cells: list[Path], scheme: str
) -> None:
    """Names, heads, contrast, sizes: at a desk, at 200 % (half the width, twice the pixels), and 320 px wide."""
    case = anna.new_case(f"2026-4 {scheme}", "P-4", cells[:8])
    anna.open(case)
    anna.keys("bn8")
    anna.saved()
    faults = {}
    for width, height, zoom in ((1280, 800, 1), (640, 400, 2), (320, 640, 1)):
        visitor = Visitor(
            browser, anna.home, PASSWORD, viewport={"width": width, "height": height}, device_scale_factor=zoom,
            color_scheme=scheme, storage_state=anna.context.storage_state(),
        )  # fmt: skip
        page = visitor.page
        for place, ready in (
            ("", "td a"), (f"case/{case}", ".words >> text=/./"), ("bundles", "td code"), ("labels", "td input"),
            ("audit", "td code"), ("users", "td >> text=ben"),
        ):  # fmt: skip
            page.goto(f"{anna.home}#/{place}")
            page.wait_for_selector(ready)
            faults[f"{place.partition('/')[0]}, {width}"] = page.evaluate(ACCESSIBLE)
            if not place and width == 320:
                page.click("text=New case")
                faults["new case, 320"] = page.evaluate(ACCESSIBLE)
                page.keyboard.press("Escape")
        visitor.context.close()
    page = anna.page
    anna.open(case)
    page.keyboard.press("Tab")
    order: list[int] = []
    seen = page.evaluate("""() => {
        const shown = getComputedStyle(document.activeElement);
        return shown.outlineStyle !== 'none' && parseFloat(shown.outlineWidth) >= 2;
    }""")
    for _ in range(8):
        order.append(page.evaluate("""() => [...document.querySelectorAll('*')].indexOf(document.activeElement)"""))
        page.keyboard.press("Tab")
    assert seen
    turns = sum(later < earlier for earlier, later in pairwise(order))
    assert turns <= 1, order  # in the order of the page, once round
    assert [f"{name}: {each}" for name, told in faults.items() for each in told] == []


def test_the_demo_is_signed_by_keys_alone(browser: playwright.Browser, tmp_path: Path) -> None:
    from demo_signed import sign_demo  # noqa: PLC0415  (the script beside the benchmarks)

    with served(tmp_path / "workbench", "--demo") as (port, said):
        assert "SYNTHETIC" in "".join(said)
        visitor = Visitor(browser, f"http://127.0.0.1:{port}/", DEMO_PASSWORD)
        assert sign_demo(visitor) == 24
        assert visitor.faults == []
        visitor.context.close()
