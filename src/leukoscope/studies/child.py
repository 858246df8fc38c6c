"""One row in a process of its own: it dies alone, and it dies with the process that started it.

The parent writes one JSON line to the child's standard input and keeps it open; when the parent is gone the child sees
the end of it and stops. The child answers in JSON lines on standard output; whatever else is printed goes to a log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukoscope.data.manifest import Manifest, read_manifest
from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.studies.outcome import Outcome
from leukoscope.studies.row import Row


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
        "row": row.as_dict(),
        "table": str(table),
        "data": manifest.name,
        "root": str(manifest.root),
        "folder": str(folder),
        "cache": str(cache_folder),
        "device": device,
        "jobs": jobs,
    }
    command = [sys.executable, "-m", "leukoscope.studies.child"]
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
        return Outcome.from_dict(answer["outcome"])
    if "error" in answer:
        raise TrainingError(answer["error"])
    why = f"was killed by signal {-child.returncode}" if child.returncode < 0 else f"ended with {child.returncode}"
    raise TrainingError(
        f"the process that trained this row {why}",
        path=log,
        remedy="see this log; if memory ran out, give a smaller batch: --set batch_size=16",
    )


def _main() -> None:
    from leukoscope.studies.grid import run_row  # noqa: PLC0415

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
            Row.from_dict(job["row"]),
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
        tell({"outcome": outcome.as_dict()})


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _main()
