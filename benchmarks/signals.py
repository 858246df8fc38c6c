"""Signals at random in every long verb: how soon it ends, what it says, and who is left.

    python benchmarks/signals.py [--rounds 3] [--only WORD] [--again] [--seed 0] [--out FILE.json]

Each verb works on rendered cells and fields in a process group of its own, as a terminal makes them. It runs once
undisturbed, at most twelve seconds of it; then after a time drawn at random from what that took SIGINT, SIGTERM or
SIGHUP goes to the whole group. It must end with 128 and the signal's number, or have been done already (a signal that
comes while Python closes down is Python's: its status is the signal), say one line that is its last and no traceback,
and leave no process. `seconds` are by the clock, from the signal to the last
process: on a busy machine they say little, so the load stands beside them, and `processor`, the seconds of a processor
that the group took after the signal: with a core for each of its threads it would have ended no later. A verb that is
in FILE.json already is not struck again, but with `--again`, which takes the place of what stood there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bundle_factory import disc, make_bundle
from leukoscope.bundle.read import default_bundle
from leukoscope.datasets.synthetic import write_synthetic

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}
LONGEST = 12.0  # seconds after the start
NETWORK = ("--model", "compact_cnn", "--epochs", "200", "--set", "input.size=64", "--set", "split.folds=3")


def made(home: Path) -> dict[str, Callable[[Path], Sequence[object]]]:
    """The verbs, each with its command for a folder to write."""
    write_synthetic(home / "cells", count=120, seed=3, layout="folders", subjects=12, size=160)
    many = home / "many"
    many.mkdir()
    Image.fromarray(disc((200, 40, 90), size=450, radius=100)).save(home / "one.png")
    for number in range(20_000):
        (many / f"{number:05d}.png").symlink_to(home / "one.png")
    fields = home / "fields"
    fields.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(150, 250, (3000, 4000, 3), np.uint8)).save(fields / f"{number}.png")
    one, cells = make_bundle(home / "bundle"), home / "cells"
    planned = home / "archive"
    plan = ["archive", "plan", many, "--bundle", one, "--part-size", 500, "--out", planned]
    subprocess.run([sys.executable, "-m", "leukoscope", *map(str, plan)], check=True, capture_output=True)
    return {
        "predict": lambda out: ["predict", many, "--bundle", one, "--format", "csv", "--out", out],
        "predict: gallery": lambda out: ["predict", many, "--bundle", one, "--out", out],
        "predict: fields": lambda out: ["predict", fields, "--bundle", one, "--format", "csv"],
        "field": lambda out: ["field", fields, "--bundle", one, "--out", out, "--threads", 2],
        "archive run": lambda out: ["archive", "run", planned, "--workers", 2],
        "data audit": lambda out: ["data", "audit", cells, "--out", out, "--jobs", 2],
        "data cut": lambda out: ["data", "cut", cells, "--out", out, "--jobs", 2],
        "train": lambda out: ["train", "--data", cells, *NETWORK, "--out", out, "--cache", out / "cache"],
        "compare": lambda out: ["compare", "--data", cells, *NETWORK, "--no-cost", "--out", out],
        "evaluate": lambda out: ["evaluate", "--data", cells, "--out", out],
        "calibrate": lambda out: ["calibrate", one, "--data", cells, "--replace", "--out", out],
        "audit shortcuts": lambda out: ["audit", "shortcuts", one, "--data", cells, "--out", out],
        "adapt": lambda out: ["adapt", default_bundle(), "--data", cells, "--replace", "--out", out],
        "serve": lambda out: ["serve", "--demo", "--data", out, "--port", 18765],
    }


@contextmanager
def started(command: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
    """A verb that is loaded; before, Python itself would speak."""
    with subprocess.Popen(
        [sys.executable, "-c", _HEARING, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        process.stderr.readline()
        yield process


def lasts(command: Sequence[object]) -> float:
    """Seconds that it takes undisturbed, or the longest."""
    with started(command) as process:
        start = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=LONGEST)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return time.monotonic() - start


def struck(command: Sequence[object], number: signal.Signals, after: float) -> dict[str, Any]:
    """Start it, send the signal to its group, and wait for the last of its processes."""
    with started(command) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
        already = process.poll() is not None
        spent, start = used(process.pid), time.monotonic()
        if not already:
            os.killpg(process.pid, number)
        most = spent
        while alive(process.pid) and time.monotonic() < start + 60:
            most = max(most, used(process.pid))
            time.sleep(0.01)
        seconds = time.monotonic() - start
        _, told = process.communicate()
    lines = [line for line in told.splitlines() if line.strip()]
    return {
        "signal": number.name, "after": round(after, 2), "status": process.returncode, "already": already,
        "seconds": round(seconds, 2), "processor": round(most - spent, 2), "load": round(os.getloadavg()[0], 1),
        "left": alive(process.pid),
        "traceback": "Traceback" in told, "last": lines[-1] if lines else "",
    }  # fmt: skip


_HEARING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background is deaf to it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from leukoscope.cli import main
print("loaded", file=sys.stderr, flush=True)
main()
"""


def _of(group: int) -> Iterator[list[str]]:
    """What the system says of each process of a group, from its state on."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                yield fields


def alive(group: int) -> int:
    """How many processes of a group are there that have not ended."""
    return sum(fields[0] != "Z" for fields in _of(group))


def used(group: int) -> float:
    """Seconds of a processor that the processes of a group have taken; those that were waited for with their parent."""
    return sum(int(ticks) for fields in _of(group) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run it and print what came of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--again", action="store_true", help="Strike verbs that are in the file already again.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    found: dict[str, list[dict[str, Any]]] = {}
    if given.out is not None and given.out.exists():
        found = json.loads(given.out.read_text(encoding="utf-8"))["verbs"]
    with tempfile.TemporaryDirectory() as folder:
        verbs = made(Path(folder))
        for place, (name, command) in enumerate(verbs.items()):
            shares = rng.uniform(0.02, 0.95, given.rounds)
            if given.only not in name or (name in found and not given.again):
                continue
            found[name] = []
            whole = lasts(command(Path(folder, f"out{place}")))
            for turn, after in enumerate((whole * shares).tolist()):
                number = list(SIGNALS)[(turn + place) % len(SIGNALS)]
                found[name].append(struck(command(Path(folder, f"out{turn}{place}")), number, after))
                print(name, json.dumps(found[name][-1]), flush=True)
            tell(found, given.out)
    wrong = tell(found, given.out)["wrong"]
    sys.exit(1 if wrong else 0)


def _ended_by(one: dict[str, Any]) -> bool:
    """With its line and number; or by the signal itself, which the verb had ended before: Python was closing down."""
    number = signal.Signals[one["signal"]]
    return bool((one["status"], one["last"]) == (128 + number, SIGNALS[number]) or one["status"] == -number)


def tell(found: dict[str, list[dict[str, Any]]], out: Path | None) -> dict[str, Any]:
    """What came of all that were struck so far; written to a file where one is given."""
    each = [one for many in found.values() for one in many]
    wrong = [
        one for one in each
        if one["left"] or one["traceback"] or not (one["already"] or _ended_by(one))
    ]  # fmt: skip
    told = {
        "slowest": max(one["seconds"] for one in each), "struck": len(each),
        "struck_at_work": sum(not one["already"] for one in each), "wrong": wrong, "verbs": found,
    }  # fmt: skip
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{len(each)} struck, {len(wrong)} wrong, slowest {told['slowest']} s", flush=True)
    return told


if __name__ == "__main__":
    main()
