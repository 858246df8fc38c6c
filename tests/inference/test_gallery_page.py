"""The gallery in a browser: pages, filter, one cell at large, labels that are exported and read back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.datasets.readers import read_dataset
from leukoscope.errors import DataError
from leukoscope.inference.alike import most_alike
from leukoscope.inference.batch import find_pictures, run_batch, run_fields
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.gallery import write_page
from leukoscope.inference.labels import label_boxes
from leukoscope.inference.overlay import TINT, map_scale, overlay, tint
from smears.smear import with_red_cells

CELLS = 250  # more than one page of the gallery


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(make_bundle(tmp_path_factory.mktemp("gallery") / "bundle"))


@pytest.fixture(scope="module")
def out(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(CELLS):
        Image.fromarray(disc((40 + number % 200, 30, 255 - number))).save(folder / f"c{number}.png")
    run_batch(classifier, find_pictures([folder]), format="html", out=folder / "out", morphology=False)
    return folder / "out"


@pytest.fixture(scope="module")
def expect() -> Any:
    """What waits for what a page shows."""
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=60_000)  # a busy machine is no failure
    return playwright.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_one_page_at_a_time_and_labels_that_come_back(browser: Any, expect: Any, out: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((out / "report.html").as_uri())
    where, name = page.locator("#where"), page.locator("#large-name")
    expect(where).to_have_text(f"1 to 240 of {CELLS}")
    page.click("#on")
    expect(page.locator("#cells > li")).to_have_count(CELLS - 240)
    page.fill("#find", "c7.png")
    expect(where).to_have_text("1 to 1 of 1")
    page.click(".pic")
    expect(name).to_have_text("c7.png")
    page.keyboard.press("b")
    expect(page.locator("#labelled")).to_have_text("1 labelled")
    page.keyboard.press("h")
    expect(page.locator("#large-map")).to_be_visible()
    page.fill("#note", 'with <b> & quotes"')
    page.click("#close")
    expect(page.locator("#large")).to_be_hidden()
    page.fill("#find", "c8.png")
    expect(where).to_have_text("1 to 1 of 1")
    page.click(".pic")
    expect(name).to_have_text("c8.png")
    expect(page.locator("#like button")).to_have_count(4)
    page.keyboard.press("n")
    expect(page.locator("#labelled")).to_have_text("2 labelled")
    page.click("#after")  # the last of what is shown: it stays
    expect(name).to_have_text("c8.png")
    page.reload()
    expect(page.locator("#labelled")).to_have_text("2 labelled")  # kept by the browser
    with page.expect_download() as download:
        page.click("#export")
    review = tmp_path / "review.json"
    download.value.save_as(review)
    page.close()
    assert complaints == []
    manifest = read_dataset(review)
    assert {record.path: record.label for record in manifest.records} == {"c7.png": 1, "c8.png": 0}
    assert manifest.root == out.parent.resolve()
    notes = [cell["note"] for cell in json.loads(review.read_text())["cells"]]
    assert notes == ['with <b> & quotes"', ""]
    changed = json.loads(review.read_text())
    changed["cells"][0]["sha256"] = "0" * 64
    review.write_text(json.dumps(changed))
    with pytest.raises(DataError, match="1 pictures are not those that were labelled"):
        read_dataset(review)


def test_print_shows_every_cell_and_keys_in_a_field_are_text(browser: Any, expect: Any, out: Path) -> None:
    page = browser.new_page()
    page.goto((out / "report.html").as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#cells > li")).to_have_count(CELLS)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("#cells > li")).to_have_count(240)
    page.locator("#find").press_sequentially("h")
    expect(page.locator("#find")).to_have_value("h")
    expect(page.locator("#maps")).to_have_attribute("aria-pressed", "false")
    page.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "at version"),
        ({"surplus": 1}, "at surplus"),
        ({"cells": []}, "labels no cell as blast or normal"),
        ({"cells": [{"path": "gone.png", "decision": "refer", "label": "blast"}]}, "neither under"),
        ({"cells": [{"path": "x" * 5000, "decision": "refer", "label": "blast"}]}, "neither under"),  # no file can
        ({"cells": [{"path": "c1.png", "cell": 3, "decision": "refer", "label": "blast"}]}, "cells of fields only"),
        ({"cells": [{"path": "c1.png", "decision": "refer", "label": "maybe"}]}, "at cells.0.label"),
    ],
)
def test_a_review_that_cannot_be_read_says_why(out: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    whole = {
        "format": "leukoscope-review", "version": 1, "root": str(out.parent), "created": "", "bundle": "m",
        "bundle_digest": "", "leukoscope": "0", "cells": [{"path": "c1.png", "decision": "refer", "label": "normal"}],
    }  # fmt: skip
    file = tmp_path / "review.json"
    file.write_text(json.dumps(whole | change))
    with pytest.raises(DataError, match=said) as error:
        read_dataset(file, both_classes=False)
    assert error.value.remedy


def test_most_alike_is_what_brute_force_finds() -> None:
    rows = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    cosine = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in rows] for a in rows])
    np.fill_diagonal(cosine, -2)
    assert [row[0] for row in most_alike(rows, 3)] == cosine.argmax(1).tolist()
    tied = np.concatenate([rows[:40], rows[:40]])  # each has a twin, and all values occur twice
    exact = np.float32([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in tied] for a in tied])
    assert all(row[0] == (place + 40) % 80 for place, row in enumerate(most_alike(tied, 3)))
    assert [sorted(exact[place][row], reverse=True) for place, row in enumerate(most_alike(tied, 3))] == [
        pytest.approx(sorted(np.delete(values, place), reverse=True)[:3], abs=1e-5)
        for place, values in enumerate(exact)
    ]
    assert most_alike(rows[:1]) == [[]]
    assert most_alike(rows[:2], 4) == [[1], [0]]


def test_the_tint_over_the_frame_is_the_overlay() -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 255, (TINT, TINT, 3), dtype=np.uint8)
    heatmap = rng.normal(size=(14, 14)).astype(np.float32)
    flat = tint(heatmap).astype(float)
    alpha = flat[..., 3:] / 255
    laid = frame + alpha * (flat[..., :3] - frame)
    assert np.abs(laid - overlay(frame, heatmap, scale=map_scale(heatmap))).max() <= 1.01
    assert not tint(np.zeros((3, 3), np.float32))[..., 3].any()


def test_from_the_outline_to_the_cell_and_back(
    classifier: Classifier, browser: Any, expect: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    smear = with_red_cells(60, leave=(320, 240, 60)).white(320, 240, 110, 75)
    Image.fromarray(smear.picture()).save(tmp_path / "in" / "a.png")
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(tmp_path / "in" / "b.png")
    run_fields(classifier, find_pictures([tmp_path / "in"]), tmp_path / "out", ReadOptions())
    page = browser.new_page(viewport={"width": 360, "height": 700})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((tmp_path / "out" / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    where, target = page.locator("#where"), page.locator(":target")
    expect(where).to_have_text("2 of 2 fields")
    expect(page.locator("#f1p1")).to_be_visible()
    page.wait_for_function("document.querySelector('.whole img').naturalWidth > 0")  # nothing moves any more
    place = page.locator("#f1p1").bounding_box()
    whole = page.locator(".whole").bounding_box()
    assert place is not None
    assert whole is not None
    assert (place["x"] - whole["x"] + place["width"] / 2) / whole["width"] == pytest.approx(320 / 640, abs=0.02)
    page.click("#f1p1")
    expect(target).to_have_attribute("id", "f1c1")
    page.click(":target b a")
    expect(target).to_have_attribute("id", "f1p1")
    decision = page.get_attribute("#f1c1", "class")
    other = "normal" if decision == "blast" else "blast"
    page.click(f"[data-only={other}]")
    expect(where).to_have_text("0 of 2 fields")
    page.click(f"[data-only={decision}]")
    expect(page.locator("main > section:visible")).to_have_count(1)
    page.click('[data-only=""]')
    expect(where).to_have_text("2 of 2 fields")
    page.fill("#find", "b.png")
    expect(page.locator("main > section:visible h2")).to_have_text(re.compile(r"b\.png$"))
    assert complaints == []
    page.close()


def overlapping(boxes: list[list[float]], slack: float = 0.0) -> list[tuple[int, int]]:
    """Pairs of boxes (x, y, width, height) that share area, by their ends alone."""
    ends = [(x + slack, y + slack, x + wide - slack, y + high - slack) for x, y, wide, high in boxes]
    return [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(ends), 2)
        if max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])
    ]


def crowd(count: int = 60) -> list[tuple[str, list[float]]]:
    """Cells heaped upon each other in the corner of a field and along its edges."""
    rng = np.random.default_rng(4)
    places = np.concatenate([rng.uniform(0, 260, (count // 2, 2)), rng.uniform((0, 0), (560, 400), (count // 2, 2))])
    return [(str(number), [x, y, 80.0, 80.0]) for number, (x, y) in enumerate(places.tolist(), 1)]


def test_no_number_stands_over_another_or_outside() -> None:
    cells = crowd()
    boxes = label_boxes(cells, (640, 480), 20.0)
    assert not overlapping([list(box) for box in boxes], 1e-9)
    assert all(x >= 0 and y >= 0 and x + wide <= 640 and y + high <= 480 for x, y, wide, high in boxes)
    assert label_boxes([("7", [100.0, 100.0, 50.0, 50.0])], (640, 480), 20.0) == [(100.0, 80.0, 20.0, 20.0)]
    assert label_boxes([], (640, 480), 20.0) == []
    full = label_boxes([(str(n), [0.0, 0.0, 9.0, 9.0]) for n in range(9)], (20, 20), 18.0)
    assert len(full) == 9  # no room: one lies over the other, and it ends


@pytest.mark.parametrize("width", [390, 1440])
def test_the_numbers_of_a_field_can_be_read(browser: Any, classifier: Classifier, tmp_path: Path, width: int) -> None:
    """A crowded field as the browser lays it out: rectangles of the numbers, and the size of their letters."""
    record = classifier.read_field(with_red_cells(60).white(320, 240, 110, 75).picture()).to_json()
    record |= {"path": "crowded.png", "error": None}
    record["cells"] = [record["cells"][0] | {"number": int(told), "box": box} for told, box in crowd()]
    counts = {"pictures": 1, "blast": 0, "normal": 60, "refer": 0, "unreadable": 0}
    write_page(tmp_path / "report.html", [record], ["crowded"], None, (), [None] * 60, counts)
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    page.locator(".whole > img").evaluate("node => { node.style.aspectRatio = '640 / 480' }")  # no file behind it
    measure = "nodes => nodes.map(n => { const r = n.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })"
    numbers = page.locator(".whole b")
    boxes = numbers.evaluate_all(measure)
    assert len(boxes) == 60
    assert not overlapping(boxes, 0.1)  # of a pixel: places are rounded to a hundredth of a per cent
    (whole,) = page.locator(".whole").evaluate_all(measure)
    x, y, wide, high = whole
    assert all(x - 1 <= a and y - 1 <= b and a + c <= x + wide + 1 and b + d <= y + high + 1 for a, b, c, d in boxes)
    assert min(numbers.evaluate_all("nodes => nodes.map(n => parseFloat(getComputedStyle(n).fontSize))")) >= 10
    assert all(numbers.evaluate_all("nodes => nodes.map(n => n.scrollWidth <= n.clientWidth)"))
    page.close()
