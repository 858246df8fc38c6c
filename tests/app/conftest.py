"""A built app, served, in Chromium."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app_page import ARGUMENTS, CHROMIUM
from leukoscope.app.runtime import runtime_files
from leukoscope.app.serve import site_server
from leukoscope.app.site import POLICY, build_site
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import LeukoscopeError


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime's folder: LEUKOSCOPE_ORT_WEB, or what npm fetches."""
    given = os.environ.get("LEUKOSCOPE_ORT_WEB")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("runtime")
    try:
        found = runtime_files()
    except LeukoscopeError as error:
        pytest.skip(f"no runtime for the app: {error}")
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def site(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "site"
    build_site(folder, read_bundle("light"), runtime)
    return folder


@contextmanager
def served(folder: Path, policy: str = POLICY) -> Iterator[str]:
    with site_server(folder, policy=policy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")  # two at once in one process are not allowed
def browser() -> Iterator[Any]:
    if not CHROMIUM.is_file():
        pytest.skip(f"no Chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield running
        running.close()


Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opener]:
    """Serve a folder and open its page; `page.asked` lists the addresses that were asked for."""
    with ExitStack() as stack:

        def start(
            folder: Path, *, policy: str = POLICY, state: str | None = "ready", script: str = "", of: Any = None,
            **settings: Any,
        ) -> Any:  # fmt: skip
            url = stack.enter_context(served(folder, policy))
            context = (of or browser).new_context(**settings)
            context.set_default_timeout(120_000)  # a busy machine is no failure
            if script:
                context.add_init_script(script)
            stack.callback(context.close)
            page = context.new_page()
            page.asked, page.home = [], url
            context.on("request", lambda request: page.asked.append(request.url))
            page.goto(url)
            if state is not None:
                page.wait_for_selector(f"html[data-state={state}]", state="attached")
            return page

        yield start


@pytest.fixture
def altered(site: Path, tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A copy of the site in which one text of one file is another."""

    def alter(name: str, old: str, new: str) -> Path:
        folder = tmp_path / "altered"
        shutil.copytree(site, folder)
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
        return folder

    return alter


@pytest.fixture
def cells(tmp_path: Path) -> list[Path]:
    """Three rendered cells."""
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"cell-{seed}.png")
        Image.fromarray(render_cell(seed, "blast" if seed % 2 else "normal")).save(paths[-1])
    return paths
