"""Where the memory of the app's tab lies in Chromium: after the start, after many cells, and once garbage is collected.

    python benchmarks/app_memory.py --runtime node_modules/onnxruntime-web/dist --out docs/figures/app_memory.json

Chromium's own accounts of its allocators (a dump of `memory-infra`, MB of each root), beside the private memory of
the tab's process. Rendered cells. Nothing watches the network.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from _common import command_line, load_of_machine, report
from app import Tab, looked_at, private_mb
from leukoscope.app.serve import site_server
from leukoscope.app.site import build_site
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.synthetic import render_cell
from leukoscope.machine import describe_machine

ROOTS = (
    "malloc", "partition_alloc/partitions/array_buffer", "partition_alloc/partitions/buffer", "v8/main", "v8/workers",
    "v8/shared", "blink_gc", "cc", "canvas", "shared_memory",
)  # fmt: skip
TRACE = {
    "recordMode": "recordUntilFull", "includedCategories": ["disabled-by-default-memory-infra"],
    "excludedCategories": ["*"], "memoryDumpConfig": {"triggers": []},
}  # fmt: skip


def accounts(tab: Tab) -> dict[str, float]:
    """MB of each root of the largest renderer's accounts, with its private memory."""
    found = {"private": private_mb(tab.browser.pid)}
    with tab.outside_of_the_page():
        tab.do("Tracing.start", traceConfig=TRACE)
        tab.do("Tracing.requestMemoryDump", deterministic=False, levelOfDetail="detailed")
        events = tab.traced()
    dumps = [
        event["args"]["dumps"]["allocators"]
        for event in events
        if event.get("ph") == "v" and "allocators" in event["args"].get("dumps", {})
    ]

    def size(dump: dict[str, Any], root: str) -> int:
        told = dump.get(root, {}).get("attrs", {}).get("size")
        return 0 if told is None else int(told["value"], 16)

    largest = max(dumps, key=lambda dump: size(dump, "v8/workers"))  # only the tab's renderer has a worker
    return found | {root.rsplit("partitions/", 1)[-1]: round(size(largest, root) / 2**20, 1) for root in ROOTS}


def main() -> None:
    """Print and write the figures."""
    given = command_line(__doc__, runtime=Path, out=Path, cells=1000).parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        build_site(place / "site", read_bundle("light"), given.runtime)
        paths = [place / f"{seed}.png" for seed in range(given.cells)]
        for seed, path in enumerate(paths):
            Image.fromarray(render_cell(seed % 50, "blast" if seed % 2 else "normal")).save(path)
        figures: dict[str, Any] = {"machine": describe_machine(), "cells": given.cells}
        with site_server(place / "site") as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            tab = Tab(place / "profile")
            url = f"http://127.0.0.1:{server.server_port}/"
            figures |= looked_at(tab, url, paths, lambda: accounts(tab))
            figures["nodes"] = tab.do("Memory.getDOMCounters")["nodes"]
            tab.close()
            server.shutdown()
    figures["load"] = load_of_machine()
    report(figures, given.out)


if __name__ == "__main__":
    main()
