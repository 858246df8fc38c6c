"""The loop closes: a bundle is adapted to what was signed, tried on all signed cases, and activated by a signature."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update

from leukoscope.bundle.patients import share_of
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import LeukoscopeError
from leukoscope.service import answers
from leukoscope.service.casework.bundles import active_bundle, get_bundle, know_bundle
from leukoscope.service.casework.handout import export_readings
from leukoscope.service.casework.jobs import Job
from leukoscope.service.casework.slides import ask_again
from leukoscope.service.casework.summary import CaseFile, before_review, read_case
from leukoscope.service.database.chain import canonical
from leukoscope.service.database.tables import BundleRow, CaseRow, JobRow
from leukoscope.service.database.triggers import ERASED
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

ADAPT_SECONDS = 3600
AT_ONCE = 16


def run_adaptation(bench: Workbench, job: Job) -> dict[str, Any]:
    """Fit the active bundle to the signed cases outside of the fixed set: work of the kind `adapt`.

    Returns:
        The new bundle, None where nothing was clearly gained and it was not asked for all the same; and `fit`, what
        was measured on cells left out of the fit: before, after, gain, and the curve over the number of labels.
    """
    parent = active_bundle(bench)
    folder = bench.settings.exports / job.id
    about = export_readings(bench, folder, job.by, held_out=True, job=job.id)
    bench.say(job.id, f"the model is fitted to {about['cells']} cells of {about['cases']} cases")
    out = bench.settings.bundles / job.id
    command = [
        sys.executable, "-m", "leukoscope", "adapt", parent["path"], "--data", str(folder / "manifest.csv"), "--out",
        str(out), "--threads", "1", "--force",
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603  (our own program)
        command, check=False, capture_output=True, text=True, timeout=ADAPT_SECONDS
    )
    if done.returncode:
        raise LeukoscopeError((done.stderr.strip().splitlines() or ["adapting failed"])[-1])
    said = [line for line in done.stdout.strip().splitlines() if not line.startswith("bundle: ")]
    fit = read_bundle(out).facts.parent
    assert fit is not None  # what `adapt` writes names its parent
    found = {"said": said, "cells": about["cells"], "fit": fit.model_dump(mode="json", exclude={"files", "units"})}
    found["fit"]["left_out"] = len(fit.units)
    if fit.forced and not job.body.get("force"):  # nothing was clearly gained: shown, not kept
        shutil.rmtree(out)
        return {"bundle": None, **found}
    made = know_bundle(bench, out, job.by, parent=parent["id"], note=canonical(found))
    return {"bundle": made["id"], **found}


@dataclass
class _Count:
    """Cells by what readers called them and whether a bundle calls them blast, with the subject of each."""

    called: dict[str, list[bool]] = field(default_factory=lambda: {"blast": [], "normal": []})
    subject: dict[str, list[str]] = field(default_factory=lambda: {"blast": [], "normal": []})

    def add(self, is_blast: bool, called: bool, subject: str) -> None:
        kind = "blast" if is_blast else "normal"
        self.called[kind].append(called)
        self.subject[kind].append(subject)

    def to_json(self) -> dict[str, Any]:
        """Shares with their intervals, clustered by subject."""
        return {
            name: _share(self.called[kind], self.subject[kind])
            for name, kind in (("sensitivity", "blast"), ("false_alarms", "normal"))
        }


def run_trial(bench: Workbench, job: Job) -> dict[str, Any]:
    """Ask a bundle of all signed cases: work of the kind `trial`.

    Returns:
        Cases of which the statement would change, and the share of blasts and of other white cells, as readers called
        them, that the old and the new bundle call blast: over all cases and over the fixed set.
    """
    bundle = get_bundle(bench, job.subject)
    with bench.database.read() as connection:
        wanted = select(CaseRow.id).where(CaseRow.state == "signed", CaseRow.subject != ERASED).order_by(CaseRow.id)
        files = [read_case(connection, case) for case in connection.scalars(wanted)]
    counts = {(part, which): _Count() for part in ("all", "fixed_set") for which in ("before", "after")}
    changed = []
    for number, file in enumerate(files):
        bench.say(job.id, "signed cases are asked again", number, len(files))
        new = _probed(bench, bundle["path"], file)
        before = before_review(bench, file)
        after = _stated(bench, bundle["path"], file, new)
        if (before.get("statement"), before.get("reason")) != (after["statement"], after["reason"]):
            changed.append(
                {
                    "case": file.case["id"], "before": before.get("statement"), "after": after["statement"],
                    "words_before": before.get("words"), "words_after": after["words"],
                }
            )  # fmt: skip
        for cell in file.cells:
            label = file.found[cell["id"]].label
            asked = new.get((cell["picture"], cell["number"]))
            if label is None or not file.lanes[label].counts or asked is None:
                continue
            for part in ("all", *(["fixed_set"] if file.case["fixed_set"] else [])):
                told = file.lanes[label].blast, file.case["subject"]
                counts[part, "before"].add(told[0], cell["decision"] == "blast", told[1])
                counts[part, "after"].add(told[0], asked.decision == "blast", told[1])
    return {
        "bundle": bundle["id"], "cases": len(files), "changed": changed,
        "fixed_set": sorted(file.case["id"] for file in files if file.case["fixed_set"]),
        "figures": {
            part: {which: counts[part, which].to_json() for which in ("before", "after")}
            for part in ("all", "fixed_set")
        },
    }  # fmt: skip


def activate(bench: Workbench, person: Person, bundle_id: str) -> dict[str, Any]:
    """Let a bundle answer from now on; the password was asked for again by the caller.

    Raises:
        Problem: it was not tried on all signed cases and on the fixed set as they are now.
    """
    bundle = get_bundle(bench, bundle_id)
    with bench.database.write() as connection:
        query = select(JobRow).where(JobRow.kind == "trial", JobRow.subject == bundle_id, JobRow.state == "done")
        trial = connection.execute(query.order_by(JobRow.id.desc()).limit(1)).mappings().first()
        if trial is None:
            raise Problem(409, "the bundle was not tried on the signed cases", remedy="try it first")
        result = json.loads(trial["result"])
        fixed = select(CaseRow.id).where(CaseRow.state == "signed", CaseRow.fixed_set == 1, CaseRow.subject != ERASED)
        if set(connection.scalars(fixed)) - set(result["fixed_set"]):
            raise Problem(409, "cases came to the fixed set since the bundle was tried", remedy="try it again")
        connection.execute(update(BundleRow).where(BundleRow.state == "active").values(state="retired"))
        connection.execute(update(BundleRow).where(BundleRow.id == bundle_id).values(state="active"))
        body = {"digest": bundle["digest"], "trial": trial["id"], "changed": len(result["changed"])}
        link = bench.chain.append(connection, person.id, "bundle.activated", bundle_id, body)
    return {"id": bundle_id, "state": "active", "seq": link.seq, "head": link.hash}


def _probed(bench: Workbench, path: str, file: CaseFile) -> dict[tuple[str, int], answers.AskedCell]:
    pictures = [run["picture"] for run in file.runs if run["kind"] != "slide"]
    found: dict[tuple[str, int], answers.AskedCell] = {}
    for run in file.runs:
        if run["kind"] == "slide":
            again = ask_again(bench, run["id"], path)
            found |= {(run["picture"], number): cell for number, (cell, _) in again.items()}
    for start in range(0, len(pictures), AT_ONCE):
        part = pictures[start : start + AT_ONCE]
        asked = bench.asker.call(
            answers.probe, path, [str(bench.store.path(sha256)) for sha256 in part], file.case["um_per_px"],
            bench.settings.limits.picture_pixels,
        )  # fmt: skip
        for sha256, cells in zip(part, asked, strict=True):
            found |= {(sha256, cell.number): cell for cell in cells}
    return found


def _stated(
    bench: Workbench, path: str, file: CaseFile, new: dict[tuple[str, int], answers.AskedCell]
) -> dict[str, Any]:
    numbers = {run["picture"]: order for order, run in enumerate(file.runs)}
    rows = [
        {
            "number": cell.number, "place": numbers[sha256] * 1_000_000 + cell.number, "picture": sha256,
            "logit": cell.logit, "probability": cell.probability, "decision": cell.decision, "gate": cell.gate,
            "in_field": cell.box is not None,
        }
        for (sha256, _), cell in sorted(new.items(), key=lambda each: (numbers[each[0][0]], each[0][1]))
    ]  # fmt: skip
    empty = len(file.runs) - len({sha256 for sha256, _ in new})
    return bench.asker.call(answers.statement, path, "the case", rows, len(file.runs), empty)


def _share(called: Sequence[bool], subjects: Sequence[str]) -> dict[str, Any] | None:
    if not called:
        return None
    found = share_of(list(called), list(subjects))
    return {
        "value": found.value, "low": found.low, "high": found.high, "cells": found.cells,
        "subjects": len(set(subjects)),
    }  # fmt: skip
