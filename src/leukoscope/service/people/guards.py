"""What every request passes before anything else: its origin, its size, its rate; and the headers of every answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leukoscope.service.people.sessions import COOKIE, SECURE_COOKIE
from leukoscope.service.problems import MEDIA, problem_document
from leukoscope.service.settings import Limits

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_ADDED: Final = [
    (name.encode("ascii"), value.encode("ascii")) for name, value in {**HEADERS, "cache-control": "no-store"}.items()
]


class Guards:
    """Refuses what comes from other sites, is too large or too frequent.

    A browser says from where an unsafe request comes, by `Sec-Fetch-Site` or `Origin`; a program that says neither
    holds no cookie of somebody else's browser. Pictures are bounded where they are taken.
    """

    def __init__(self, app: ASGIApp, limits: Limits, prefix: str = "") -> None:
        self.app = app
        self._prefix = prefix
        self._limits = limits
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._prefix and scope["path"].startswith(f"{self._prefix}/"):  # of a proxy that leaves it on
            scope = {**scope, "path": scope["path"].removeprefix(self._prefix)}
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in _ADDED if each[0] not in named)]
            await send(message)

        refused = self._refusal(scope, headers)
        if refused is None and scope["method"] not in _SAFE and not _is_picture(scope):
            receive, refused = await self._body(headers, receive)
        if refused is not None:
            body = json.dumps(refused).encode()
            said = [(b"content-type", MEDIA.encode()), (b"content-length", str(len(body)).encode())]
            await answer({"type": "http.response.start", "status": refused["status"], "headers": said})
            await answer({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: Headers) -> dict[str, object] | None:
        if self._too_frequent(headers, scope):
            return problem_document(429, "too many requests", "wait a second")
        if scope["method"] in _SAFE:
            return None
        site = headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return problem_document(403, "the request comes from another site")
        origin = headers.get("origin")
        if site is None and origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return problem_document(
                403, "the request comes from another site", "let the proxy pass the Host header on as it is"
            )
        if scope["method"] in ("POST", "PATCH"):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                return problem_document(415, "only JSON is taken", "send Content-Type: application/json")
        return None

    async def _body(self, headers: Headers, receive: Receive) -> tuple[Receive, dict[str, object] | None]:
        """The body in memory, at most as large as JSON may be."""
        refused = problem_document(413, f"the request is larger than {self._limits.json_bytes:,} bytes")
        told = headers.get("content-length", "0")
        if not told.isdigit() or int(told) > self._limits.json_bytes:
            return receive, refused
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._limits.json_bytes:
                return receive, refused
        whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        return again, None

    def _too_frequent(self, headers: Headers, scope: Scope) -> bool:
        client = scope.get("client")
        cookie = headers.get("cookie", "")
        key = cookie if COOKIE in cookie or SECURE_COOKIE in cookie else f"address {client[0] if client else ''}"
        now, rate = time.monotonic(), self._limits.requests_per_second
        tokens, at = self._buckets.get(key, (3 * rate, now))
        tokens = min(3 * rate, tokens + (now - at) * rate)
        if len(self._buckets) > 10_000:
            self._buckets.clear()
        self._buckets[key] = (max(0.0, tokens - 1), now)
        return tokens < 1


def _is_picture(scope: Scope) -> bool:
    return bool(scope["method"] == "PUT" and "/pictures/" in scope["path"])
