"""Browsers, stores, bundles and updates with which the app cannot do all: each is told, in both languages."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from app_page import answers, exported, in_spanish, sees
from leukoscope.app.site import build_site
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.read import read_picture
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import PictureError
from leukoscope.inference.classifier import load

Opener = Callable[..., Any]


def refused(page: Any, english: str) -> None:
    """The page says why it gives no answers, takes no pictures, and says the same in Spanish."""
    told = sees(page, "#state", english)
    page.wait_for_selector("#intake", state="hidden")
    page.click("#language")
    spanish = in_spanish(told.removeprefix("No answers here: ").removesuffix("."))
    sees(page, "#state", f"Aquí no hay respuestas: {spanish}.")


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    path = tmp_path / "cell.png"
    Image.fromarray(render_cell(1, "blast")).save(path)
    return path


NO_STORAGE = (
    "Object.defineProperty(window, 'indexedDB', { get() { throw new DOMException('denied', 'SecurityError'); } })"
)


def test_without_storage_it_answers_and_says_that_nothing_is_kept(site: Path, opened: Opener, cell: Path) -> None:
    page = opened(site, script=NO_STORAGE)
    sees(page, "#state", "This browser gives no storage")
    (found,) = answers(page, [cell])
    assert found["logit"] is not None
    expect(page.locator("#cell canvas")).to_have_attribute("width", "340")  # its pixels are kept by the page
    page.wait_for_selector("#guard", state="hidden")
    page.click("#language")
    page.reload()
    sees(page, "#state", "Este navegador no da almacenamiento")


def test_a_store_that_is_full_loses_nothing_that_is_in_sight(site: Path, opened: Opener, cell: Path) -> None:
    full = "IDBObjectStore.prototype.put = function () { throw new DOMException('full', 'QuotaExceededError'); }"
    page = opened(site, script=full)
    answers(page, [cell])
    sees(page, "#state", "storage is full")
    expect(page.locator("#cell canvas")).to_have_attribute("width", "340")
    page.keyboard.press("b")
    sees(page, "#state", "cannot be stored")
    assert exported(page)["cells"][0]["label"] == "blast"


def test_a_browser_without_vectors_gives_no_answer(altered: Callable[[str, str, str], Path], opened: Opener) -> None:
    # The script of the page does not reach the worker: there, the check itself is told that nothing is valid.
    folder = altered("worker.mjs", "let ready;", "WebAssembly.validate = () => false;\nlet ready;")
    refused(opened(folder, state="refused"), "no WebAssembly with SIMD")


def test_a_browser_without_canvases_in_workers_gives_no_answer(
    altered: Callable[[str, str, str], Path], opened: Opener
) -> None:
    folder = altered("worker.mjs", "let ready;", "delete globalThis.OffscreenCanvas;\nlet ready;")
    refused(opened(folder, state="refused"), "this browser is too old")


def test_a_bundle_of_a_newer_format_gives_no_answer(site: Path, opened: Opener, tmp_path: Path) -> None:
    folder = tmp_path / "newer"
    shutil.copytree(site, folder)
    bundle, facts = folder / "bundle" / "bundle.json", folder / "app.json"
    content = bundle.read_text(encoding="utf-8").replace('"format_version":1', '"format_version":2')
    assert '"format_version":2' in content
    bundle.write_text(content, encoding="utf-8")
    known = json.loads(facts.read_text(encoding="utf-8"))
    known["files"]["bundle/bundle.json"] = hashlib.sha256(content.encode()).hexdigest()
    facts.write_text(json.dumps(known), encoding="utf-8")
    refused(opened(folder, state="refused"), "the bundle has format 2, and this app reads format 1")


def test_a_file_that_is_missing_is_named(site: Path, opened: Opener, tmp_path: Path) -> None:
    folder = tmp_path / "without"
    shutil.copytree(site, folder)
    (folder / "bundle" / "model.onnx").unlink()
    refused(opened(folder, state="refused", service_workers="block"), "bundle/model.onnx cannot be loaded (404)")


def test_an_update_that_did_not_arrive_whole_leaves_what_works(
    site: Path, runtime: Path, opened: Opener, cell: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    page = opened(folder)
    page.wait_for_selector("html[data-offline=ready]", state="attached")
    (first,) = answers(page, [cell])
    build = json.loads((folder / "app.json").read_text(encoding="utf-8"))["build"]
    own = read_bundle("light")
    ungated = own.facts.model_copy(update={"gate": None})
    build_site(folder, type(own)(own.folder, ungated, own.graph), runtime)
    (folder / "runtime" / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm")  # the connection broke here
    page.evaluate("""async () => {
      const registration = await navigator.serviceWorker.ready;
      const gone = new Promise((resolve) => registration.addEventListener("updatefound", () => {
        registration.installing.addEventListener("statechange", ({ target }) => {
          if (target.state === "redundant") resolve();
        });
      }));
      await registration.update().catch(() => undefined);
      await gone;
    }""")
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("html[data-state=ready]", state="attached")
    sees(page, "#about", f"build {build[:8]}")
    expect(page.locator(".tile")).to_have_count(1)
    assert answers(page, [cell])[0]["logit"] == first["logit"]


def test_a_picture_that_its_exif_turns_is_turned_as_the_command_line_turns_it(
    site: Path, opened: Opener, tmp_path: Path
) -> None:
    upright = Image.fromarray(render_cell(3, "blast")).crop((40, 0, 410, 450))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    paths = [tmp_path / "turned.jpg", tmp_path / "turned.png"]
    for path in paths:
        upright.rotate(90, expand=True).save(path, exif=exif, **({"quality": 98} if path.suffix == ".jpg" else {}))
    assert read_picture(paths[1]).rgb.shape == (450, 370, 3)
    page = opened(site)
    for found, own in zip(
        answers(page, paths), load("light", threads=1).predict([str(path) for path in paths]), strict=True
    ):
        assert (found["width"], found["height"]) == (370, 450)
        assert found["logit"] == pytest.approx(own.logit, abs=0.01 if found["format"] == "JPEG" else 1e-4)
        assert found["decision"] == own.decision


def test_what_is_cut_short_is_unreadable_here_as_there(site: Path, opened: Opener, tmp_path: Path) -> None:
    picture = Image.fromarray(render_cell(2, "blast"))
    paths, whole = [], []
    for kind, options in (("png", {}), ("bmp", {}), ("jpg", {}), ("jpg", {"progressive": True}), ("webp", {})):
        buffer = io.BytesIO()
        picture.save(buffer, {"jpg": "jpeg"}.get(kind, kind), **options)
        data = buffer.getvalue()
        name = f"{kind}{len(options)}"
        whole.append(tmp_path / f"{name}.{kind}")
        whole[-1].write_bytes(data)
        bad = {share: data[: int(share * len(data))] for share in (0.3, 0.8, 0.99)}
        if kind == "png":
            at = data.index(b"IDAT") + 500
            bad[1] = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        for share, content in bad.items():
            paths.append(tmp_path / f"{name}-{share}.{kind}")
            paths[-1].write_bytes(content)
            with pytest.raises(PictureError):
                read_picture(paths[-1])
    page = opened(site)
    found = answers(page, [*whole, *paths])
    assert [each["logit"] is not None for each in found[: len(whole)]] == [True] * len(whole)
    for each in found[len(whole) :]:
        assert each["decision"] == "unreadable", each["name"]
        assert "damaged, cut short" in each["error"], each["name"]


def test_a_picture_of_a_hundred_million_pixels_costs_nothing(site: Path, opened: Opener, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((10_000, 10_000), np.uint8)).save(buffer, "PNG", compress_level=1)
    (tmp_path / "huge.png").write_bytes(buffer.getvalue())
    page = opened(site)
    (found,) = answers(page, [tmp_path / "huge.png"])
    assert "10000 x 10000 pixels, more than the 16,000,000" in found["error"]
