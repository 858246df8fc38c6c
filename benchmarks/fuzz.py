"""Ten thousand damaged files: each is read or refused in one clear line, in bounded time and memory.

    python benchmarks/fuzz.py [--files 10000] [--seed 0] [--kinds png tiff ...] [--large]

Sound files are altered by a seed: bytes changed, words of a header set to extreme values, parts cut off or doubled,
numbers and names of a text replaced; half of those with checksums are given right ones again, or nothing behind the
checksum would be reached. A process with a bound on its memory reads them; a file that crashes it, takes longer than
five seconds, ends in any error but our own or makes anything write to the terminal is a fault, and is counted with its
number, from which it can be made again. What ran into the bound on memory and said so is counted apart.

Kinds: bmp, png, jpeg, tiff, webp (with --large of 450 px, of crops and of a field); bundle, graph, recipe, table,
lines, checkpoint, summary, archive, list, review and readings. Figures are in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _fuzz_files import FILES
from _fuzz_pictures import PICTURES, Kind
from leukoscope.errors import LeukoscopeError
from leukoscope.text import printable

KINDS: dict[str, Kind] = PICTURES | FILES
LONGEST = 5.0  # seconds for one file
MOST_MEMORY = 1 << 30  # bytes of address space beyond what the process has once it is ready
FINE = ("read", "refused", "refused for memory")


def outcome_of(kind: Kind, data: bytes, folder: Path) -> str:
    """What reading a file ends in."""
    try:
        kind.read(data, folder)
    except LeukoscopeError as error:
        line = printable(str(error))  # as the command line shows it
        if len(line) > 2000 or (kind in PICTURES.values() and not (line.isprintable() and error.remedy)):
            return "no clear line"
        return "refused for memory" if "memory" in line else "refused"
    except BaseException as error:  # noqa: BLE001  (that is what is looked for)
        return type(error).__name__
    return "read"


def _work(pipe: Any, names: list[str], seed: int, large: bool, log: str) -> None:
    """Read files by their number until told to stop; all that is written to the terminal goes into a file."""
    kinds = [KINDS[name] for name in names]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sound = [kind.sound(large) for kind in kinds]
        for kind, files in zip(kinds, sound, strict=True):
            for data in files:
                kind.read(data, folder)  # each reader once, before memory is bounded
        with Path("/proc/self/statm").open() as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, now + MOST_MEMORY))
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        pipe.send("ready")
        while (number := pipe.recv()) is not None:
            at = number % len(kinds)
            data = kinds[at].altered(number, seed, sound[at])
            before, start, used = os.fstat(handle).st_size, time.perf_counter(), time.process_time()
            outcome = outcome_of(kinds[at], data, folder)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            sys.stdout.flush()
            sys.stderr.flush()
            if os.fstat(handle).st_size > before:
                outcome = "wrote to the terminal"
            pipe.send((outcome, seconds, used))


def fuzz(names: list[str], files: int, seed: int = 0, *, first: int = 0, large: bool = False) -> dict[str, Any]:
    """Read so many altered files, the kinds in turn; the counts, and every fault with its number."""
    context = mp.get_context("spawn")
    counts = {name: Counter[str]() for name in names}
    slowest = dict.fromkeys(names, (0.0, 0.0))
    faults: list[dict[str, Any]] = []
    process, pipe = None, None
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + files):
            if process is None or not process.is_alive():
                pipe, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, names, seed, large, f"{folder}/log"), daemon=True)
                process.start()
                theirs.close()
                pipe.recv()  # that it is ready
            assert pipe is not None
            try:
                pipe.send(number)
                # A busy machine shares its processors among many: the clock on the wall may go six times as far.
                ended = pipe.poll(6 * LONGEST)
                outcome, seconds, used = pipe.recv() if ended else ("hang", LONGEST, LONGEST)
            except (EOFError, OSError):
                outcome, seconds, used = "crash", 0.0, 0.0
            if outcome in {"hang", "crash"}:
                process.kill()
                process.join()
                process = None
            outcome = "hang" if used > LONGEST else outcome
            name = names[number % len(names)]
            counts[name][outcome] += 1
            slowest[name] = max(slowest[name], (used, seconds))
            if outcome not in FINE:
                faults.append({"number": number, "kind": name, "outcome": outcome})
        if process is not None:
            process.kill()
            process.join()
    return {
        "files": files, "seed": seed, "large": large, "faults": faults,
        "slowest_processor_and_wall_seconds": {name: [round(each, 3) for each in slowest[name]] for name in names},
        "by_kind": {name: dict(sorted(each.items())) for name, each in counts.items()},
    }  # fmt: skip


def main() -> None:
    """Run it and print the counts; exit 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--large", action="store_true", help="pictures of the size that they have in laboratories")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = fuzz(given.kinds, given.files, given.seed, first=given.first, large=given.large)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
