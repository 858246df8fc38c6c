"""The thread that asks a bundle of the pictures that wait, a few at once, and keeps what it says."""

from __future__ import annotations

import json
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from leukoscope._version import __version__
from leukoscope.errors import BundleError, LeukoscopeError
from leukoscope.service import answers
from leukoscope.service.casework.bundles import active_bundle
from leukoscope.service.casework.jobs import MOST_ATTEMPTS, PLACES, Job, claim_jobs
from leukoscope.service.database.tables import CasePictureRow, CaseRow, CellRow, JobRow, PictureRow, RunRow
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.workbench import SYSTEM, Workbench
from leukoscope.service.worker import Worker

AT_ONCE, MORE = 64, 16  # pictures in a question; and how many must wait for another beside one that is being asked
PIXELS = 20_000_000  # of the pictures in a question, together, where there are several


@dataclass(frozen=True, slots=True)
class Question:
    """Pictures of one case that are asked, each under the identifier of its run."""

    jobs: list[Job]
    runs: list[str]
    bundle: str
    found: Future[list[answers.Asked]]


class Questions(Worker):
    """Asks; while the answers to one question are kept, the next is asked.

    At its start it puts right what a killed server left.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench, "leukoscope-questions")
        self._asking = ThreadPoolExecutor(1, "leukoscope-asking")
        self._open: deque[Question] = deque()

    def end(self) -> None:
        """Finish what is begun and stop; what was not kept is asked again at the next start."""
        super().end()
        self._asking.shutdown(wait=False, cancel_futures=True)

    def prepare(self) -> None:
        """Load what is needed before somebody waits for it; remove files without a row."""
        self.bench.asker.start()
        self.bench.accounts.warm_up()
        self._sweep()
        with suppress(LeukoscopeError):  # it is said to whoever waits for an answer
            self.bench.decoder.call(answers.warm_up, None)
            self.bench.asker.call(answers.warm_up, active_bundle(self.bench)["path"])

    def work_once(self) -> bool:
        """Ask the next question, and keep the answers to the one before; whether there was something to do.

        Answers that cannot be written, as when the disk is full, are kept the next time.
        """
        new = len(self._open) < 2 and self._ask()
        if self._open and not (new and len(self._open) == 1):
            try:
                self._keep(self._open[0])
            except BundleError:
                self._open.popleft()
                raise
            self._open.popleft()
            return True
        return new

    def _ask(self) -> bool:
        bench = self.bench
        jobs = claim_jobs(bench.database, ("ask",), AT_ONCE, least=MORE if self._open else 1, pixels=PIXELS)
        if not jobs:
            return False
        try:
            bundle = active_bundle(bench)
        except BundleError:
            self._give_back(jobs)
            raise
        with bench.database.read() as connection:
            scale = connection.scalar(select(CaseRow.um_per_px).where(CaseRow.id == jobs[0].case_id))
        runs = [new_id() for _ in jobs]
        named = [(str(bench.store.path(job.subject)), f"{run[-2:]}/{run}") for job, run in zip(jobs, runs, strict=True)]
        found = self._asking.submit(
            bench.asker.call, answers.ask, bundle["path"], named, str(bench.settings.derived), scale,
            bench.settings.limits.picture_pixels,
        )  # fmt: skip
        self._open.append(Question(jobs, runs, bundle["id"], found))
        return True

    def _give_back(self, jobs: list[Job]) -> None:
        """Let pictures wait: that there is no model to ask is no fault of theirs."""
        with self.bench.database.write() as connection:
            for job in jobs:
                waits = update(JobRow).where(JobRow.id == job.id)
                connection.execute(waits.values(state="waiting", attempts=job.attempts - 1, claimed_until=None))

    def _keep(self, asked: Question) -> None:
        """Wait for answers, and keep all of them or none."""
        try:
            found = asked.found.result()
        except BundleError:
            self._give_back(asked.jobs)
            raise
        except Exception as error:  # noqa: BLE001  (whatever went wrong in the process that answers)
            why = str(error) if isinstance(error, LeukoscopeError) else f"{type(error).__name__}: {error}"
            for job in asked.jobs:  # tried again one by one: the others are not lost to the one that ends the process
                self.finish(job, "failed" if job.attempts >= MOST_ATTEMPTS else "waiting", why)
            return
        case = asked.jobs[0].case_id or ""
        ended = update(JobRow).where(JobRow.id.in_([job.id for job in asked.jobs])).values(claimed_until=None)
        with self.bench.database.write() as connection:
            if connection.scalar(select(CaseRow.state).where(CaseRow.id == case)) == "signed":
                connection.execute(ended.values(state="failed", error="case signed"))
                return
            there = select(CasePictureRow.picture, CasePictureRow.number, PictureRow.erased_at).join(
                PictureRow, PictureRow.sha256 == CasePictureRow.picture
            )
            wanted = [job.subject for job in asked.jobs]
            rows = connection.execute(
                there.where(CasePictureRow.case_id == case, CasePictureRow.picture.in_(wanted))
            ).all()  # fmt: skip
            numbers = {row.picture: row.number for row in rows}
            erased = {row.picture for row in rows if row.erased_at is not None}
            now = utc_now()
            runs: list[dict[str, Any]] = []
            cells: list[dict[str, Any]] = []
            acts: list[tuple[str, str, dict[str, Any]]] = []
            for job, run, each in zip(asked.jobs, asked.runs, found, strict=True):
                if job.subject in erased:  # since it was asked
                    self._remove_drawings(run)
                    continue
                runs.append(
                    {
                        "id": run, "case_id": case, "picture": job.subject, "bundle_id": asked.bundle,
                        "software": __version__, "kind": each.kind, "um_per_px": each.um_per_px,
                        "warnings": json.dumps(each.warnings), "error": each.error, "finished": now,
                    }
                )  # fmt: skip
                first = numbers[job.subject] * PLACES
                cells += [_cell_values(cell, run, job, first + cell.number) for cell in each.cells]
                told = {"run": run, "picture": job.subject, "bundle": asked.bundle, "cells": len(each.cells)}
                acts.append(("run.finished", case, told))
            if runs:
                connection.execute(insert(RunRow), runs)
            if cells:
                connection.execute(insert(CellRow), cells)
            connection.execute(ended.values(state="done"))
            self.bench.chain.append_all(connection, SYSTEM, acts)

    def _remove_drawings(self, run: str) -> None:
        for path in (self.bench.settings.derived / run[-2:]).glob(f"{run}-*"):
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove files that a killed server left without a row."""
        bench = self.bench
        with bench.database.read() as connection:
            known = set(connection.scalars(select(PictureRow.sha256).where(PictureRow.erased_at.is_(None))))
            runs = set(connection.scalars(select(RunRow.id)))
        there = select(PictureRow.sha256).where(PictureRow.erased_at.is_(None))
        for sha256 in bench.store.digests():
            if sha256 not in known:
                with bench.database.write() as connection:  # a picture that comes in is recorded before, or told
                    if connection.scalar(there.where(PictureRow.sha256 == sha256)) is None:
                        bench.store.remove(sha256)
        for path in bench.settings.derived.glob("*/*"):
            if path.name[:36] not in runs:
                Path(path).unlink(missing_ok=True)


def _cell_values(cell: answers.AskedCell, run: str, job: Job, place: int) -> dict[str, Any]:
    x, y, w, h = cell.box or (None, None, None, None)
    return {
        "id": new_id(), "run_id": run, "case_id": job.case_id, "picture": job.subject, "number": cell.number,
        "place": place, "x": x, "y": y, "w": w, "h": h, "logit": cell.logit, "probability": cell.probability,
        "doubt": cell.doubt, "strength": -1.0 if cell.probability is None else cell.probability,
        "decision": cell.decision, "reason": cell.reason, "gate": cell.gate, "embedding": cell.embedding,
    }  # fmt: skip
