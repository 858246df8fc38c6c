"""Many runs in one folder: resumable, one at a time per device, and one that fails stops no other.

One row in a process of its own: it dies alone, and it dies with the process that started it.

The parent writes one JSON line to the child's standard input and keeps it open; when the parent is gone the child sees
the end of it and stops. The child answers in JSON lines on standard output; whatever else is printed goes to a log.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from leukoscope.datasets.dataset import Manifest, read_manifest
from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.files import write_json
from leukoscope.progress import SILENT, Progress
from leukoscope.runs.finish import finish_run
from leukoscope.runs.recipe_row import Row
from leukoscope.runs.run import Outcome, is_finished

STATE_FILE = "grid.json"
Say = Callable[[str], None]


def _unheard(_line: str) -> None:
    pass


def _prefixed(say: Say, name: str, line: str) -> None:
    say(f"[{name}] {line}")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Be the only writer of ``folder``; the claim lies beside it and dies with the process.

    Raises:
        TrainingError: another process has it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(
            "another process is working here", path=folder, remedy="wait for it, then give the same command again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def run_row(
    row: Row,
    manifest: Manifest,
    folder: Path,
    *,
    cache_folder: Path,
    device: str = "auto",
    jobs: int | None = None,
    say: Say = _unheard,
    progress: Progress = SILENT,
) -> Outcome:
    """Train and measure one row in this process, go on where it was killed, or reuse it where it is finished.

    Args:
        row: what to train.
        manifest: the data; pictures without a label are left out.
        folder: of all runs; the row's own is ``folder / row.slug()``.
        cache_folder: where prepared frames are kept.
        device: ``cpu``, ``cuda:1``, ``auto`` ...
        jobs: threads for decoding.
        say: called with a line per epoch.
        progress: shows passes over pictures.

    Raises:
        LeukoscopeError: whatever is wrong with the recipe, the data or the folder.
    """
    from leukoscope.runs.train import train_run  # noqa: PLC0415 - needs torch
    from leukoscope.studies.teaching import teach  # noqa: PLC0415
    from leukoscope.training.runtime import start_runtime  # noqa: PLC0415

    recipe = row.to_recipe()
    where = folder / row.slug()
    with claimed(where):
        if is_finished(where, recipe, manifest, row.limit):
            return Outcome(row, "reused", where)
        with start_runtime(recipe.precision, device) as runtime:
            run = train_run(
                manifest,
                recipe,
                where,
                runtime,
                cache_folder=cache_folder,
                pictures=row.limit,
                jobs=jobs,
                teach=teach,
                on_epoch=lambda at: say(
                    f"epoch {at['epoch']:3.0f}  loss {at['loss']:.4f}  val loss {at['val_loss']:.4f}  "
                    f"val AUC {at['val_auc']:.4f}  {at['seconds']:.1f} s"
                ),
            )
        finish_run(run, f"{recipe.model.name}-{recipe.name}", progress=progress)
    return Outcome(row, "trained", where)


def run_grid(
    rows: Sequence[Row],
    manifest: Manifest,
    folder: Path,
    *,
    cache_folder: Path,
    devices: Sequence[str] = ("auto",),
    jobs: int | None = None,
    isolated: bool = True,
    say: Say = _unheard,
) -> tuple[Outcome, ...]:
    """Train or reuse all rows.

    Each row runs in a process of its own, so that one that runs out of memory is one failed row and several devices do
    not share random state. Rows that differ in their entry only are trained once. ``folder / "grid.json"`` holds the
    outcomes so far. Killed and started again, it goes on; rows that failed are tried again.

    Args:
        rows: what to train.
        manifest: the data of all rows.
        folder: of the runs.
        cache_folder: where prepared frames are kept.
        devices: one row at a time on each.
        jobs: threads for decoding, of each row.
        isolated: False trains in this process, on the first device: for small things and for debugging.
        say: called with lines that say what goes on.

    Returns:
        One outcome per row, in the order of ``rows``; a row that failed says why.

    Raises:
        LeukoscopeError: the folder cannot be written, or it was called under torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("a grid of runs is not started by torchrun", remedy="call it directly: it uses all devices")
    record = _Record(rows, folder)
    todo: queue.SimpleQueue[Row] = queue.SimpleQueue()
    for row in record.distinct():
        todo.put(row)
    faults: list[BaseException] = []

    def work(device: str) -> None:
        try:
            while not faults:
                row = todo.get_nowait()
                name = record.name(row)
                say(f"[{name}] starts on {device}")
                heard = partial(_prefixed, say, name)
                outcome = _one(row, manifest, folder, cache_folder, device, jobs, isolated, heard)
                say(f"[{name}] {outcome.status}" + (f": {outcome.reason}" if outcome.reason else ""))
                record.add(outcome)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            faults.append(error)

    if not isolated or len(devices) == 1:
        work(devices[0])
    else:
        threads = [threading.Thread(target=work, args=(device,), name=device, daemon=True) for device in devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]
    return record.outcomes()


def _one(
    row: Row,
    manifest: Manifest,
    folder: Path,
    cache_folder: Path,
    device: str,
    jobs: int | None,
    isolated: bool,
    say: Say,
) -> Outcome:

    try:
        run = run_in_child if isolated else run_row
        return run(row, manifest, folder, cache_folder=cache_folder, device=device, jobs=jobs, say=say)
    except LeukoscopeError as error:
        return Outcome(row, "failed", _place(row, folder), str(error))
    except Exception as error:  # noqa: BLE001 - whatever one row dies of, the others finish
        return Outcome(row, "failed", _place(row, folder), f"unexpected {type(error).__name__}: {error}")


def _place(row: Row, folder: Path) -> Path:
    try:
        return folder / row.slug()
    except LeukoscopeError:
        return folder


class _Record:
    """Outcomes so far, on disk after each row."""

    def __init__(self, rows: Sequence[Row], folder: Path) -> None:
        self._rows = tuple(rows)
        self._folder = folder
        self._keys = [_key(row) for row in rows]
        self._found: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def distinct(self) -> list[Row]:
        """The rows, each training once."""
        first: dict[str, Row] = {}
        for key, row in zip(self._keys, self._rows, strict=True):
            first.setdefault(key, row)
        return list(first.values())

    def name(self, row: Row) -> str:
        """Which row of how many, for people."""
        at = self._rows.index(row)
        fold = "" if row.fold is None else f" {row.protocol or 'fold'} {row.fold}"
        return f"{at + 1}/{len(self._rows)} {row.entry}{fold}"

    def add(self, outcome: Outcome) -> None:
        """Take an outcome in and write the state."""
        with self._lock:
            self._found[_key(outcome.row)] = outcome
            write_json(self._folder / STATE_FILE, [each.to_json() for each in self.outcomes()])

    def outcomes(self) -> tuple[Outcome, ...]:
        """One outcome per row that has one, in order."""
        pairs = ((row, self._found.get(key)) for key, row in zip(self._keys, self._rows, strict=True))
        return tuple(Outcome(row, one.status, one.folder, one.reason) for row, one in pairs if one is not None)


def _key(row: Row) -> str:
    try:
        return row.slug()
    except LeukoscopeError:  # the row will fail, and say why
        return repr(row)


def run_in_child(
    row: Row,
    manifest: Manifest,
    folder: Path,
    *,
    cache_folder: Path,
    device: str,
    jobs: int | None,
    say: Callable[[str], None],
) -> Outcome:
    """Like ``grid.run_row``, in a fresh process; its other output is kept in ``folder/logs``.

    Raises:
        TrainingError: the process failed or was killed.
    """
    slug = row.slug()
    table = folder / f"data-{manifest.fingerprint()[:12]}.csv"
    manifest.write_csv(table)
    log = folder / "logs" / f"{slug}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    job = {
        "row": row.to_json(),
        "table": str(table),
        "data": manifest.name,
        "root": str(manifest.root),
        "folder": str(folder),
        "cache": str(cache_folder),
        "device": device,
        "jobs": jobs,
    }
    command = [sys.executable, "-m", "leukoscope.studies.compare.grid"]
    answer: dict[str, Any] = {}
    with (
        log.open("w", encoding="utf-8") as noise,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True) as child,  # noqa: S603
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(job) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                told = json.loads(line)
                if "say" in told:
                    say(told["say"])
                else:
                    answer = told
            child.wait()
        except BaseException:
            child.kill()
            raise
    if "outcome" in answer:
        return Outcome.from_json(answer["outcome"])
    if "error" in answer:
        raise TrainingError(answer["error"])
    why = f"was killed by signal {-child.returncode}" if child.returncode < 0 else f"ended with {child.returncode}"
    raise TrainingError(
        f"the process that trained this row {why}",
        path=log,
        remedy="see this log; if memory ran out, give a smaller batch: --set batch_size=16",
    )


def _main() -> None:

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints does not disturb the answers
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def tell(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    manifest = replace(read_manifest(job["table"], root=job["root"]), name=job["data"])
    try:
        outcome = run_row(
            Row.from_json(job["row"]),
            manifest,
            Path(job["folder"]),
            cache_folder=Path(job["cache"]),
            device=job["device"],
            jobs=job["jobs"],
            say=lambda text: tell({"say": text}),
        )
    except LeukoscopeError as error:
        tell({"error": str(error)})
    except Exception as error:
        tell({"error": f"unexpected {type(error).__name__}: {error}"})
        raise  # the log has the traceback
    else:
        tell({"outcome": outcome.to_json()})


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _main()
