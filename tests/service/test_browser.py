"""The whole way in a real browser: upload, keys with the network cut, two readers, a decision, a signature, an export.

Chromium is that of the system, driven by Playwright; without either, the tests are skipped with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pypdf import PdfReader

from leukoscope.datasets.synthetic import render_cell

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PASSWORD = "a long password"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own, with the default model; the link of its first start."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = tmp_path_factory.mktemp("browser") / "workbench"
    command = [sys.executable, "-m", "leukoscope", "serve", "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    link = next(found[1] for line in process.stdout if (found := re.search(r"(http://\S+/#/first/\S+)", line)))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield link
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Rendered cells: 40 for one case, 12 more."""
    folder = tmp_path_factory.mktemp("cells")
    paths = []
    for seed in range(26):
        for kind in ("blast", "normal"):
            paths.append(folder / f"{kind}-{seed}.png")
            Image.fromarray(render_cell(seed, kind)).save(paths[-1])  # type: ignore[arg-type]
    return paths


class Visitor:
    """A person at a browser of their own."""

    def __init__(self, browser: playwright.Browser, home: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.page = self.context.new_page()
        self.home = home
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._local)

    def _local(self, request: playwright.Request) -> None:
        if not request.url.startswith((self.home, "blob:", "data:")):
            self.faults.append(f"asks another host: {request.url}")

    def log_in(self, login: str) -> None:
        self.page.goto(self.home)
        self.page.fill("[name=login]", login)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("dialog >> text=Log in >> nth=-1")
        self.page.wait_for_selector("text=New case")

    def api(self, path: str) -> dict:
        return self.page.evaluate(f"fetch('./api/v1{path}').then((answer) => answer.json())")

    def keys(self, text: str) -> None:
        for key in text:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        self.page.wait_for_selector("#outbox.saved", timeout=60_000)

    def new_case(self, order: str, subject: str, files: list[Path], **choices: str) -> str:
        page = self.page
        page.goto(f"{self.home}#/")
        page.click("text=New case")
        page.fill("[name=order_no]", order)
        page.fill("[name=subject]", subject)
        for name, value in choices.items():
            if value == "check":
                page.check(f"[name={name}]")
            else:
                page.select_option(f"[name={name}]", value)
        page.set_input_files("input[accept]", [str(path) for path in files])
        page.click("text=Make it and send")
        page.wait_for_selector(".review", timeout=120_000)
        case = page.url.rsplit("/", 1)[1]
        until = time.monotonic() + 120
        while self.api(f"/cases/{case}")["waiting"]:
            assert time.monotonic() < until
            page.wait_for_timeout(200)
        return case

    def open(self, case: str) -> None:
        self.page.goto(f"{self.home}#/")
        self.page.wait_for_selector("text=New case")
        self.page.goto(f"{self.home}#/case/{case}")
        self.page.wait_for_selector(".tile")
        self.page.wait_for_selector(".grid:focus")


@pytest.fixture(scope="module")
def anna(address: str, browser: playwright.Browser) -> Iterator[Visitor]:
    """The first person, who may do everything; she makes two readers and a signer."""
    visitor = Visitor(browser, address.partition("#")[0])
    page = visitor.page
    page.goto(address)
    page.fill("[name=login]", "anna")
    page.fill("[name=name]", "Anna")
    page.fill("[name=password]", PASSWORD)
    page.click("text=Make the account")
    page.wait_for_selector("text=New case")
    page.click("text=Accounts")
    for login in ("ben", "cleo"):
        page.click("text=New account")
        page.fill("dialog [name=login]", login)
        page.fill("dialog [name=name]", login.title())
        page.fill("dialog [name=password]", PASSWORD)
        page.click("text=Make the account")
        page.wait_for_selector(f"td >> text={login}")
    yield visitor
    assert visitor.faults == []


def test_a_case_from_upload_to_the_signed_report(anna: Visitor, cells: list[Path]) -> None:
    page = anna.page
    case = anna.new_case("2026-1", "P-1", cells[:40])
    anna.open(case)
    labels = "".join("b" if number % 3 == 0 else "n" for number in range(40))
    anna.keys(labels[:10])
    anna.context.set_offline(True)  # the network is cut in the middle
    anna.keys(labels[10:20])
    page.wait_for_selector("#outbox.offline")
    assert "kept in this browser" in page.inner_text("#outbox")
    anna.keys("uu")
    anna.keys(labels[18:20])
    anna.context.set_offline(False)
    anna.saved()
    acts = anna.api(f"/cases/{case}/readings")["acts"]
    assert sum("withdrawn" in act for act in acts) == 2
    assert len(acts) == 24
    page.context.clear_cookies()  # the session is lost, too
    anna.keys(labels[20:30])
    page.click("text=Log in again")
    page.fill("[name=password]", PASSWORD)
    page.click("dialog >> text=Log in >> nth=-1")
    anna.saved()
    assert page.inner_text(".count").startswith("30 of 40 read")
    page.reload()  # a new window goes on where the old one was, and can undo what it did
    page.wait_for_selector(".tile.current.unread")
    anna.keys("u")
    anna.saved()
    assert page.inner_text(".count").startswith("29 of 40 read")
    anna.keys(labels[29] + labels[30:])
    anna.saved()
    page.click("text=I have finished")
    page.wait_for_selector("button >> text=Sign")
    page.click("button >> text=Sign")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("dialog >> button >> text=Sign")
    page.wait_for_selector(".state.signed")
    found = anna.api(f"/cases/{case}/report.json")
    counts = found["content"]["after"]["counts"]
    assert counts == {"blast": labels.count("b"), "normal": labels.count("n")}
    pdf = page.request.get(f"{anna.home}api/v1/cases/{case}/report.pdf").body()
    words = " ".join(sheet.extract_text() for sheet in PdfReader(BytesIO(pdf)).pages).replace("\n", "")
    assert found["signature"]["head"] in words
    assert "never a diagnosis" in words
    assert anna.api("/events/verify")["sound"]


def test_each_control_of_the_review_page_does_what_it_says(anna: Visitor, cells: list[Path]) -> None:
    page = anna.page
    case = anna.new_case("2026-2", "P-2", cells[40:50])
    anna.open(case)
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
    other.wait_for_selector("[data-label=artefact] b >> text=2", timeout=20_000)
    other.close()
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 1280, "height": 800})
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, [role]')].filter((each) => !(each.ariaLabel || "
        "each.textContent.trim() || each.labels?.length || each.title || each.id === 'outbox'))"
        ".map((each) => each.outerHTML)"
    )
    assert unnamed == []


def test_two_readers_apart_a_decision_and_a_new_model(anna: Visitor, browser: playwright.Browser, cells) -> None:
    case = anna.new_case("2026-3", "P-3", cells[:12], readers="2", blind="check")
    for login, keys in (("ben", "b" * 6 + "n" * 6), ("cleo", "b" * 5 + "n" * 7)):
        reader = Visitor(browser, anna.home)
        reader.log_in(login)
        reader.open(case)
        assert reader.page.locator("[class*=suggests-]").count() == 0
        assert reader.page.locator(".heat").count() == 0
        reader.keys(keys)
        reader.saved()
        reader.page.click("text=I have finished")
        reader.page.wait_for_selector(".state.blind", state="detached")
        assert reader.faults == []
        reader.context.close()
    page = anna.page
    anna.open(case)
    assert "1 to decide" in page.inner_text(".count") or page.wait_for_selector("text=1 to decide")
    page.click("text=Where readers differ")
    page.select_option("[name=label]", "blast")
    page.fill("[name=reason]", "nucleoli")
    page.click("text=Decide")
    page.wait_for_selector("text=There is nothing left to decide")
    page.click("text=Back to the case")
    page.click("button >> text=Sign")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("dialog >> button >> text=Sign")
    page.wait_for_selector(".state.signed")
    page.click("text=Into the fixed set")
    page.wait_for_selector("text=In the fixed set")
    page.click("nav >> text=Models")
    page.click("text=Export what was signed")
    page.wait_for_selector("text=readings.csv", timeout=120_000)
    assert "kappa of blast or not" in page.inner_text("main")


@pytest.mark.data
def test_three_hundred_real_cells_make_a_new_model_that_answers(anna: Visitor, real_data: Path) -> None:
    """Six subjects of C-NMC 2019, read by what the set says of them; two of them are the fixed set."""
    of_subject: dict[str, list[Path]] = {}
    for path in sorted((real_data / "cnmc2019").rglob("fold_0/*/UID_*")):
        of_subject.setdefault(path.name.split("_")[1], []).append(path)
    by_size = sorted(of_subject, key=lambda subject: -len(of_subject[subject]))
    blasts = [subject for subject in by_size if not subject.startswith("H")][:3]
    healthy = [subject for subject in by_size if subject.startswith("H")][:3]
    page = anna.page
    for subject in (*blasts, *healthy):
        case = anna.new_case(f"real {subject}", subject, of_subject[subject][:50])
        anna.open(case)
        while page.locator(".count span").first.inner_text().find(" left") > 0:  # a screen at a time
            anna.keys("ja" + ("b" if subject in blasts else "n"))
            page.wait_for_timeout(50)
        anna.saved()
        page.click("text=I have finished")
        page.click("button >> text=Sign")
        page.fill("dialog [name=password]", PASSWORD)
        page.click("dialog >> button >> text=Sign")
        page.wait_for_selector(".state.signed")
        if subject in (blasts[0], healthy[0]):
            page.click("text=Into the fixed set")
            page.wait_for_selector("text=In the fixed set")
    page.click("nav >> text=Models")
    page.click("text=Adapt to what was signed")
    page.wait_for_selector("text=/A new model, on trial|Make it all the same/", timeout=300_000)
    if page.locator("text=Make it all the same").count():
        page.click("text=Make it all the same")
    page.wait_for_selector("text=A new model, on trial", timeout=300_000)
    assert "AUC by number of labels" in page.inner_text(".said pre")
    page.click("text=Try on signed cases")
    page.wait_for_selector("text=statements would change", timeout=300_000)
    fixed = page.locator("tr", has_text="Fixed set").inner_text()
    assert "of 1 subjects" in fixed or "of 2 subjects" in fixed
    page.click("button >> text=Activate")
    page.fill("dialog [name=password]", PASSWORD)
    page.click("dialog >> button >> text=Activate")
    page.wait_for_selector(".state.retired")
    states = {each["name"]: each["state"] for each in anna.api("/bundles")["bundles"]}
    assert sorted(states.values()) == ["active", "retired"]
    assert next(name for name, state in states.items() if state == "active").endswith("adapted")
    assert anna.api("/events/verify")["sound"]
