"""A page of the app in Chromium: pictures given to it, and what it exports."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from leukoscope.app.site import PAGES

with suppress(ImportError):
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)  # a busy machine is no failure

CHROMIUM = Path("/usr/bin/chromium")
#: No name but this machine's is found: what asks for another host fails at once, and is seen.
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def answers(page: Any, paths: list[Path]) -> list[dict[str, Any]]:
    """What the app exports after these pictures were given to it."""
    before = page.locator(".tile").count()
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_function("(count) => document.querySelectorAll('.tile').length === count", arg=before + len(paths),
                           timeout=240_000)  # fmt: skip
    return exported(page)["cells"][before:]


def exported(page: Any) -> dict[str, Any]:
    with page.expect_download() as waiting:
        page.click("#export")
    content: dict[str, Any] = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    return content


def sees(page: Any, place: str, words: str, timeout: float = 60_000) -> str:
    """Wait until a place shows words: all that it shows then. What follows a key or a click comes in its own time."""
    page.wait_for_function(
        """([place, words]) => {
          const node = document.querySelector(place);
          return Boolean(node?.checkVisibility() && node.innerText.includes(words));
        }""",
        arg=[place, words], timeout=timeout,
    )  # fmt: skip
    return str(page.inner_text(place))


def table_of(module: str, *names: str) -> dict[str, Any]:
    """Tables that a module of the page exports, as Node reads them."""
    script = (
        f"const {{ {', '.join(names)} }} = await import('file://{PAGES / module}');"
        f"console.log(JSON.stringify({{ {', '.join(names)} }}))"
    )
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_spanish(told: str) -> str:
    """The Spanish words of a fault, found by its English ones."""
    faults = table_of("faults.mjs", "FAULTS")["FAULTS"]
    for key, text in faults["en"].items():
        found = re.fullmatch(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(text)), told)
        if found:
            return str(faults["es"][key]).format(**found.groupdict())
    raise AssertionError(f"no fault has these words: {told}")
