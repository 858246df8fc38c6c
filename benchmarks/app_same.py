"""How far the app gives the command line's answer: frames, measures of the gate, logits and decisions of real cells.

    python benchmarks/app_same.py --data C-NMC --runtime onnxruntime-web/dist --out docs/figures/app_same.json

C-NMC is a folder with cells as .webp files. Frames and measures: the app's modules in Node, on the pixels that Python
decoded, of real cells and of malformed pictures (fixed seed). Logits: the built app in Chromium, which decodes the
files itself: PNG and BMP by turns, JPEG and WebP of quality 92.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from _common import Needed, command_line, report
from app import CHROMIUM, READY
from leukoscope.app.serve import site_server
from leukoscope.app.site import PAGES, build_site
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.frame import frame_cell
from leukoscope.cells.quality import measure_quality
from leukoscope.cells.read import read_picture
from leukoscope.errors import PictureError
from leukoscope.inference.classifier import load

RUNNER = Path(__file__).with_name("app_same.mjs")
Picture = NDArray[np.uint8]
KINDS = {"lossless": ("png", "bmp"), "jpeg": ("jpg",), "webp": ("webp",)}
SAVED: dict[str, dict[str, Any]] = {"jpg": {"quality": 92}, "webp": {"quality": 92}}


def malformed(count: int) -> list[Picture]:
    """Specks, blots with holes, cells at edges, pictures of one pixel: from a fixed seed."""
    rng = np.random.default_rng(5)
    pictures: list[Picture] = [
        np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8), np.zeros((40, 3, 3), np.uint8),
    ]  # fmt: skip
    while len(pictures) < count:
        kind = len(pictures) % 4
        height, width = rng.integers(1, 120, 2)
        share = rng.uniform(0.02, 0.7)
        lit = rng.random((height, width)) < share
        if kind:
            soft = cv2.GaussianBlur(lit.astype(np.float32), (0, 0), float(rng.uniform(0.7, 4)))
            lit = np.asarray(soft > share * rng.uniform(0.6, 1.2))
        rgb = (lit[..., None] * rng.integers(8, 256, (height, width, 3))).astype(np.uint8)
        if kind == 2:
            rgb = np.pad(rgb, ((5, 5), (5, 5), (0, 0)))
        if kind == 3:
            rgb = np.pad(rgb.repeat(6, 0).repeat(6, 1), ((3, 3), (0, 9), (0, 0)))
        pictures.append(np.ascontiguousarray(rgb))
    return pictures


def framed(pictures: list[Picture], size: int, place: Path) -> dict[str, Any]:
    """The same pictures through frame.mjs and quality.mjs and through Python."""
    listed = []
    for number, rgb in enumerate(pictures):
        file = place / f"{number}.rgb"
        file.write_bytes(np.ascontiguousarray(rgb).tobytes())
        listed.append({"file": str(file), "width": rgb.shape[1], "height": rgb.shape[0], "size": size})
    (place / "pictures.json").write_text(json.dumps(listed), encoding="utf-8")
    command = ["node", str(RUNNER), str(PAGES), str(place / "pictures.json"), str(place / "framed.json")]
    subprocess.run(command, check=True)
    same = errors = 0
    apart: dict[str, float] = {}
    for rgb, other in zip(pictures, json.loads((place / "framed.json").read_text(encoding="utf-8")), strict=True):
        try:
            frame = frame_cell(rgb, size)
        except PictureError as error:
            errors += 1
            same += other == {"error": str(error)}
            continue
        same += other.get("frame") == hashlib.sha256(frame.tobytes()).hexdigest()
        for name, value in measure_quality(rgb, frame).values.items():
            apart[name] = max(apart.get(name, 0.0), abs(value - other["values"][name]))
    measures = {name: float(f"{value:.1e}") for name, value in apart.items()}
    return {"pictures": len(pictures), "same": same, "errors": errors, "largest_difference": measures}


def answered(page: Page, paths: list[Path]) -> list[dict[str, Any]]:
    """What the app exports of these pictures alone."""
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_function(
        "(count) => document.querySelectorAll('.tile').length === count", arg=len(paths), timeout=3_600_000
    )
    with page.expect_download() as waiting:
        page.click("#export")
    cells: list[dict[str, Any]] = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))["cells"]
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#clear")
    page.wait_for_selector("#work", state="hidden")
    return cells


def compared(page: Page, pictures: list[Picture], suffixes: tuple[str, ...], place: Path) -> dict[str, Any]:
    """The app's answers beside the command line's."""
    paths = []
    for number, rgb in enumerate(pictures):
        suffix = suffixes[number % len(suffixes)]
        paths.append(place / f"{number}.{suffix}")
        Image.fromarray(rgb).save(paths[-1], **SAVED.get(suffix, {}))
    own = load(threads=1).predict([str(path) for path in paths])
    found = answered(page, paths)
    pairs = [(a, b) for a, b in zip(found, own, strict=True) if a.get("logit") is not None and b.logit is not None]
    apart = [abs(a["logit"] - b.logit) for a, b in pairs if b.logit is not None]
    return {
        "cells": len(found),
        "answered_by_both": len(pairs),
        "logit_median": float(f"{np.median(apart):.1e}"),
        "logit_largest": float(f"{max(apart):.1e}"),
        "same_decision": sum(a["decision"] == b.decision for a, b in zip(found, own, strict=True)),
        "same_gate": sum(a.get("gate") == b.gate for a, b in pairs),
        "same_reasons": sum(
            [each["reason"] for each in a["findings"]] == [each.reason for each in b.findings] for a, b in pairs
        ),
    }


def main() -> None:
    """Print and write the figures."""
    given = command_line(
        __doc__, data=Needed(), runtime=Path, out=Path, frames=1000, answers=500, lossy=100
    ).parse_args()
    paths = sorted(given.data.rglob("*.webp"))
    random.Random(1).shuffle(paths)
    cells = [read_picture(path).rgb for path in paths[: given.frames]]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        figures: dict[str, Any] = {"frames": framed(cells, 340, place), "malformed": framed(malformed(200), 200, place)}
        build_site(place / "site", read_bundle("light"), given.runtime)
        with site_server(place / "site") as server, sync_playwright() as driver:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_selector(READY, state="attached", timeout=300_000)
            for kind, suffixes in KINDS.items():
                count = given.answers if kind == "lossless" else given.lossy
                figures[kind] = compared(page, cells[:count], suffixes, place)
            browser.close()
            server.shutdown()
    report(figures, given.out)


if __name__ == "__main__":
    main()
