"""The thread that works off what waits: pictures are asked, bundles adapted and tried, readings handed out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from leukoscope._version import __version__
from leukoscope.errors import BundleError, LeukoscopeError
from leukoscope.service import answers
from leukoscope.service.casework.bundles import active_bundle
from leukoscope.service.casework.jobs import MOST_ATTEMPTS, Job, claim_jobs
from leukoscope.service.children import ChildEndedError
from leukoscope.service.database.chain import canonical
from leukoscope.service.database.tables import CasePictureRow, CaseRow, CellRow, JobRow, PictureRow, RunRow
from leukoscope.service.moments import new_id, utc_now
from leukoscope.service.workbench import SYSTEM, Workbench

AT_ONCE = 8  # pictures through the graph
PLACES = 1_000_000  # cells that a picture may have, for their order in the case
Act = Callable[[Workbench, Job], dict[str, Any]]


class Worker(threading.Thread):
    """Works until it is told to end.

    Args:
        bench: whose work it does.
        acts: for each kind of work that it takes, what does it, and returns a result, JSON-ready; None: it asks
            pictures, and puts right at its start what a killed server left.
    """

    def __init__(self, bench: Workbench, acts: Mapping[str, Act] | None = None) -> None:
        super().__init__(name="leukoscope-asking" if acts is None else "leukoscope-working", daemon=True)
        self._bench = bench
        self._acts = acts
        self._ended = threading.Event()
        self._called = threading.Event()
        self.fault: str | None = None

    def wake(self) -> None:
        """There is something to do."""
        self._called.set()

    def end(self) -> None:
        """Finish what is begun and stop."""
        self._ended.set()
        self._called.set()
        self.join(10)

    def run(self) -> None:
        """Work."""
        if self._acts is None:
            self._bench.asker.start()
            self._bench.accounts.warm_up()
            self._sweep()
        turns = 0
        while not self._ended.is_set():
            try:
                worked = self.work_once()
                turns += 1
                if turns % 20 == 0:
                    self._bench.sessions.write_seen()
                self.fault = None
            except Exception as error:  # noqa: BLE001  (a fault of the disk or the database must not end the worker)
                told = str(error) if isinstance(error, LeukoscopeError) else f"{type(error).__name__}: {error}"
                self.fault, worked = told, False
            if not worked:
                self._called.wait(1.0)
                self._called.clear()

    def work_once(self) -> bool:
        """Do the next piece; whether there was one."""
        jobs = claim_jobs(self._bench.database, ("ask",) if self._acts is None else tuple(self._acts), AT_ONCE)
        if not jobs:
            return False
        if self._acts is None:
            self._ask(jobs)
        else:
            self._act(jobs[0], self._acts[jobs[0].kind])
        return True

    def _act(self, job: Job, act: Act) -> None:
        try:
            result = act(self._bench, job)
        except LeukoscopeError as error:
            self._finish(job, "failed", str(error))
        except Exception as error:  # noqa: BLE001  (one piece of work must not end the worker)
            self._finish(job, "failed", f"{type(error).__name__}: {error}")
        else:
            self._finish(job, "done", None, result)

    def _finish(self, job: Job, state: str, error: str | None, result: dict[str, Any] | None = None) -> None:
        with self._bench.database.write() as connection:
            told = None if result is None else canonical(result)
            ended = update(JobRow).where(JobRow.id == job.id)
            connection.execute(ended.values(state=state, error=error, result=told, claimed_until=None))

    def _ask(self, jobs: list[Job]) -> None:
        bench = self._bench
        try:
            bundle = active_bundle(bench)
        except BundleError:
            self._give_back(jobs)
            raise
        with bench.database.read() as connection:
            case = connection.execute(select(CaseRow).where(CaseRow.id == jobs[0].case_id)).mappings().one()
        runs = [new_id() for _ in jobs]
        paths = [str(bench.store.path(job.subject)) for job in jobs]
        folder = bench.settings.derived
        named = [(path, f"{run[-2:]}/{run}") for path, run in zip(paths, runs, strict=True)]
        try:
            found = bench.asker.call(
                answers.ask, bundle["path"], named, str(folder), case["um_per_px"],
                bench.settings.limits.picture_pixels,
            )  # fmt: skip
        except BundleError:
            self._give_back(jobs)
            raise
        except (ChildEndedError, LeukoscopeError) as error:
            for job in jobs:  # tried again one by one: the others are not lost to the one that ends the process
                last = job.attempts >= MOST_ATTEMPTS
                self._finish(job, "failed" if last else "waiting", str(error))
            return
        for job, run, asked in zip(jobs, runs, found, strict=True):
            self._keep(job, run, bundle["id"], asked)

    def _give_back(self, jobs: list[Job]) -> None:
        """Let pictures wait: that there is no model to ask is no fault of theirs."""
        with self._bench.database.write() as connection:
            for job in jobs:
                waits = update(JobRow).where(JobRow.id == job.id)
                connection.execute(waits.values(state="waiting", attempts=job.attempts - 1, claimed_until=None))

    def _keep(self, job: Job, run: str, bundle: str, asked: answers.Asked) -> None:
        """What was answered, all of it or nothing."""
        bench = self._bench
        with bench.database.write() as connection:
            state = connection.scalar(select(CaseRow.state).where(CaseRow.id == job.case_id))
            if state == "signed":
                connection.execute(
                    update(JobRow).where(JobRow.id == job.id).values(state="failed", error="case signed")
                )
                return
            number = connection.scalar(
                select(CasePictureRow.number).where(
                    CasePictureRow.case_id == job.case_id, CasePictureRow.picture == job.subject
                )
            )
            connection.execute(
                insert(RunRow).values(
                    id=run, case_id=job.case_id, picture=job.subject, bundle_id=bundle, software=__version__,
                    kind=asked.kind, um_per_px=asked.um_per_px, warnings=json.dumps(asked.warnings), error=asked.error,
                    finished=utc_now(),
                )
            )  # fmt: skip
            if asked.cells:
                connection.execute(
                    insert(CellRow),
                    [_cell_values(each, run, job, (number or 0) * PLACES + each.number) for each in asked.cells],
                )
            connection.execute(update(JobRow).where(JobRow.id == job.id).values(state="done", claimed_until=None))
            told = {"run": run, "picture": job.subject, "bundle": bundle, "cells": len(asked.cells)}
            bench.chain.append(connection, SYSTEM, "run.finished", job.case_id or "", told)

    def _sweep(self) -> None:
        """Remove files that a killed server left without a row."""
        bench = self._bench
        with bench.database.read() as connection:
            known = set(connection.scalars(select(PictureRow.sha256).where(PictureRow.erased_at.is_(None))))
            runs = set(connection.scalars(select(RunRow.id)))
        for sha256 in bench.store.digests():
            if sha256 not in known:
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
        "decision": cell.decision, "reason": cell.reason, "gate": cell.gate, "words": cell.words,
        "embedding": cell.embedding,
    }  # fmt: skip
