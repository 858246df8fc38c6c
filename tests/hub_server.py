"""A model hub on loopback: the part of the hub's HTTP interface that giving and taking a repository goes through.

Written after the public description of the interface; commits are whole, files are told by their SHA-1 or, where they
are large (`*.onnx`), by their SHA-256 and kept apart, as Git LFS has it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "of-nobody"


@dataclass
class Hub:
    """What lies on the hub: by repository its commits, oldest first, each the files by path; and large files."""

    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    break_off: int | None = None  # bytes of a file after which connections are cut
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        number = hashlib.sha1(json.dumps([len(self.commits[repo]), sorted(files)]).encode()).hexdigest()
        self.commits[repo].append((number, files))
        return number

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit by its number, or the last by the branch's name."""
        if revision == "main":
            return self.commits[repo][-1]
        return next((each for each in self.commits[repo] if each[0] == revision), None)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, code: int, value: Any = None, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        for name, text in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.break_off is not None and "/resolve/" in self.path and len(body) > self.hub.break_off:
            self.wfile.write(body[: self.hub.break_off])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        self.wfile.write(body)

    def _missing(self, what: str) -> None:
        self._answer(404, {"error": what}, X_Error_Code=what, X_Error_Message=what)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _path(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        self.hub.asked.append(f"{self.command} {parts.path}")
        return unquote(parts.path).lstrip("/"), parse_qs(parts.query)

    def do_GET(self) -> None:
        path, _ = self._path()
        words = path.split("/")
        if words[:2] == ["api", "models"]:
            repo, rest = "/".join(words[2:4]), words[4:]
            if repo not in self.hub.commits:
                return self._missing("RepoNotFound")
            found = self.hub.at(repo, rest[1] if len(rest) > 1 else "main")
            if found is None:
                return self._missing("RevisionNotFound")
            number, files = found
            if rest[:1] == ["tree"]:
                return self._answer(200, [self._entry(name, content) for name, content in sorted(files.items())])
            listed = [{"rfilename": name} for name in sorted(files)]
            told = {"_id": "1", "id": repo, "modelId": repo, "sha": number, "siblings": listed, "private": False}
            return self._answer(200, {**told, "tags": [], "downloads": 0, "likes": 0, "gated": False})
        if words[2:3] == ["resolve"]:
            found = self.hub.at("/".join(words[:2]), words[3])
            name = "/".join(words[4:])
            if found is None or name not in found[1]:
                return self._missing("EntryNotFound")
            content = found[1][name]
            entry = self._entry(name, content)
            headers = {"ETag": f'"{entry["oid"]}"', "X_Repo_Commit": found[0]}
            if "lfs" in entry:
                headers |= {"X_Linked_Etag": f'"{entry["lfs"]["oid"]}"', "X_Linked_Size": str(len(content))}
            return self._answer(200, content, **headers)
        return self._missing("EntryNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    @staticmethod
    def _entry(name: str, content: bytes) -> dict[str, Any]:
        git = hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git}
        if name.endswith(".onnx"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return entry

    def do_POST(self) -> None:
        path, _ = self._path()
        body = self._body()
        if path == "api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        words = path.split("/")
        if path == "api/repos/create":
            asked = json.loads(body)
            repo = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            made = repo not in self.hub.commits
            if made:
                self.hub.commits[repo] = []
                self.hub.commit(repo, {".gitattributes": b"*.onnx filter=lfs\n"})
            value = {"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo}
            return self._answer(200 if made else 409, value)
        if path.endswith(".git/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.hub.url}/large/{each['oid']}"}}} for each in wanted
            ]
            return self._answer(200, {"transfer": "basic", "objects": objects})
        repo, rest = "/".join(words[2:4]), words[4:]
        if rest[0] == "preupload":
            told = [
                {"path": each["path"], "uploadMode": "lfs" if each["path"].endswith(".onnx") else "regular",
                 "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]  # fmt: skip
            return self._answer(200, {"files": told})
        if rest[0] == "commit":
            files = dict(self.hub.commits[repo][-1][1])
            for line in body.splitlines():
                step = json.loads(line)
                value = step["value"]
                if step["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif step["key"] == "lfsFile":
                    files[value["path"]] = self.hub.large[value["oid"]]
                elif step["key"] == "deletedFile":
                    del files[value["path"]]
            number = self.hub.commit(repo, files)
            told = {"commitUrl": f"{self.hub.url}/{repo}/commit/{number}", "commitOid": number, "hookOutput": ""}
            return self._answer(200, {**told, "success": True})
        return self._missing("EntryNotFound")

    def do_PUT(self) -> None:
        path, _ = self._path()
        content = self._body()
        oid = path.removeprefix("large/")
        if hashlib.sha256(content).hexdigest() != oid:
            return self._answer(400, {"error": "not what was announced"})
        self.hub.large[oid] = content
        return self._answer(200, b"")


@contextmanager
def hub_on_loopback() -> Iterator[Hub]:
    """A hub without repositories, served from a thread of its own."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
