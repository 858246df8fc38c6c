"""How large and how quick a gallery of many cells is: its folder, its first screen and its filters, in Chromium.

    python benchmarks/gallery.py --data C-NMC_Leukemia [--cells 7197] [--out docs/figures/gallery.json]

Cells are answered once each and written as by `predict --format html`; times are medians of five clicks, from the
click until the browser has drawn.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from _common import Needed, command_line, pictures_in
from leukoscope.files import write_json
from leukoscope.inference.batch import run_batch
from leukoscope.inference.classifier import load
from leukoscope.inference.gallery import PAGE
from leukoscope.machine import describe_machine

DRAWN = """click => new Promise(done => {
  const start = performance.now();
  click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def clicked(page: Page, code: str) -> float:
    """Milliseconds from what ``code`` does until it is drawn, median of five."""
    return float(round(statistics.median(page.evaluate(f"({DRAWN})(() => {{ {code} }})") for _ in range(5)), 1))


def main() -> None:
    """Write a gallery, open it, click, and write the figures."""
    parser = command_line(__doc__, data=Needed(), out=Path("docs/figures/gallery.json"))
    parser.add_argument("--cells", type=int, default=7197)
    args = parser.parse_args()
    pictures = pictures_in(args.data)[: args.cells]
    with tempfile.TemporaryDirectory() as place, sync_playwright() as started:
        folder = Path(place) / "gallery"
        run_batch(load(), pictures, format="html", out=folder, morphology=False)
        files = [path for path in folder.rglob("*") if path.is_file()]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((folder / PAGE).as_uri())
        found = {
            "machine": describe_machine(),
            "cells": len(pictures),
            "folder_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
            "page_mb": round((folder / PAGE).stat().st_size / 1e6, 1),
            "ready_ms": page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"),
            "filter_ms": clicked(page, "document.querySelector('[data-show=normal]').click()"),
            "all_ms": clicked(page, "document.querySelector('[data-show=all]').click()"),
            "sort_ms": clicked(
                page,
                "const s = document.getElementById('sort'); s.value = 'name'; s.dispatchEvent(new Event('change'))",
            ),
            "maps_ms": clicked(page, "document.getElementById('maps').click()"),
            "large_ms": clicked(page, "document.querySelector('.pic').click()"),
        }
        browser.close()
    write_json(args.out, found)
    print(found)


if __name__ == "__main__":
    main()
