"""Every verb that writes, stopped at every step: killed, without power, without space, without memory.

    python benchmarks/crashes.py [--only WORD...] [--every 1] [--out docs/figures/crashes.json]

The rows are those of tests/faults/verbs.py. Each verb runs once while the disk is taken down at each of its steps;
every disk that a kill or a power cut may leave is looked at, and from every one that differs the command runs again
and must end as undisturbed. Then each step fails for want of space, alone (`fail`) and with all after it (`full`);
files cannot grow beyond a length (`short`, eight lengths); and Python gets no memory from some allocation on
(`nomemory`, eight places). What was found is written after each verb, and a verb that is in the file is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from faults.layer import TAKES_NONE
from faults.strikes import Struck
from faults.verbs import WRITERS, Place, zygote_in

LENGTHS = (0, 1, 100, 1000, 4096, 20_000, 100_000, 1_000_000)
ALLOCATIONS = (1000, 5000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)


def crash(name: str, place: Place, kept: Path, every: int) -> dict[str, Any]:
    """All ways of one verb: what was tried, and what stood between old and new or did not end as undisturbed."""
    struck = Struck.watched(WRITERS[name], place, kept)
    faults: list[str] = []
    for number, state in enumerate(list(struck.states)):
        one = replace(struck, states=[state])
        chosen = [state] if number % every == 0 else []
        _tried(lambda one=one, chosen=chosen: one.look(lambda _: chosen), faults)
    ways = [("fail", at) for at in range(1, len(struck.steps) + 1, every)]
    ways += [("full", at) for _, at in ways if struck.steps[at - 1].split()[0] not in TAKES_NONE]  # else as the next
    ways += [("short", at) for at in LENGTHS[::every]] + [("nomemory", at) for at in ALLOCATIONS[::every]]
    for mode, at in ways:
        _tried(lambda mode=mode, at=at: struck.fail(mode, at), faults)
    return {"steps": len(struck.steps), "every": every, **struck.tried, "faults": faults}


def _tried(what: Any, faults: list[str]) -> None:
    try:
        what()
    except AssertionError as error:
        faults.append(str(error)[:2000])
        print(f"  FAULT {faults[-1][:400]}", flush=True)


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="Rows that begin with one of these words.")
    parser.add_argument("--every", type=int, default=1, help="Strike at each Nth step only.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.out is not None and given.out.exists():
        found = json.loads(given.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with zygote_in(home / "cache", dict(os.environ)) as zygote:
            place = Place(home, zygote)
            for number, name in enumerate(WRITERS):
                if name in found or not name.startswith(tuple(given.only)):
                    continue
                (home / f"kept{number}").mkdir()
                try:
                    found[name] = crash(name, place, home / f"kept{number}", given.every)
                except AssertionError as error:
                    print(f"{name}: CANNOT BE RUN: {str(error)[:600]}", flush=True)
                    continue
                print(f"{name}: {json.dumps({k: v for k, v in found[name].items() if k != 'faults'})}", flush=True)
                if given.out is not None:
                    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if any(each["faults"] for each in found.values()) or set(found) != set(WRITERS) else 0)


if __name__ == "__main__":
    main()
