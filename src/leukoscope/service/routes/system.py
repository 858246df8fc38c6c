"""Whether the server lives, whether it can work, and what it did."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from sqlalchemy import func, select

from leukoscope._version import __version__
from leukoscope.service.casework.bundles import active_bundle, list_bundles
from leukoscope.service.casework.jobs import job_json
from leukoscope.service.database.tables import CellRow, EventRow, JobRow, ReadingRow
from leukoscope.service.problems import Problem
from leukoscope.service.routes.needs import Admin, Bench, Identifier, Somebody, TheWorker, Viewer
from leukoscope.text import RESEARCH_USE

router = APIRouter(tags=["system"])


@router.get("/health")
def health() -> dict[str, str]:
    """Alive; the one answer that a stranger gets."""
    return {"state": "alive", "notice": RESEARCH_USE}


@router.get("/ready")
def ready(bench: Bench, worker: TheWorker, person: Somebody) -> dict[str, Any]:
    """Whether database, bundle and worker are there."""
    if worker.fault is not None or not worker.is_alive():
        raise Problem(
            503, f"the worker stands still ({worker.fault})", remedy="look at disk and database, then restart"
        )
    bundle = active_bundle(bench)
    return {"state": "ready", "version": __version__, "bundle": bundle["name"], "digest": bundle["digest"]}


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(bench: Bench, person: Admin) -> str:
    """Counts as Prometheus reads them."""
    with bench.database.read() as connection:
        counts = {
            f"leukoscope_{table.__tablename__.strip('_')}s": connection.scalar(select(func.count()).select_from(table))
            for table in (CellRow, ReadingRow, EventRow)
        }
        states = connection.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
        lines = [f'leukoscope_jobs{{state="{state}"}} {number}' for state, number in states]
    return "\n".join([*(f"{name} {number}" for name, number in counts.items()), *lines, ""])


@router.get("/jobs/{job_id}")
def job(job_id: Identifier, bench: Bench, person: Viewer) -> dict[str, Any]:
    """What became of a piece of work."""
    found = job_json(bench.database, job_id)
    if found is None:
        raise Problem(404, "there is no such work")
    return found | {"progress": bench.progress.get(job_id)}


@router.get("/bundles")
def bundles(bench: Bench, person: Viewer) -> dict[str, Any]:
    """The bundles that are known here."""
    active_bundle(bench)
    return {"bundles": list_bundles(bench)}
