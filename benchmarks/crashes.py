"""Every verb that writes, stopped at every step: killed, without power, without space, without memory.

    python benchmarks/crashes.py [--only WORD...] [--again] [--seconds 300] [--out docs/figures/crashes.json]

The rows are those of tests/faults/verbs.py. Each verb runs once while the disk is taken down at each of its steps, and
every disk that a kill or a power cut may leave is looked at. A step's site is the kind of file and the lines of our own
code that led there; steps are struck by it: of each site the first, the one in the middle and the last. From the disks
before those steps and from the last one the command runs again and must end as undisturbed; each of them fails for want
of space, alone (`fail`) and with all after it (`full`). Besides, files cannot grow beyond a length (`short`, eight
lengths), and Python gets no memory from some allocation on (`nomemory`, eight places). A command that takes longer than
`--seconds` by the clock is a fault, told with where its threads stood.

What was found is written after each verb, and a verb that is in the file is not run again, but with `--again`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from faults.layer import TAKES_NONE
from faults.strikes import Struck
from faults.verbs import WRITERS, Place, zygote_in
from leukoscope.files import write_json

LENGTHS = (0, 1, 100, 1000, 4096, 20_000, 100_000, 1_000_000)
ALLOCATIONS = (1000, 5000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)


def chosen(sites: Sequence[str]) -> list[int]:
    """Of each site the first, the middle and the last step, counted from 1."""
    steps = defaultdict(list)
    for number, site in enumerate(sites, 1):
        steps[site].append(number)
    return sorted({each[place] for each in steps.values() for place in (0, len(each) // 2, -1)})


def crash(name: str, place: Place, kept: Path) -> dict[str, Any]:
    """All ways of one verb: what was tried, and what stood between old and new or did not end as undisturbed."""
    began = time.process_time() + place.zygote.used()
    struck = Struck.watched(WRITERS[name], place, kept)
    faults: list[str] = []
    steps = chosen(struck.sites)
    before = {number - 1 for number in steps} | {len(struck.steps)}
    for state in list(struck.states):
        _tried(lambda state=state: struck.look([state], again=int(state.name[:4]) in before), faults)
    ways = [("fail", at) for at in steps]
    ways += [("full", at) for at in steps if struck.steps[at - 1].split()[0] not in TAKES_NONE]  # else as the next
    ways += [("short", at) for at in LENGTHS] + [("nomemory", at) for at in ALLOCATIONS]
    for mode, at in ways:
        _tried(lambda mode=mode, at=at: struck.fail(mode, at), faults)
    return {
        "steps": len(struck.steps), "sites": len(set(struck.sites)), "steps struck": len(steps), **struck.tried,
        "processor seconds": round(time.process_time() + place.zygote.used() - began, 1), "faults": faults,
    }  # fmt: skip


def _tried(what: Any, faults: list[str]) -> None:
    try:
        what()
    except AssertionError as error:
        faults.append(str(error)[:4000])
        print(f"  FAULT {faults[-1][:4000]}", flush=True)


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="Rows that begin with one of these words.")
    parser.add_argument("--again", action="store_true", help="Run rows that are in the file already again.")
    parser.add_argument("--seconds", type=float, default=300, help="By the clock, for one command.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.out is not None and given.out.exists():
        found = json.loads(given.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with zygote_in(home / "cache", dict(os.environ), given.seconds) as zygote:
            place = Place(home, zygote)
            for number, name in enumerate(WRITERS):
                if (name in found and not given.again) or not name.startswith(tuple(given.only)):
                    continue
                (home / f"kept{number}").mkdir()
                try:
                    found[name] = crash(name, place, home / f"kept{number}")
                except AssertionError as error:
                    print(f"{name}: CANNOT BE RUN: {str(error)[:600]}", flush=True)
                    continue
                print(f"{name}: {json.dumps({k: v for k, v in found[name].items() if k != 'faults'})}", flush=True)
                if given.out is not None:
                    write_json(given.out, {each: found[each] for each in WRITERS if each in found})
    sys.exit(1 if any(each["faults"] for each in found.values()) or set(found) != set(WRITERS) else 0)


if __name__ == "__main__":
    main()
