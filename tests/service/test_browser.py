"""The pages in a real browser: the whole way of real cells, lost sessions, every control, labels, keys alone.

Chromium is that of the system, driven by Playwright; without either, the tests are skipped with the reason.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from pypdf import PdfReader

from browser_client import CHROMIUM, Visitor, Wire, served
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.synthetic import render_cell
from leukoscope.service.demo import DEMO_PASSWORD

HOME = Path(__file__).parents[2]
sys.path.append(str(HOME / "tests" / "smears"))
sys.path.append(str(HOME / "benchmarks"))

if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect  # what a page shows after an act is waited for, never read at once

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
    """Five subjects of C-NMC 2019, read by what the set says of them: two blind by two readers, one the fixed set.

    They are new to the bundle: cells that it was trained on are left out of an adaptation.
    """
    new = {subject for group in read_bundle("default").facts.measured[0].groups for subject in group.split("+")}
    of_subject: dict[str, list[Path]] = {}
    for path in sorted((real_data / "cnmc2019").rglob("fold_*/*/UID_*")):
        if path.name.split("_")[1] in new:
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
        expect(page.locator("[class*=suggests-]")).to_have_count(0)
        expect(page.locator(".heat")).to_have_count(0)
        anna.keys(label * 30)
        if subject == ill[0]:
            wire.cut()
            anna.keys(label * 40)
            expect(page.locator("#outbox.offline")).to_contain_text("kept in this browser")
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
        expect(ben.page.locator("[class*=suggests-]")).to_have_count(0)
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
    expect(page.locator("main")).to_contain_text("Anna and Ben: kappa of blast or not")
    page.click("text=Adapt to what was signed")
    page.wait_for_selector("figure.curve", timeout=600_000)
    if page.locator("text=Make it all the same").count():
        page.click("text=Make it all the same")
    page.wait_for_selector("text=A new model, on trial", timeout=600_000)
    expect(page.locator("figure.curve circle").nth(1)).to_be_attached()
    expect(page.locator(".said")).to_contain_text("267 cells, 134 of them blasts")
    page.click("button >> text=Activate")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("dialog >> button >> text=Activate")
    page.wait_for_selector("dialog [role=alert] >> text=was not tried")
    page.keyboard.press("Escape")
    page.click("text=Try on signed cases")
    page.wait_for_selector("text=statements would change", timeout=600_000)
    expect(page.locator("tr", has_text="Fixed set")).to_contain_text("33 cells of 1 subjects")
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
    told = page.evaluate("""() => {
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "b", bubbles: true }));
        return [document.getElementById("outbox").className, document.getElementById("outbox").textContent];
    }""")
    assert told == ["waiting", "saving 1"]  # with the key itself: a window that is closed now asks first
    anna.keys("nbn")
    anna.saved()
    page.context.clear_cookies()
    anna.keys("bnb")
    page.click("text=Log in again")
    page.fill("[name=password]", PASSWORD)
    page.click("dialog >> text=Log in >> nth=-1")
    anna.saved()
    expect(page.locator(".count")).to_contain_text("7 of 16 read")
    page.reload()  # a new window goes on where the old one was, and can undo what it did
    page.wait_for_selector(".tile.current.unread")
    anna.keys("u")
    anna.saved()
    expect(page.locator(".count")).to_contain_text("6 of 16 read")
    expect(page.locator(".unseen[role=status]")).to_contain_text("taken back. Cell 7 of 16, not read")
    acts = anna.api(f"/cases/{case}/readings")["acts"]
    assert sum("withdrawn" in act for act in acts) == 1
    assert len(acts) == 8


def test_a_case_that_was_made_without_pictures_takes_them_later(anna: Visitor, cells: list[Path]) -> None:
    page = anna.page
    anna.new_case("later", "P-later", [])
    expect(page.locator(".pane")).to_contain_text("No cell was found in the pictures of this case yet")
    page.click("text=Add pictures")
    page.click("text=Send the pictures")
    expect(page.locator("dialog .error")).to_have_text("choose pictures or a folder first")
    page.set_input_files("dialog input[accept]", [str(path) for path in cells[:3]])
    page.click("text=Send the pictures")
    expect(page.locator("dialog")).to_have_count(0, timeout=60_000)
    expect(page.locator(".tile")).to_have_count(3, timeout=120_000)


def test_each_control_of_the_review_page_does_what_it_says(anna: Visitor, cells: list[Path], tmp_path: Path) -> None:
    from smear import with_red_cells  # noqa: PLC0415  (painted fields, of the tests beside these)

    field = with_red_cells(55, leave=(320, 240, 70)).white(320, 240, 90, 66)
    Image.fromarray(field.picture()).save(tmp_path / "field.png")
    page = anna.page
    case = anna.new_case("2026-2", "P-2", [*cells[16:25], tmp_path / "field.png"])
    anna.open(case)
    tiles, here = page.locator(".tile"), page.locator(".tile.current")
    expect(tiles).to_have_count(10)
    first = here.get_attribute("id")
    page.keyboard.press("ArrowRight")
    expect(here).not_to_have_attribute("id", first)
    page.keyboard.press("ArrowLeft")
    expect(here).to_have_attribute("id", first)
    page.keyboard.press("h")
    page.wait_for_selector(".layers.off")
    page.keyboard.press("h")
    page.keyboard.press("o")
    page.wait_for_selector(".neighbours img")
    page.locator(".neighbours button").first.click()  # leads there
    expect(here).not_to_have_attribute("id", first)
    of_field = next(cell["id"] for cell in anna.api(f"/cases/{case}/cells")["cells"] if cell["box"])
    page.click(f"#cell-{of_field}")
    page.wait_for_selector(".words >> text=field.png")
    page.keyboard.press("o")
    page.wait_for_selector(".neighbours img")
    page.keyboard.press("p")
    expect(page.locator("canvas.field")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("canvas.field")).to_be_hidden()
    page.locator(".tile").first.click()
    page.keyboard.press("p")
    page.wait_for_selector("text=The picture shows this one cell")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("undo the last reading")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("[aria-label=order] option")).to_have_count(5)
    for order in ("change", "place", "gate", "disagreement", "probability"):
        page.keyboard.press("s")
        told = [cell["id"] for cell in anna.api(f"/cases/{case}/cells?sort={order}")["cells"]]
        for place, cell in enumerate(told, 1):  # as the server has them
            expect(page.locator(f"#cell-{cell}")).to_have_attribute("aria-posinset", str(place))
    page.keyboard.press("a")
    expect(page.locator(".tile.chosen")).to_have_count(10)
    page.keyboard.press("Escape")
    expect(page.locator(".tile.chosen")).to_have_count(0)
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.keyboard.press("8")  # both are smudges
    expect(page.locator("[data-label=smudge] b")).to_have_text("2")
    page.locator(".tile.unread").first.drag_to(page.locator("[data-label=artefact]"))
    expect(page.locator("[data-label=artefact] b")).to_have_text("1")
    page.select_option("[aria-label='which cells']", "smudge")
    expect(tiles).to_have_count(2)
    page.select_option("[aria-label='which cells']", "all")
    expect(tiles).to_have_count(10)
    page.locator(".tile.unread").first.click()
    page.click("[data-label=monocyte]")
    expect(page.locator("[data-label=monocyte] b")).to_have_text("1")
    page.click("text=Undo")
    expect(page.locator("[data-label=monocyte] b")).to_have_text("0")
    expect(tiles.first).to_have_css("width", "104px")
    page.keyboard.press("+")
    expect(tiles.first).to_have_css("width", "120px")
    anna.saved()
    marks = {cell["id"]: cell["label"] for cell in anna.api(f"/cases/{case}/cells")["cells"] if cell["label"]}
    assert sorted(marks.values()) == ["artefact", "smudge", "smudge"]
    other = anna.context.new_page()  # a second window of the same reader follows the first
    other.goto(f"{anna.home}#/case/{case}")
    other.wait_for_selector(".tile")
    page.locator(".tile.unread").first.click()
    page.keyboard.press("9")
    expect(other.locator("[data-label=artefact] b")).to_have_text("2", timeout=60_000)
    other.close()


def test_reasons_that_are_half_written_stay_when_another_cell_is_decided(
    anna: Visitor, browser: playwright.Browser, cells: list[Path]
) -> None:
    page = anna.page
    case = anna.new_case("2026-6", "P-6", cells[:3], readers="2")
    ben = Visitor(browser, anna.home, PASSWORD)
    ben.log_in("ben")
    for visitor, keys in ((anna, "bbb"), (ben, "nnb")):
        visitor.open(case)
        visitor.keys(keys)
        visitor.saved()
        visitor.finish()
    ben.context.close()
    page.goto(f"{anna.home}#/differing/{case}")
    reasons = page.locator("[name=reason]")
    expect(reasons).to_have_count(2)
    reasons.nth(1).fill("nucleoli, and a fine chrom")
    reasons.nth(0).fill("granules")
    page.locator("button >> text=Decide").first.click()
    expect(page.locator("h1")).to_contain_text("1 cells on which readers differ")
    expect(reasons).to_have_count(1)
    expect(reasons).to_have_value("nucleoli, and a fine chrom")
    page.locator("button >> text=Decide").click()
    page.wait_for_selector("text=There is nothing left to decide")


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
    expect(page.locator("[data-label=basophil]")).to_have_count(0)
    page.keyboard.press("r")
    page.keyboard.press("5")  # was that of basophils
    page.locator(".tile.unread").first.drag_to(page.locator("[data-label=promyelocyte]"))
    expect(page.locator("[data-label=promyelocyte] b")).to_have_text("2")
    anna.saved()
    expect(page.locator(".count")).to_contain_text("2 blasts")
    summary = anna.api(f"/cases/{case}/summary")
    assert summary["mine"] == {
        "counts": {"promyelocyte": 2}, "white_cells": 2, "blasts": 2, "percent": {"promyelocyte": 100.0},
    }  # fmt: skip


def test_a_page_that_was_left_is_not_drawn_over_the_one_that_is_open(anna: Visitor, cells: list[Path]) -> None:
    page = anna.page
    case = anna.new_case("2026-5", "P-5", cells[:2])
    slow = {
        "": "cases?", "bundles": "bundles", "audit": "events/head", "users": "users", f"differing/{case}": "differing",
        f"case/{case}": f"cases/{case}/cells",
    }  # fmt: skip
    for place, path in slow.items():
        held: list[playwright.Route] = []
        where = re.compile(f"api/v1/.*{re.escape(path)}")
        page.goto(f"{anna.home}#/labels")
        expect(page.locator("h1")).to_have_text("Labels")
        page.route(where, partial(list.append, held))
        with page.expect_request(where):
            page.goto(f"{anna.home}#/{place}")
        expect(page.locator("h1", has_text="Labels")).to_have_count(0)
        page.goto(f"{anna.home}#/labels")
        expect(page.locator("h1")).to_have_text("Labels")
        with page.expect_response(where):
            for route in held:
                route.continue_()
        page.unroute(where)
        page.evaluate("new Promise((done) => setTimeout(done, 300))")  # had it been drawn, it would be seen by now
        expect(page.locator("h1")).to_have_text(["Labels"])
        assert page.title().startswith("Labels")
    assert anna.faults == []


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
                page.wait_for_selector("dialog [name=order_no]")
                faults["new case, 320"] = page.evaluate(ACCESSIBLE)
                page.keyboard.press("Escape")
                page.wait_for_selector("dialog", state="detached")
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
