"""The report of a case: as values, as a page, and as a PDF whose bytes are the same for the same content."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import select

from leukoscope.errors import LeukoscopeError
from leukoscope.page import render
from leukoscope.service import answers
from leukoscope.service.casework.blind import is_blind_to
from leukoscope.service.casework.cases import case_row
from leukoscope.service.casework.maps import small_of_slide
from leukoscope.service.casework.signing import freeze, signed_content
from leukoscope.service.casework.summary import read_case
from leukoscope.service.database.tables import UserRow
from leukoscope.service.labels import DEFAULT_LABELS
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench
from leukoscope.text import RESEARCH_USE


def case_report(bench: Workbench, person: Person, case_id: str, version: int | None = None) -> dict[str, Any]:
    """The report of a case.

    Args:
        bench: where it is.
        person: who wants it.
        case_id: of the case.
        version: as it was signed then; None: as it is signed, or else a draft of it as it stands.

    Raises:
        Problem: there is no such case or version; or it is a draft of a case that the person reads blind.
    """
    with bench.database.read() as connection:
        case = case_row(connection, case_id)
        blind = is_blind_to(connection, case, person)
    signed = signed_content(bench, case_id, version)
    if signed is None and version is not None:
        raise Problem(404, f"version {version} of this case was not signed")
    if case["state"] != "signed" and version is None:
        signed = None
    if blind and signed is None:
        raise Problem(403, "the case is read blind: the report would tell what the model says", remedy="read it first")
    with bench.database.read() as connection:
        file = read_case(connection, case_id)
        by = connection.scalar(select(UserRow.name).where(UserRow.id == case["created_by"]))
    content = freeze(bench, file) if signed is None else signed["content"]
    found = {"version": content["case"]["version"], "order_no": case["order_no"], "subject": case["subject"]}
    found |= {"made_by": by, "signature": None, "content": content, "notice": RESEARCH_USE}
    if signed is not None:
        found["signature"] = {name: signed[name] for name in signed if name != "content"}
    return found


def report_html(report: dict[str, Any]) -> str:
    """The report as one page without scripts."""
    return render("service/printed.html.j2", **report, lines=report_lines(report), words=_words(report))


def report_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the report says, as pairs of a heading and words."""
    content, signature = report["content"], report["signature"]
    after, before = content["after"], content["before"]
    words = _words(report)
    told = [
        ("Order", str(report["order_no"])), ("Subject", str(report["subject"])),
        ("Version", f"{report['version']}" + ("" if signature else " (draft, not signed)")),
        ("Read by", ", ".join(content["readers"]) or "nobody yet"),
        ("Protocol", _protocol(content["case"])),
    ]  # fmt: skip
    counts = ", ".join(f"{words[name]} {number}" for name, number in after["counts"].items())
    told.append(("After review", f"{counts or 'nothing was read'}; {after['white_cells']} white cells"))
    if after["share"] is not None:
        told.append(("Blasts after review", f"{_percent(after['share'])}; {after['share']['method']}"))
    machine = f"{before['blast']} blast, {before['normal']} normal, {before['refer']} referred"
    told.append(("Before review", f"{machine}, of these {before['turned_down']} without being judged"))
    if before.get("words"):
        told.append(("Statement of the model", before["words"]))
    both = content["agreement"]
    if both is not None:
        kappa = "not defined" if both["kappa"] is None else f"{both['kappa']:.2f}"
        told.append(("Two readers", f"{both['same']} of {both['cells']} cells called alike, kappa {kappa}"))
    open_checks = [f"{each['what']} ({each['open']})" for each in content["checks"] if not each["met"]]
    told.append(("Checks", "all met" if not open_checks else "open: " + "; ".join(open_checks)))
    told.extend(
        (f"Amended after version {each['from_version']}", f"{each['reason']} ({each['by']}, {each['at']})")
        for each in content["amendments"]
    )
    told.extend(("Model", f"{each['name']} {each['version']}, {each['digest']}") for each in content["bundles"])
    if signature is not None:
        name, meaning, at = signature["printed_name"], signature["meaning"], signature["at"]
        told.append(("Signed", f"{name}, {meaning}, {at}"))
        told.append(("Digest of the content", signature["content_sha256"]))
        told.append(("Head of the chain", f"{signature['head']} (event {signature['seq']})"))
    return told


def report_pdf(bench: Workbench, report: dict[str, Any]) -> bytes:
    """The report as PDF."""
    title = "Report of a case" + ("" if report["signature"] else ": draft, not signed")
    foot = f"Case {report['content']['case']['id']}, version {report['version']}"
    words = _words(report)
    cells = [_captioned(bench, each, words) for each in report["content"]["strongest"]]
    return bench.decoder.call(answers.document, title, report_lines(report), cells, foot)


def _captioned(bench: Workbench, cell: dict[str, Any], words: dict[str, str]) -> tuple[str | None, str, str]:
    """A cell as the PDF shows it: its picture, None where the subject was erased; what it was called; the model."""
    path = bench.drawn(cell["run"], f"{cell['number']}-small.jpg")
    if not path.is_file():
        with suppress(LeukoscopeError):  # a slide that was moved, or a subject that was erased
            path = small_of_slide(bench, cell["run"], cell["number"])
    label = "not read" if cell["label"] is None else words[cell["label"]]
    return (str(path) if path.is_file() else None), label, f"model {cell['probability']:.3f}"


def _words(report: dict[str, Any]) -> dict[str, str]:
    """What labels were called when this was signed; cases that were signed earlier have none but the first lanes."""
    signed: dict[str, str] = report["content"].get("labels", {})
    return {each.name: each.words for each in DEFAULT_LABELS} | signed


def _protocol(case: dict[str, Any]) -> str:
    readers = "one reader" if case["readers"] == 1 else "two readers apart"
    return f"{readers}, {'without' if case['blind'] else 'with'} the model's suggestions in sight"


def _percent(share: dict[str, Any]) -> str:
    ends = f"95 % interval {100 * share['low']:.1f} to {100 * share['high']:.1f} %"
    return f"{100 * share['value']:.1f} % of {share['cells']} white cells ({ends})"
