"""A page of the app in Chromium: pictures given to it, and what it exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
