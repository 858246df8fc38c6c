"""Who works off the parts: processes of this machine, or the workers of Dask. Only numbers of parts cross over."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any, Final, Literal

from leukoscope.archive.part import Outcome, run_part
from leukoscope.archive.plan import Archive
from leukoscope.errors import LeukoscopeError, optional
from leukoscope.machine import cpu_count
from leukoscope.progress import SILENT, Progress
from leukoscope.workers import children_deaf_to_interrupts, start_worker

Engine = Literal["local", "dask"]
ENGINES: Final[tuple[Engine, ...]] = ("local", "dask")
DEATHS: Final = 5  # workers that a part may take with it before it is given up
_ENVIRON: Final = "distributed.nanny.pre-spawn-environ"
_PATIENCE: Final = 0.5  # seconds between looks at what another coordinator works on


def run_archive(
    archive: Archive,
    *,
    engine: Engine = "local",
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[str]:
    """Answer for all parts without rows. May be called by several processes at once, and again after any of them died.

    Args:
        archive: a planned one.
        engine: `local`, or `dask`.
        address: of a Dask scheduler whose workers see the archive and the pictures under the same paths; None: workers
            are started here.
        workers: how many; by default one for each available core.
        progress: shows pictures.

    Returns:
        What went wrong with parts that were given up, in sentences; empty when all rows are there.

    Raises:
        LeukoscopeError: the engine is not installed or does not answer.
    """
    missing = archive.missing()
    trouble: list[str] = []
    if not missing:
        return trouble
    work = _local if engine == "local" else _dask
    with progress.stage("pictures", archive.planned.pictures) as advance:
        advance(archive.planned.pictures - sum(_pictures_in(archive, number) for number in missing))
        while missing:
            busy = []
            for number, outcome in work(archive, missing, address, workers or cpu_count()):
                if isinstance(outcome, str):
                    trouble.append(outcome)
                elif outcome[0] == "busy":
                    busy.append(number)
                else:
                    advance(outcome[1])
            missing = busy
            if missing:
                time.sleep(_PATIENCE)
    return trouble


Told = tuple[int, tuple[Outcome, int] | str]


def _pictures_in(archive: Archive, number: int) -> int:
    with archive.part(number).open("rb") as file:
        return sum(1 for _ in file)


def _local(archive: Archive, numbers: Sequence[int], _address: str | None, workers: int) -> Iterator[Told]:
    """By processes that end with this one; when one is killed, new ones take over what it was at."""
    waiting = deque(numbers)
    deaths = Counter[int]()
    folder = str(archive.folder)
    while waiting:
        with children_deaf_to_interrupts():
            pool = ProcessPoolExecutor(min(workers, len(waiting)), get_context("spawn"), start_worker)
        flight: dict[Future[tuple[Outcome, int]], int] = {}
        try:
            while waiting or flight:
                while waiting and len(flight) < 2 * workers:
                    with children_deaf_to_interrupts():
                        flight[pool.submit(run_part, folder, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(flight, return_when=FIRST_COMPLETED).done:
                    number = flight.pop(future)
                    try:
                        yield number, future.result()
                    except LeukoscopeError as error:
                        yield number, str(error)
                    except BrokenProcessPool:
                        flight[future] = number
                        raise
        except BrokenProcessPool:
            for number in flight.values():
                deaths[number] += 1
                if deaths[number] >= DEATHS:
                    yield number, f"part {number} was given up: {DEATHS} processes were ended while it was read"
                else:
                    waiting.append(number)
        finally:
            pool.shutdown(cancel_futures=True)


def _dask(archive: Archive, numbers: Sequence[int], address: str | None, workers: int) -> Iterator[Told]:
    """By workers of Dask, which deals a part again when its worker is lost."""
    distributed = optional("distributed", "--engine dask", "dask")
    with ExitStack() as held:
        where: Any = address
        if address is None:
            # Dask makes its workers give memory back at once, for which they pay twice: pictures take and free much.
            held.enter_context(optional("dask", "--engine dask", "dask").config.set({_ENVIRON: {}}))
            where = held.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    silence_logs=50,
                )
            )
        try:
            client = held.enter_context(distributed.Client(where, timeout="10s"))
        except (OSError, TimeoutError) as error:
            raise LeukoscopeError(
                f"no Dask scheduler answers at {address} ({error})", remedy="check --address, and that it runs"
            ) from error
        folder = str(archive.folder)
        futures = {client.submit(run_part, folder, number, pure=False, retries=DEATHS): number for number in numbers}
        for future in distributed.as_completed(futures):
            number = futures[future]
            try:
                yield number, future.result()
            except LeukoscopeError as error:
                yield number, str(error)
            except distributed.KilledWorker:
                yield number, f"part {number} was given up: its workers were ended while it was read"
            future.release()
