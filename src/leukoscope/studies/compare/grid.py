"""Many runs in one folder: resumable, one at a time per device, and one that fails stops no other.

Each row is trained by `leukoscope train` in a process of its own: it dies alone, and it dies with the process that
started it, which holds its standard input open.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.files import exclusive, write_json, write_text
from leukoscope.progress import SILENT, Progress
from leukoscope.runs.finish import finish_run
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import is_measured

USAGE: Final = 2  # how the command line ends where it can say what is wrong
STATE_FILE = "grid.json"
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Say = Callable[[str], None]


def all_devices() -> tuple[str, ...]:
    """All CUDA devices; the processor where there is none."""
    import torch  # noqa: PLC0415 - an optional extra

    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or ("cpu",)


def _unheard(_line: str) -> None:
    pass


def _prefixed(say: Say, name: str, line: str) -> None:
    say(f"[{name}] {line}")


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
    from leukoscope.training.runtime import start_runtime  # noqa: PLC0415

    recipe, where = row.to_recipe(), folder / row.slug()
    with exclusive(where, "trains into"):
        if is_measured(where, recipe, manifest, row.limit):
            return Outcome(row, "reused", where)
        with start_runtime(recipe.precision, device) as runtime:
            run = train_run(
                manifest, recipe, where, runtime, cache_folder=cache_folder, pictures=row.limit, jobs=jobs,
                on_epoch=lambda at: say(
                    f"epoch {at['epoch']:3.0f}  loss {at['loss']:.4f}  val loss {at['val_loss']:.4f}  "
                    f"val AUC {at['val_auc']:.4f}  {at['seconds']:.1f} s"
                ),
            )  # fmt: skip
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
    threads: int | None = None,
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
        devices: one row at a time on each; a device that is named several times has as many.
        jobs: threads for decoding, of each row.
        threads: of the arithmetic of each row, where several share the processors; all cores by default.
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
                outcome = _one(row, manifest, folder, cache_folder, device, jobs, threads, isolated, heard)
                say(f"[{name}] {outcome.status}" + (f": {outcome.reason}" if outcome.reason else ""))
                record.add(outcome)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            faults.append(error)

    if not isolated or len(devices) == 1:
        work(devices[0])
    else:
        workers = [threading.Thread(target=work, args=(device,), name=device, daemon=True) for device in devices]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
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
    threads: int | None,
    isolated: bool,
    say: Say,
) -> Outcome:
    run: Callable[..., Outcome] = run_in_child if isolated else run_row
    if isolated and threads is not None:
        run = partial(run, threads=threads)
    try:
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
    say: Say,
    threads: int | None = None,
) -> Outcome:
    """Like `run_row`, by `leukoscope train` in a process of its own, whose other output is kept in ``folder/logs``.

    Raises:
        TrainingError: the process failed or was killed.
    """
    slug, recipe = row.slug(), row.to_recipe()
    where = folder / slug
    if is_measured(where, recipe, manifest, row.limit):
        return Outcome(row, "reused", where)
    table = folder / "data" / manifest.fingerprint()[:12] / f"{manifest.name}.csv"
    manifest.write_csv(table)
    log = folder / "logs" / f"{slug}.log"
    wanted = log.with_suffix(".yaml")
    write_text(wanted, recipe.to_yaml())
    given: dict[str, object] = {
        "data": table, "recipe": wanted, "out": where, "cache": cache_folder, "device": device, "jobs": jobs,
        "limit": row.limit,
    }  # fmt: skip
    options = [word for key, value in given.items() if value is not None for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "leukoscope", "train", *options, "--as-row"]
    bounds = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    pipe = subprocess.PIPE
    with (
        log.open("w", encoding="utf-8") as noise,
        subprocess.Popen(  # noqa: S603
            command, stdin=pipe, stdout=pipe, stderr=noise, text=True, env=os.environ | bounds
        ) as child,
    ):
        assert child.stdout is not None
        try:
            for line in child.stdout:
                noise.write(line)
                if line.startswith("epoch "):
                    say(line.rstrip("\n"))
            child.wait()
        except BaseException:
            child.kill()
            raise
    if child.returncode == 0:
        return Outcome(row, "trained", where)
    raise _failed(child.returncode, log)


def _failed(code: int, log: Path) -> TrainingError:
    """What a child that ended with ``code`` said last, or how it ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == USAGE and said:
        return TrainingError(said[-1])
    why = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return TrainingError(
        f"the process that trained this row {why}",
        path=log,
        remedy="see this log; if memory ran out, give a smaller batch: --set batch_size=16",
    )
