"""A client of the workbench for tests: people with roles, pictures, keys."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing, suppress
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from PIL import Image
from starlette.testclient import TestClient

from bundle_factory import disc
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

PASSWORD = "correct horse battery"


class Guest(TestClient):
    """A browser without a log-in; `as_` gives another one, logged in as a person with these roles."""

    bench: Workbench

    def as_(self, *roles: str, login: str | None = None) -> Guest:
        name = login or "-".join(roles)
        other = Guest(self.app, base_url="http://127.0.0.1")
        other.bench = self.bench
        with suppress(Problem):  # made before
            self.bench.accounts.make("tests", name, name.title(), PASSWORD, roles)
        answer = other.post("/api/v1/session", json={"login": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return other


def picture(colour: tuple[int, int, int]) -> bytes:
    """A cell on black as PNG."""
    file = BytesIO()
    Image.fromarray(disc(colour)).save(file, "PNG")
    return file.getvalue()


def put(client: TestClient, case: str, data: bytes, name: str = "cell.png", kind: str = "image/png") -> Any:
    digest = sha256(data).hexdigest()
    return client.put(
        f"/api/v1/cases/{case}/pictures/{digest}?name={name}", content=data, headers={"content-type": kind}
    )


def answered(client: TestClient, case: str) -> None:
    """Wait until all pictures of a case have their answers."""
    until = time.monotonic() + 60
    while client.get(f"/api/v1/cases/{case}").json()["waiting"]:
        assert time.monotonic() < until, "no answers came"
        time.sleep(0.05)


def key(client: TestClient, case: str, cell: str, label: str, event: str | None = None) -> Any:
    one = {"event": event or str(uuid.uuid4()), "cell": cell, "label": label}
    return client.post(f"/api/v1/cases/{case}/readings", json={"readings": [one]})


def cells_of(client: TestClient, case: str, **query: object) -> list[dict[str, Any]]:
    return client.get(f"/api/v1/cases/{case}/cells", params=query).json()["cells"]


def read_all(client: TestClient, case: str, label: str = "normal") -> None:
    for cell in cells_of(client, case):
        assert key(client, case, cell["id"], label).status_code == 200
    answer = client.post(f"/api/v1/cases/{case}/complete", json={})
    assert answer.status_code == 200, answer.text


def sign(client: TestClient, case: str, meaning: str = "review") -> Any:
    return client.post(f"/api/v1/cases/{case}/signatures", json={"password": PASSWORD, "meaning": meaning})


def work(client: TestClient, answer: Any) -> dict[str, Any]:
    """The result of a piece of work that was begun."""
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + 120
    while (found := client.get(f"/api/v1/jobs/{answer.json()['job']}").json())["state"] in ("waiting", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert found["state"] == "done", found["error"]
    return found | found["result"]


class Served:
    """A real server in a process of its own, which may be killed."""

    def __init__(self, data: Path, bundle: Path, *options: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            sys.executable, "-m", "leukoscope", "serve", "--data", str(data), "--bundle", str(bundle), "--port",
            str(self.port), *options,
        ]  # fmt: skip
        self.cookie = ""
        self._lines = threading.local()
        self._open: list[HTTPConnection] = []
        self.start()

    def start(self, command: list[str] | None = None, errors: int | IO[str] = subprocess.DEVNULL) -> float:
        """Start it, by its own command or another; seconds until it answers."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            command or self.command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        while time.monotonic() < began + 120:
            try:
                self.ask("GET", "/health")
            except OSError:
                time.sleep(0.02)
            else:
                return time.monotonic() - began
        self.kill()
        raise AssertionError("the server does not start")

    def ask(
        self, method: str, path: str, body: bytes | dict | None = None, more: dict[str, str] | None = None
    ) -> tuple[int, dict]:
        """One request; each thread keeps its connection, as a browser does."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        kind = "application/json" if isinstance(body, dict) else "image/png"
        headers = {"content-type": kind, "cookie": self.cookie, **(more or {})}
        for again in (True, False):
            known = getattr(self._lines, "line", None)
            if not again or known is None or known[0] is not self.process:
                if known is not None:
                    known[1].close()
                known = self._lines.line = (self.process, HTTPConnection("127.0.0.1", self.port, timeout=30))
                self._open.append(known[1])
            line = known[1]
            fresh = line.sock is None
            try:
                line.request(method, f"/api/v1{path}", data, headers)
                answer = line.getresponse()
                told = answer.read()
            except (HTTPException, OSError) as error:
                line.close()
                if fresh or isinstance(error, TimeoutError):
                    raise ConnectionError(str(error)) from error
                continue  # the server had closed a line that it held for long
            if answer.getheader("set-cookie"):
                self.cookie = str(answer.getheader("set-cookie")).partition(";")[0]
            return answer.status, json.loads(told or b"{}")
        raise AssertionError("unreachable")

    def first_token(self) -> str:
        """The token of the link that is printed at the first start."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if "#/first/" in line).rsplit("/", 1)[1].strip()

    def kill(self, *, alone: bool = False) -> None:
        """End it without a warning, with the processes that it started, or alone: they are to end by themselves."""
        (os.kill if alone else os.killpg)(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.ended()

    def ended(self) -> None:
        """Close what was open to it."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        for line in self._open:
            line.close()
        self._open.clear()
