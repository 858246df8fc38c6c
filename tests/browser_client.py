"""People at browsers of their own, for tests of the workbench's pages: Chromium of the system, driven by Playwright."""

from __future__ import annotations

import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

with suppress(ImportError):
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)  # a busy machine is no failure


class Wire:
    """A cable between browsers and a server, which can be cut: open connections break, new ones are refused.

    Attributes:
        port: where browsers connect.
        refused: how many connections were tried in vain since the last cut.
    """

    def __init__(self, server: int) -> None:
        self.server, self.refused, self.is_cut = server, 0, False
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()  # a connection that is just being made is cut, too
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """Break it."""
        with self._lock:
            self.refused, self.is_cut = 0, True
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self) -> None:
        """Make it whole."""
        self.is_cut = False

    def close(self) -> None:
        """Take it away."""
        self.cut()
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with self._lock:
                    try:
                        far = None if self.is_cut else socket.create_connection(("127.0.0.1", self.server))
                    except OSError:
                        far = None
                    if far is None:
                        self.refused += 1
                        near.close()
                        continue
                    self._open += [near, far]
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    @staticmethod
    def _carry(near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with near, far, suppress(OSError):
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    other[end].sendall(data)


def free_port() -> int:
    """A port that nobody has, below those that connections of other programs are given at any moment."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@contextmanager
def served(data: Path, *options: str) -> Iterator[tuple[int, list[str]]]:
    """A workbench in a process of its own: its port, and what it said until it answered."""
    port = free_port()
    command = [sys.executable, "-m", "leukoscope", "serve", "--data", str(data), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if re.search(r"#/first/|log in as", line):
                break
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port, said
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class Visitor:
    """A person at a browser.

    Attributes:
        page: what they look at.
        faults: errors of scripts, and hosts that were asked although they are not the workbench.
    """

    def __init__(self, browser: Any, home: str, password: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | context)
        self.context.set_default_timeout(120_000)  # a busy machine is no failure
        self.page = self.context.new_page()
        self.home, self.password = home, password
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._local)

    def _local(self, request: Any) -> None:
        if not request.url.startswith((self.home, "blob:", "data:")):
            self.faults.append(f"asks another host: {request.url}")

    def log_in(self, login: str) -> None:
        """By keys alone."""
        page = self.page
        page.goto(self.home)
        page.wait_for_selector("[name=login]:focus")
        page.keyboard.type(login)
        page.keyboard.press("Tab")
        page.keyboard.type(self.password)
        page.keyboard.press("Enter")
        page.wait_for_selector("h1")
        page.wait_for_selector("dialog", state="detached")

    def api(self, path: str) -> dict[str, Any]:
        """What the interface answers this person."""
        return self.page.evaluate(f"fetch('./api/v1{path}').then((answer) => answer.json())")  # type: ignore[no-any-return]

    def keys(self, text: str) -> None:
        """Press one key after the other."""
        for key in text:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        """Wait until nothing waits."""
        self.page.wait_for_selector("#outbox.saved", timeout=120_000)

    def new_case(self, order: str, subject: str, files: list[Path], **choices: str) -> str:
        """Make a case and send its pictures; its identifier, when all are answered."""
        page = self.page
        page.goto(f"{self.home}#/")
        page.click("text=New case")
        page.fill("[name=order_no]", order)
        page.fill("[name=subject]", subject)
        for name, value in choices.items():
            if value == "check":
                page.check(f"[name={name}]")
            elif name == "readers":
                page.select_option(f"[name={name}]", value)
            else:
                page.fill(f"[name={name}]", value)
        page.set_input_files("input[accept]", [str(path) for path in files])
        page.click("text=Make it and send")
        page.wait_for_selector(".review", timeout=300_000)
        case = page.url.rsplit("/", 1)[1]
        until = time.monotonic() + 300
        while self.api(f"/cases/{case}")["waiting"]:
            assert time.monotonic() < until, "no answers came"
            page.wait_for_timeout(200)
        return str(case)

    def open(self, case: str) -> None:
        """Look at a case, ready for keys."""
        self.page.goto(f"{self.home}#/")
        self.page.wait_for_selector("text=New case")
        self.page.goto(f"{self.home}#/case/{case}")
        self.page.wait_for_selector(".tile")
        self.page.wait_for_selector(".grid:focus")

    def read_screens(self, label: str) -> None:
        """Call all that is not read alike, a screen at a time."""
        while "left" in self.page.locator(".count span").first.inner_text():
            self.keys(f"ja{label}")
        self.saved()

    def finish(self) -> None:
        """Say that one has read to the end."""
        self.page.click("text=I have finished")
        self.page.wait_for_selector("text=I have finished", state="detached")

    def sign(self) -> None:
        """Sign what is complete."""
        self.page.click("button >> text=Sign")
        self.page.fill("dialog [name=password]", self.password)
        self.page.click("dialog >> button >> text=Sign")
        self.page.wait_for_selector(".state.signed")

    def tab_to(self, chosen: str, *, most: int = 60, back: bool = False) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(most):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            if self.page.evaluate("(chosen) => document.activeElement.matches(chosen)", chosen):
                return
        raise AssertionError(f"no key leads to {chosen}")
