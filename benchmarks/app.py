"""What the app costs in Chromium: over the wire, at rest, to start without a network, for one cell, and in memory.

    python benchmarks/app.py --runtime node_modules/onnxruntime-web/dist --out docs/figures/app.json [--cells 1000]

Rendered cells. Over the wire: the smallest form of each file that the build wrote. Start: the page is reloaded offline
until its self-test has passed. A cell: from the bytes in the worker to the answer, as the page tells it. Processor
time is that of all the browser's processes, a cell's with its thumbnail and storage. Memory: private pages of the tab's
process (Private_Dirty of /proc/PID/smaps_rollup) with an empty page, after the first visit, after all cells, and once
the page's garbage (not the worker's) is collected then; code of the browser that all tabs share is not in it. For
memory the browser is driven without watching its network: a driver that watches it keeps each answer's body in the tab.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from _common import command_line, load_of_machine, report
from leukoscope.app.serve import site_server
from leukoscope.app.site import build_site
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.synthetic import render_cell
from leukoscope.machine import describe_machine
from leukoscope.web.packed import CODINGS, packed_beside

CHROMIUM = "/usr/bin/chromium"
STARTS = 7
READY = "html[data-state=ready]"


def over_the_wire(site: Path) -> dict[str, int]:
    """Bytes of the site as it lies, without and with compressed forms, and of the smallest form of each file."""
    files = [path for path in site.rglob("*") if path.is_file() and path.suffix not in CODINGS.values()]

    def sent(accepted: str) -> int:
        forms = (packed_beside(path, accepted) for path in files)
        return sum((path if form is None else form[0]).stat().st_size for path, form in zip(files, forms, strict=True))

    return {
        "at_rest": sum(path.stat().st_size for path in site.rglob("*") if path.is_file()),
        "plain": sent("identity"), "gzip": sent("gzip"), "brotli": sent("gzip, br"),
    }  # fmt: skip


def processor_ms(browser_pid: int) -> float:
    """Processor time that a browser's processes have taken so far."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if _below(int(entry.name), browser_pid):
                ticks += sum(map(int, (entry / "stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        except OSError:
            continue
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


def private_mb(browser_pid: int) -> float:
    """Private memory of the tab's process, the largest renderer below the browser."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            if "--type=renderer" not in command or not _below(int(entry.name), browser_pid):
                continue
            lines = (entry / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        found.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024)
    return round(max(found), 1)


def _below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


Look = TypeVar("Look")


class Tab:
    """A tab of a browser that is told what to do through a pipe, and nothing is watched in it."""

    def __init__(self, profile: Path) -> None:
        (given, self._give), (self._take, taken) = os.pipe(), os.pipe()
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        shell = f"exec {shlex.join(command)} 3<&{given} 4>&{taken} 2>/dev/null"
        # bash, as dash knows no descriptors above 9
        self.browser = subprocess.Popen(["bash", "-c", shell], pass_fds=(given, taken))
        os.close(given)
        os.close(taken)
        self._rest, self._number, self._session = b"", 0, ""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def do(self, method: str, **named: Any) -> dict[str, Any]:
        """What a command of the DevTools protocol answers."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": named} | (
            {"sessionId": self._session} if self._session else {}
        )
        os.write(self._give, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._told()
            if answer.get("id") == self._number:
                found: dict[str, Any] = answer["result"]
                return found

    def _told(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            self._rest += os.read(self._take, 1 << 16)
        line, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told

    @contextmanager
    def outside_of_the_page(self) -> Iterator[None]:
        """Commands are for the browser, not for the page."""
        session, self._session = self._session, ""
        try:
            yield
        finally:
            self._session = session

    def traced(self) -> list[dict[str, Any]]:
        """End a trace that was begun; its events."""
        self.do("Tracing.end")
        events: list[dict[str, Any]] = []
        while True:
            told = self._told()
            if told.get("method") == "Tracing.dataCollected":
                events += told["params"]["value"]
            elif told.get("method") == "Tracing.tracingComplete":
                return events

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        while self.do("Runtime.evaluate", expression=expression)["result"].get("value") is not True:
            time.sleep(0.2)

    def give(self, paths: list[Path]) -> None:
        """Choose these files."""
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        self.do("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node)

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        self.do("Browser.close")
        self.browser.wait()


def looked_at(tab: Tab, url: str, paths: list[Path], look: Callable[[], Look]) -> dict[str, Look]:
    """What ``look`` gives once the app has started, once it has answered these pictures, and after a collection."""
    tab.do("Page.navigate", url=url)
    tab.until("['state', 'offline'].every((name) => document.documentElement.dataset[name] === 'ready')")
    found = {"after_start": look()}
    tab.give(paths)
    tab.until(f"document.querySelectorAll('.tile').length === {len(paths)}")
    found["after_cells"] = look()
    tab.do("HeapProfiler.collectGarbage")
    time.sleep(2)
    found["after_collection"] = look()
    return found


def memory(url: str, paths: list[Path], profile: Path) -> dict[str, float]:
    """Private memory of the tab, MB."""
    tab = Tab(profile)
    pid = tab.browser.pid
    tab.until("document.readyState === 'complete'")
    found = {"empty_page": private_mb(pid)}
    found |= looked_at(tab, url, paths, lambda: private_mb(pid))
    tab.close()
    return found


def started(page: Page) -> float:
    """Milliseconds of a reload until the self-test has passed."""
    begun = time.perf_counter()
    page.reload()
    page.wait_for_selector(READY, state="attached", timeout=120_000)
    return (time.perf_counter() - begun) * 1000


def answered(page: Page, paths: list[Path]) -> list[float]:
    """Milliseconds that the app tells of each cell."""
    before = page.locator(".tile").count()
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_function(
        "(count) => document.querySelectorAll('.tile').length === count", arg=before + len(paths), timeout=3_600_000
    )
    times: list[float] = page.evaluate(
        """async () => {
          const { Session } = await import("/session.mjs"), session = new Session();
          await session.open();
          return session.records.map(({ answer }) => answer.ms);
        }"""
    )
    return times[before:]


def main() -> None:
    """Print and write the figures."""
    given = command_line(__doc__, runtime=Path, out=Path, cells=1000).parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        build_site(place / "site", read_bundle("light"), given.runtime, pack=True)
        paths = []
        for seed in range(given.cells):
            paths.append(place / f"{seed}.png")
            Image.fromarray(render_cell(seed % 50, "blast" if seed % 2 else "normal")).save(paths[-1])
        figures: dict[str, Any] = {"bytes": over_the_wire(place / "site"), "machine": describe_machine()}
        with site_server(place / "site") as server, sync_playwright() as driver:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            context = driver.chromium.launch_persistent_context(
                str(place / "profile"), executable_path=CHROMIUM, args=["--no-sandbox"]
            )
            pid = max(_children(os.getpid()), key=lambda each: each)
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_selector(READY, state="attached", timeout=120_000)
            page.wait_for_selector("html[data-offline=ready]", state="attached", timeout=120_000)
            context.set_offline(True)
            spent, times = [processor_ms(pid)], []
            for _ in range(STARTS):
                times.append(started(page))
                spent.append(processor_ms(pid))
            taken = [after - before for before, after in pairwise(spent)]
            figures["start_offline_ms"] = {
                "least": round(min(times)), "median": round(statistics.median(times)),
                "processor_least": round(min(taken)), "processor_median": round(statistics.median(taken)),
            }  # fmt: skip
            before = processor_ms(pid)
            each = answered(page, paths)
            figures["cell_ms"] = {
                "least": round(min(each), 1), "median": round(statistics.median(each), 1),
                "processor_mean": round((processor_ms(pid) - before) / len(each), 1),
            }  # fmt: skip
            figures["cells"] = len(each)
            context.close()
            url = f"http://127.0.0.1:{server.server_port}/"
            figures["memory_mb"] = memory(url, paths, place / "another")
            server.shutdown()
    figures["load"] = load_of_machine()
    report(figures, given.out)


def _children(pid: int) -> list[int]:
    """Browsers below a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                if "chrom" in command and "--type=" not in command and _below(int(entry.name), pid):
                    found.append(int(entry.name))
            except OSError:
                continue
    if not found:
        sys.exit("no Chromium was started")
    return [min(found)]


if __name__ == "__main__":
    main()
