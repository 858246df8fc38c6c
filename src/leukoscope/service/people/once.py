"""A request that says `Idempotency-Key` is done once: sent again, it gets the answer that it got.

What has an identifier of its own needs none: pictures, cases, readings and their undoing. For the others the answer is
kept for a day. A server that is killed between the act and the keeping of its answer does not know the key: the act is
tried again, and is then refused for what it is, as a case that is signed already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leukoscope.errors import LeukoscopeError
from leukoscope.service.database.tables import RequestRow
from leukoscope.service.moments import utc_after, utc_now
from leukoscope.service.people.sessions import token_of
from leukoscope.service.problems import MEDIA, problem_document

if TYPE_CHECKING:
    from leukoscope.service.workbench import Workbench

_SECONDS: Final = 86_400
_LONGEST: Final = 200
Kept = tuple[str, int, str]


class Once:
    """Answers a request again that was answered under its key.

    Args:
        app: what answers the first time.
        bench: where answers are kept.
    """

    def __init__(self, app: ASGIApp, bench: Workbench) -> None:
        self.app = app
        self._bench = bench
        self._running: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it as before."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PATCH"):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        told, token = request.headers.get("idempotency-key"), token_of(request)
        person = None if told is None or token is None else await run_in_threadpool(self._bench.sessions.person, token)
        if told is None or person is None:
            await self.app(scope, receive, send)
            return
        if not 8 <= len(told) <= _LONGEST:
            await _refuse(send, 422, f"an Idempotency-Key has 8 to {_LONGEST} characters")
            return
        body = await request.body()
        key = self._bench.chain.fingerprint(person.id, told)
        what = self._bench.chain.fingerprint(scope["method"], scope["path"], body.decode("utf-8", "replace"))
        if key in self._running:
            await _refuse(send, 409, "the request of this Idempotency-Key is being answered", "wait and send it again")
            return
        self._running.add(key)  # before looking: what ends between a look and this would be done twice
        try:
            kept = await run_in_threadpool(self._kept, key)
            if kept is None:
                await self._answered(scope, body, send, lambda status, text: self._keep((key, what), status, text))
            elif kept[0] != what:
                await _refuse(send, 422, "this Idempotency-Key was used for another request", "make a new one")
            else:
                await _answer(send, kept[1], kept[2].encode(), [(b"idempotency-replayed", b"true")])
        finally:
            self._running.discard(key)

    async def _answered(self, scope: Scope, body: bytes, send: Send, keep: Callable[[int, str], None]) -> None:
        status, parts = 500, []

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def listen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body", False) and status < 400:  # a refusal may be another one tomorrow
                    with suppress(LeukoscopeError):  # it was done: it is answered even where that cannot be kept
                        await run_in_threadpool(keep, status, b"".join(parts).decode("utf-8"))
            await send(message)

        await self.app(scope, again, listen)

    def _kept(self, key: str) -> Kept | None:
        query = select(RequestRow.what, RequestRow.status, RequestRow.answer)
        with self._bench.database.read() as connection:
            row = connection.execute(query.where(RequestRow.key == key, RequestRow.at > utc_after(-_SECONDS))).first()
        return None if row is None else (row.what, row.status, row.answer)

    def _keep(self, names: tuple[str, str], status: int, answer: str) -> None:
        key, what = names
        with self._bench.database.write() as connection:
            old = (RequestRow.at <= utc_after(-_SECONDS)) | (RequestRow.key == key)
            connection.execute(delete(RequestRow).where(old))
            row = {"key": key, "what": what, "status": status, "answer": answer, "at": utc_now()}
            connection.execute(insert(RequestRow), row)


async def _refuse(send: Send, status: int, detail: str, remedy: str | None = None) -> None:
    await _answer(send, status, json.dumps(problem_document(status, detail, remedy)).encode(), [], MEDIA)


async def _answer(
    send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]], media: str = "application/json"
) -> None:
    headers = [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
