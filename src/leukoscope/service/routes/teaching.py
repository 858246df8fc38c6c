"""The loop: readings handed on, bundles adapted, tried and activated, readers compared."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from leukoscope.service.casework.bundles import get_bundle
from leukoscope.service.casework.handout import export_file
from leukoscope.service.casework.jobs import add_job
from leukoscope.service.casework.readers import agreement_of_readers
from leukoscope.service.casework.trials import activate
from leukoscope.service.routes.needs import Bench, Body, Identifier, Manager, Password

router = APIRouter(tags=["teaching"])


class Export(Body):
    """``held_out``: leave out every subject of the fixed set."""

    held_out: bool = False


class Adaptation(Body):
    """``force``: write the bundle even if nothing was clearly gained."""

    force: bool = False


class Trial(Body):
    """Nothing is to be said."""


class Activation(Body):
    """The password again: it is a signature."""

    password: Password


@router.post("/exports", status_code=202)
def export(given: Export, request: Request, bench: Bench, person: Manager) -> dict[str, Any]:
    """Hand out the signed cases; the work is followed under `/jobs`."""
    return _begun(request, add_job(bench.database, "export", "signed cases", person.id, given.model_dump()))


@router.get("/exports/{export_id}/{name}", response_class=FileResponse)
def exported(
    export_id: Identifier, name: Literal["manifest.csv", "readings.csv", "coco.json", "review.json", "about.json"],
    bench: Bench, person: Manager,
) -> FileResponse:  # fmt: skip
    """One table of an export; the pictures lie beside it in the folder of the workbench."""
    return FileResponse(export_file(bench, export_id, name), filename=name)


@router.post("/adaptations", status_code=202)
def adapt_bundle(given: Adaptation, request: Request, bench: Bench, person: Manager) -> dict[str, Any]:
    """Fit the active bundle to the signed cases outside of the fixed set."""
    return _begun(request, add_job(bench.database, "adapt", "the active bundle", person.id, given.model_dump()))


@router.post("/bundles/{bundle_id}/trial", status_code=202)
def trial(bundle_id: Identifier, given: Trial, request: Request, bench: Bench, person: Manager) -> dict[str, Any]:
    """Ask a bundle of all signed cases."""
    get_bundle(bench, bundle_id)
    return _begun(request, add_job(bench.database, "trial", bundle_id, person.id, {}))


@router.post("/bundles/{bundle_id}/activate")
def activate_bundle(
    bundle_id: Identifier, given: Activation, request: Request, bench: Bench, person: Manager
) -> dict[str, Any]:
    """Let a bundle answer from now on."""
    bench.accounts.check_password(person.login, given.password, request.client.host if request.client else "")
    return activate(bench, person, bundle_id)


@router.get("/agreement")
def agreement(bench: Bench, person: Manager) -> dict[str, Any]:
    """How readers agree, with each other and with the model."""
    return agreement_of_readers(bench)


def _begun(request: Request, job: str) -> dict[str, Any]:
    request.app.state.slow.wake()
    return {"job": job}
