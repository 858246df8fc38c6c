"""The server: routes under `/api/v1`, pages at `/`, one worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

import leukoscope.web
from leukoscope._version import __version__
from leukoscope.errors import LeukoscopeError
from leukoscope.service.casework.handout import run_export
from leukoscope.service.casework.jobs import free_claims
from leukoscope.service.casework.slides import take_slide
from leukoscope.service.casework.trials import run_adaptation, run_trial
from leukoscope.service.people.guards import Guards
from leukoscope.service.people.once import Once
from leukoscope.service.problems import MEDIA, REFUSALS, Problem, ProblemDocument, problem_document
from leukoscope.service.questions import Questions
from leukoscope.service.routes import cases, cells, events, session, signatures, system, teaching, users
from leukoscope.service.routes.needs import somebody
from leukoscope.service.watch import Watch
from leukoscope.service.workbench import Workbench
from leukoscope.service.worker import Errands
from leukoscope.text import RESEARCH_USE
from leukoscope.web.packed import packed_beside

PAGES = Path(leukoscope.web.__file__).parent
_log = logging.getLogger("leukoscope.service")


def make_app(bench: Workbench) -> FastAPI:
    """The application of a workbench; its worker lives as long as it is served."""
    worker = Questions(bench)
    slow = Errands(bench, {"export": run_export, "adapt": run_adaptation, "trial": run_trial, "slide": take_slide})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        free_claims(bench.database)
        bench.decoder.start()
        worker.start()
        slow.start()
        watch = None if bench.settings.watch is None else Watch(bench, bench.settings.watch, worker.wake)
        if watch is not None:
            watch.start()
        yield
        if watch is not None:
            watch.end()
        worker.end()
        slow.end()

    app = FastAPI(
        title="Leukoscope workbench", version=__version__, description=RESEARCH_USE, lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.bench, app.state.worker, app.state.slow = bench, worker, slow
    for module in (system, session, users, cases, cells, signatures, events, teaching):
        app.include_router(module.router, prefix="/api/v1", responses=REFUSALS)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(request: Request) -> dict[str, Any]:
        somebody(request)
        told = app.openapi()
        told["components"]["schemas"]["ProblemDocument"] = ProblemDocument.model_json_schema()
        return told

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(PAGES / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/web", StaticFiles(directory=PAGES), name="web")
    if bench.settings.pocket is not None:
        app.mount("/app", Pocket(bench.settings.pocket), name="app")
    app.add_middleware(Once, bench=bench)
    app.add_middleware(Guards, limits=bench.settings.limits, prefix=bench.settings.root_path)
    app.add_exception_handler(LeukoscopeError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    return app


class Pocket(StaticFiles):
    """The app in the pocket, with the policy that its build wrote down: it compiles WebAssembly and may use the camera.

    Args:
        folder: that `leukoscope app build` wrote.

    Raises:
        LeukoscopeError: it holds no app.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)
        try:
            lines = (folder / "_headers").read_text(encoding="utf-8").splitlines()
            (self._policy,) = (line.partition(":")[2].strip() for line in lines if "Content-Security-Policy:" in line)
        except (OSError, ValueError):
            raise LeukoscopeError(
                "holds no app", path=folder, remedy="build one: leukoscope app build --out DIR"
            ) from None

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        """A file, in the smallest form that the browser takes."""
        form = packed_beside(Path(full_path), Headers(scope=scope).get("accept-encoding", ""))
        path, result = (full_path, stat_result) if form is None else (form[0], form[0].stat())
        response = super().file_response(path, result, scope, status_code)
        if form is not None:
            response.headers["content-encoding"] = form[1]
            response.headers["content-type"] = guess_type(full_path)[0] or "application/octet-stream"
        response.headers["vary"] = "accept-encoding"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file of the app."""
        response = await super().get_response(path, scope)
        response.headers["content-security-policy"] = f"{self._policy}; frame-ancestors 'none'"
        response.headers["permissions-policy"] = "camera=(self), microphone=(), geolocation=()"
        response.headers["cache-control"] = "no-cache"
        return response


def _answer(document: dict[str, Any]) -> Response:
    return JSONResponse(document, status_code=document["status"], media_type=MEDIA)


def _known(_: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return _answer(error.document())
    assert isinstance(error, LeukoscopeError)
    return _answer(problem_document(503, error.what, error.remedy))


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _answer(problem_document(422, f"{where}: {first['msg']}", "see /openapi.json"))


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(problem_document(error.status_code, str(error.detail)))


def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("unexpected in %s %s", request.method, request.url.path, exc_info=error)
    return _answer(problem_document(500, f"unexpected {type(error).__name__}", "look into the log of the server"))
