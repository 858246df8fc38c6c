"""Threads that work off what waits: readings handed out, bundles adapted and tried. Pictures: `questions`."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import update

from leukoscope.errors import LeukoscopeError
from leukoscope.service.casework.jobs import Job, claim_jobs
from leukoscope.service.database.chain import canonical
from leukoscope.service.database.tables import JobRow
from leukoscope.service.workbench import Workbench

Act = Callable[[Workbench, Job], dict[str, Any]]


class Worker(threading.Thread):
    """Works until it is told to end.

    Args:
        bench: whose work it does.
        name: of the thread.
    """

    def __init__(self, bench: Workbench, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.bench = bench
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
        self.prepare()
        turns = 0
        while not self._ended.is_set():
            try:
                worked = self.work_once()
                turns += 1
                if turns % 20 == 0:
                    self.bench.sessions.write_seen()
                self.fault = None
            except Exception as error:  # noqa: BLE001  (a fault of the disk or the database must not end the worker)
                told = str(error) if isinstance(error, LeukoscopeError) else f"{type(error).__name__}: {error}"
                self.fault, worked = told, False
            if not worked:
                self._called.wait(1.0)
                self._called.clear()

    @abstractmethod
    def work_once(self) -> bool:
        """Do the next piece; whether there was one."""

    def prepare(self) -> None:
        """What is done before the first piece."""

    def finish(self, job: Job, state: str, error: str | None, result: dict[str, Any] | None = None) -> None:
        """Write down what became of a piece of work."""
        with self.bench.database.write() as connection:
            told = None if result is None else canonical(result)
            ended = update(JobRow).where(JobRow.id == job.id)
            connection.execute(ended.values(state=state, error=error, result=told, claimed_until=None))


class Errands(Worker):
    """Does one piece of work after the other.

    Args:
        bench: whose work it does.
        acts: for each kind of work that it takes, what does it, and returns a result, JSON-ready.
    """

    def __init__(self, bench: Workbench, acts: Mapping[str, Act]) -> None:
        super().__init__(bench, "leukoscope-errands")
        self._acts = acts

    def work_once(self) -> bool:
        """Do the next piece; whether there was one."""
        jobs = claim_jobs(self.bench.database, tuple(self._acts), 1)
        for job in jobs:
            try:
                result = self._acts[job.kind](self.bench, job)
            except LeukoscopeError as error:
                self.finish(job, "failed", str(error))
            except Exception as error:  # noqa: BLE001  (one piece of work must not end the worker)
                self.finish(job, "failed", f"{type(error).__name__}: {error}")
            else:
                self.finish(job, "done", None, result)
            finally:
                self.bench.progress.pop(job.id, None)
        return bool(jobs)
