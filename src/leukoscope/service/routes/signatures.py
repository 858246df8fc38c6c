"""Signatures, amendments and reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from leukoscope.service.casework.signing import amend, sign
from leukoscope.service.printed import case_report, report_html, report_pdf
from leukoscope.service.routes.needs import Bench, Body, Identifier, Password, Signer, Viewer, Words

router = APIRouter(tags=["signatures"])


class Signature(Body):
    """The password again, and what the signature means."""

    password: Password
    meaning: Literal["review", "approval", "responsibility"]


class Amendment(Body):
    """Why a signed case is opened again."""

    reason: Words


@router.post("/cases/{case_id}/signatures", status_code=201)
def sign_case(case_id: Identifier, given: Signature, request: Request, bench: Bench, person: Signer) -> dict[str, Any]:
    """Sign a case."""
    address = request.client.host if request.client else ""
    bench.accounts.check_password(person.login, given.password, address)
    return sign(bench, person, case_id, given.meaning)


@router.post("/cases/{case_id}/amendments", status_code=201)
def amend_case(case_id: Identifier, given: Amendment, bench: Bench, person: Signer) -> dict[str, Any]:
    """Open a signed case again as its next version."""
    return amend(bench, person, case_id, given.reason)


@router.get("/cases/{case_id}/report.json")
def as_json(
    case_id: Identifier, bench: Bench, person: Viewer, version: Annotated[int | None, Query(ge=1, le=1_000_000)] = None
) -> dict[str, Any]:
    """The report of a signed version; without one, of the case as it stands."""
    return case_report(bench, person, case_id, version)


@router.get("/cases/{case_id}/report.html")
def as_html(
    case_id: Identifier, bench: Bench, person: Viewer, version: Annotated[int | None, Query(ge=1, le=1_000_000)] = None
) -> Response:
    """The report as a page."""
    return Response(report_html(case_report(bench, person, case_id, version)), media_type="text/html")


@router.get("/cases/{case_id}/report.pdf")
def as_pdf(
    case_id: Identifier, bench: Bench, person: Viewer, version: Annotated[int | None, Query(ge=1, le=1_000_000)] = None
) -> Response:
    """The report as PDF: the same bytes for the same content."""
    report = case_report(bench, person, case_id, version)
    name = f"case-{case_id[:8]}-v{report['version']}.pdf"
    found = {"content-disposition": f'inline; filename="{name}"'}
    return Response(report_pdf(bench, report), media_type="application/pdf", headers=found)
