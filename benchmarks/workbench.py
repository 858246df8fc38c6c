"""How quick the workbench is: start, a folder of cells, keys of two readers at once, long lists, the record, the grid.

A real server on a temporary folder, asked over HTTP; the grid in Chromium where it is installed. Writes
docs/figures/workbench.json, with the machine and its load.

python benchmarks/workbench.py --out docs/figures/workbench.json [--cells 1000] [--bundle light]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import insert, select

from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.synthetic import render_cell
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.service.database.audit import verify_database
from leukoscope.service.database.chain import Chain, read_key
from leukoscope.service.database.engine import Database
from leukoscope.service.database.tables import CaseRow, CellRow, RunRow
from leukoscope.service.moments import new_id

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from workbench_client import PASSWORD, Served

READERS, KEYS, SECONDS = 2, 20, 10


def rendered(count: int) -> list[bytes]:
    """So many different cells as PNG: sixty are rendered, the others are these turned and with another corner."""
    base = [render_cell(seed, kind) for seed in range(30) for kind in ("blast", "normal")]
    made = []
    for number in range(count):
        cell = np.rot90(base[number % len(base)], number // len(base) % 4).copy()
        cell[0, 0] = number % 256, number // 256 % 256, 1
        file = BytesIO()
        Image.fromarray(cell).save(file, "PNG", compress_level=1)
        made.append(file.getvalue())
    return made


def spread(times: list[float]) -> dict[str, float]:
    """Milliseconds: median, 95th percentile, most."""
    return {name: round(1e3 * float(np.quantile(times, q)), 1) for name, q in (("p50", 0.5), ("p95", 0.95), ("max", 1))}


def folder_of_cells(server: Served, pictures: list[bytes]) -> tuple[str, dict[str, float]]:
    """Send a folder of cells by four connections; seconds until they are there, and until they are answered."""
    case = server.ask("POST", "/cases", {"order_no": "1", "subject": "P", "target": 200})[1]["id"]
    worked, began = work(server), time.monotonic()

    def send(data: bytes) -> None:
        status, answer = server.ask("PUT", f"/cases/{case}/pictures/{sha256(data).hexdigest()}", data)
        assert status == 201, answer

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, pictures))
    sent = time.monotonic() - began
    while server.ask("GET", f"/cases/{case}")[1]["waiting"]:
        time.sleep(0.1)
    took, per_cell = time.monotonic() - began, 1e3 * (work(server) - worked) / len(pictures)
    told = {"cells": len(pictures), "sent_s": round(sent, 2), "answered_s": round(took, 2)}
    return case, told | {"work_ms_a_cell": round(per_cell, 1)}


def two_readers(server: Served, case: str) -> dict[str, Any]:
    """Readings of two sessions at 20 a second each; how long each takes to be acknowledged."""
    cells = [cell["id"] for cell in server.ask("GET", f"/cases/{case}/cells")[1]["cells"]]
    taken: list[float] = []

    def read(number: int) -> None:
        until = time.monotonic() + SECONDS
        turn = 0
        while time.monotonic() < until:
            began = time.monotonic()
            one = {"event": str(uuid.uuid4()), "cell": cells[(number + READERS * turn) % len(cells)], "label": "normal"}
            status, answer = server.ask("POST", f"/cases/{case}/readings", {"readings": [one]})
            assert status == 200, answer
            taken.append(time.monotonic() - began)
            turn += 1
            time.sleep(max(0.0, 1 / KEYS - (time.monotonic() - began)))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"readers": READERS, "keys_a_second": KEYS, "readings": len(taken), "ms": spread(taken)}


def long_case(database: Database, like: str, count: int) -> str:
    """A case with so many cells, rows only: those of another case over and over."""
    made = new_id()
    with database.write() as connection:
        case = dict(connection.execute(select(CaseRow).where(CaseRow.id == like)).mappings().one())
        connection.execute(insert(CaseRow).values(**case | {"id": made, "order_no": f"{count} cells"}))
        runs = connection.execute(select(RunRow).where(RunRow.case_id == like)).mappings().all()
        cells = connection.execute(select(CellRow).where(CellRow.case_id == like)).mappings().all()
        by_run = {cell["run_id"]: cell for cell in cells}
        rows: list[dict[str, Any]] = []
        for turn in range(-(-count // len(runs))):
            for run in runs:
                if len(rows) == count:
                    break
                cell = by_run[run["id"]]
                place = len(rows) + 1
                rows.append(dict(cell) | {"id": new_id(), "case_id": made, "number": 2 + turn + count, "place": place})
        connection.execute(insert(CellRow), rows)
    return made


def lists(server: Served, case: str) -> dict[str, float]:
    """Milliseconds of a first page of 200 cells in each order, and of the summary; least of five."""
    found = {}
    for sort in ("place", "change", "probability", "gate"):
        times = []
        for _ in range(5):
            began = time.monotonic()
            server.ask("GET", f"/cases/{case}/cells?sort={sort}&limit=200")
            times.append(time.monotonic() - began)
        found[sort] = round(1e3 * min(times), 1)
    return found


def processes(server: Served) -> list[Path]:
    """The server and the processes that it started, as folders of /proc; the server first."""
    own, found = str(server.process.pid), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if own in (folder.name, parent):
                found.append(folder)
    return sorted(found, key=lambda folder: (folder.name != own, int(folder.name)))


def memory(server: Served) -> dict[str, float]:
    """Megabytes of the server and its processes.

    Returns:
        `resident`: what each holds, added up: libraries that they share count several times. `together`: what they take
        together, a shared page by its share.
    """
    total = {"Rss": 0, "Pss": 0}
    for folder in processes(server):
        with contextlib.suppress(OSError):
            for line in (folder / "smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in total:
                    total[name] += int(rest.split()[0])
    return {"resident": round(total["Rss"] / 1024, 1), "together": round(total["Pss"] / 1024, 1)}


def work(server: Served) -> float:
    """Seconds of processor time that the server and its processes have taken."""
    ticks = 0
    for folder in processes(server):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def grid(server: Served, case: str) -> dict[str, Any] | None:
    """The first screen of a long case, and the frames while it is scrolled, in Chromium; None without it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (it may be missing)

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("[name=login]", "a")
        page.fill("[name=password]", PASSWORD)
        page.click("dialog >> text=Log in >> nth=-1")
        page.wait_for_selector("text=New case")
        began = time.monotonic()
        page.goto(f"http://127.0.0.1:{server.port}/#/case/{case}")
        page.wait_for_selector(".tile")
        first = time.monotonic() - began
        found = page.evaluate("""async () => {
            const box = document.querySelector('.grid'), frames = [];
            let last = performance.now();
            for (let turn = 0; turn < 200; turn += 1) {
                box.scrollTop += 120;
                await new Promise(requestAnimationFrame);
                const now = performance.now();
                frames.push(now - last);
                last = now;
            }
            return { frames, tiles: document.querySelectorAll('.tile').length };
        }""")
        keyed = page.evaluate("""async () => {
            const times = [];
            for (let turn = 0; turn < 40; turn += 1) {
                const began = performance.now();
                const key = new KeyboardEvent('keydown', { key: 'n', bubbles: true });
                document.querySelector('.grid').dispatchEvent(key);
                times.push(performance.now() - began);
                await new Promise((done) => setTimeout(done, 50));
            }
            return times;
        }""")
        browser.close()
    return {
        "first_screen_ms": round(1e3 * first, 1), "tiles_drawn": found["tiles"],
        "frame": spread([each / 1e3 for each in found["frames"]]), "key_to_shown": spread([k / 1e3 for k in keyed]),
    }  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--bundle", default="default", help="Name or folder of the bundle.")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    bundle = read_bundle(given.bundle)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "bundle": bundle.facts.name,
        "load": [round(each, 1) for each in os.getloadavg()],
    }
    server = Served(place / "workbench", bundle.folder)
    try:
        first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": ["signer"]}
        assert server.ask("POST", "/first", first)[0] == 200
        case, result["folder"] = folder_of_cells(server, rendered(given.cells))
        result["memory_mb"] = memory(server)
        result["readings"] = two_readers(server, case)
        database = Database(f"sqlite:///{place / 'workbench' / 'workbench.sqlite'}")
        many = long_case(database, case, 10_000)
        result["lists_ms"] = {
            "10000 cells": lists(server, many), "100000 cells": lists(server, long_case(database, case, 100_000)),
        }  # fmt: skip
        result["grid"] = grid(server, many)
        began = time.monotonic()
        verdict = verify_database(database, Chain(read_key(place / "workbench" / "chain.key", create=False)))
        assert verdict.sound
        result["verify"] = {"events": verdict.events, "s": round(time.monotonic() - began, 2)}
        database.close()
        starts = []
        for _ in range(5):
            server.kill()
            starts.append(server.start())
        result["start_s"] = round(min(starts), 2)
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)
    write_json(given.out, result)
    print(given.out.read_text())


if __name__ == "__main__":
    main()
