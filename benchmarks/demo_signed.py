"""The demo, from `serve --demo` to a signed case, by keys alone; and the picture of the page for the README.

    python benchmarks/demo_signed.py [--picture docs/pictures/workbench.png]

Starts `leukoscope serve --demo` on a temporary folder and drives the system's Chromium. Prints the seconds from the
start of the program to the signed case, and those in the browser alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from _common import command_line, load_of_machine, report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser_client import CHROMIUM, Visitor, served
from leukoscope.service.demo import DEMO_PASSWORD

ORDER, CELLS = "SYNTHETIC-1", 24


def sign_demo(anna: Visitor, picture: Path | None = None) -> int:
    """Log in, read every cell of the demo's first case and sign it, without a mouse; how many cells there were."""
    page = anna.page
    anna.log_in("anna")
    page.wait_for_selector(f"td a >> text={ORDER}")
    case = page.get_attribute(f"td a >> text={ORDER}", "href").partition("case/")[2]
    anna.tab_to(f"td a[href$='{case}']")
    page.keyboard.press("Enter")
    page.wait_for_selector(f".count >> text=/ of {CELLS} read/", timeout=120_000)  # cells come as they are answered
    cells = anna.api(f"/cases/{case}/cells")["cells"]
    by_key = {"blast": "b", "normal": "n"}
    for number, cell in enumerate(sorted(cells, key=lambda each: -(each["probability"] or -1))):
        if picture is not None and number == len(cells) // 2:
            for seen in (".words >> text=/./", ".count .share", "#outbox.saved"):
                page.wait_for_selector(seen)
            page.screenshot(path=str(picture))
        anna.keys(by_key.get(cell["decision"], "n"))
    anna.saved()
    anna.tab_to("button.main", back=True)
    page.keyboard.press("Enter")
    page.wait_for_selector("button.main >> text=Sign")
    anna.tab_to("button.main", back=True)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    anna.tab_to("dialog [name=password]")
    page.keyboard.type(anna.password)
    page.keyboard.press("Enter")
    page.wait_for_selector(".state.signed")
    return len(cells)


def main() -> None:
    """Sign and print."""
    args = command_line(__doc__, picture=Path).parse_args()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (it may be missing)

    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder) / "workbench", "--demo") as (port, _),
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        here = time.monotonic()
        cells = sign_demo(Visitor(browser, f"http://127.0.0.1:{port}/", DEMO_PASSWORD), args.picture)
        ended = time.monotonic()
        browser.close()
    told = {"cells": cells, "from_start_s": round(ended - began, 1), "in_the_browser_s": round(ended - here, 1)}
    report(told | {"load": load_of_machine()}, None)


if __name__ == "__main__":
    main()
