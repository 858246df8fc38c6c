"""The workbench when it is killed and when it is sent rubbish: what was acknowledged, what stays, what it takes.

Real servers on temporary folders, asked over HTTP, with the graph worked out by hand of the tests (the point is the
server, not the model).

`kills`: `kill -9` at random moments, while it takes pictures, answers and readings: of the server and its processes, or
of the server alone, whose processes must end by themselves. In the end every acknowledged reading and picture must be
there, every file have its row, every picture be answered once, and the chain verify. Twenty kills to a folder; with
`--kept FILE` folders that were done are not done again.

`uploads`: altered pictures, each sent as a browser sends it, all to one server. None may be answered by 5xx; memory of
all processes is read as they come.

`dropped`: so many files offered to the server at once, by more connections than it takes.

python benchmarks/workbench_faults.py kills --out docs/figures/workbench_faults.json [--turns 200] [--kept FILE]
python benchmarks/workbench_faults.py uploads --out docs/figures/workbench_faults.json [--turns 10000]
python benchmarks/workbench_faults.py dropped --out docs/figures/workbench_faults.json [--turns 10000]
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from _common import Needed, command_line, kept_rows, load_of_machine, write_part
from leukoscope.machine import describe_machine
from leukoscope.service.database.audit import verify_database
from leukoscope.service.database.chain import Chain, read_key
from leukoscope.service.database.engine import Database
from workbench import memory, work

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bundle_factory import disc, make_bundle
from workbench_client import PASSWORD, Served, picture

A_FOLDER = 20  # kills
ACTS, AFTER = 24, 0.1  # a server is killed after at most so many acknowledged acts, and so many seconds after the last


def begun(place: Path) -> Served:
    """A server with one signer, logged in."""
    server = Served(place / "workbench", make_bundle(place / "bundle"))
    first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": ["signer"]}
    assert server.ask("POST", "/first", first)[0] == 200
    return server


def killed(place: Path, turns: int, seed: int) -> dict[str, Any]:
    """Kill a server so many times; what was acknowledged and what is there."""
    rng = random.Random(seed)
    server = begun(place)
    case = server.ask("POST", "/cases", {"order_no": "1", "subject": "P"})[1]["id"]
    path = f"/cases/{case}"
    pictures: set[str] = set()
    readings: dict[str, int] = {}
    restarts: list[tuple[float, float]] = []
    moments: Counter[str] = Counter()
    made = alone = 0
    first = picture((251, 0, 0))
    assert server.ask("PUT", f"{path}/pictures/{sha256(first).hexdigest()}", first)[0] == 201
    pictures.add(sha256(first).hexdigest())
    until = time.monotonic() + 120
    while not server.ask("GET", f"{path}/cells?limit=1")[1]["cells"]:  # a slow machine is not killed before it can read
        assert time.monotonic() < until, "no picture was answered"
        time.sleep(0.05)
    for _ in range(turns):  # the loop goes by acts and not by time: a slow machine is killed in the same moments
        by_itself = rng.random() < 0.5
        timer = threading.Timer(rng.uniform(0, AFTER), server.kill, kwargs={"alone": by_itself})
        left, doing = rng.randrange(ACTS), "picture"  # 0: as it begins, when it puts right what the last kill left
        try:
            while True:
                if left <= 0 and not timer.ident:
                    timer.start()
                doing = "picture"
                made += 1
                data = picture((250, made % 256, made // 256))
                digest = sha256(data).hexdigest()
                if server.ask("PUT", f"{path}/pictures/{digest}", data)[0] == 201:
                    pictures.add(digest)
                    left -= 1
                doing = "reading"
                for cell in server.ask("GET", f"{path}/cells?limit=3")[1].get("cells", ()):
                    one = {"event": str(uuid.uuid4()), "cell": cell["id"], "label": rng.choice(("blast", "normal"))}
                    status, told = server.ask("POST", f"{path}/readings", {"readings": [one]})
                    if status == 200:
                        readings[one["event"]] = told["stored"][0]["seq"]
                        left -= 1
                    if left <= 0 and not timer.ident:
                        timer.start()
        except (OSError, ValueError):
            if not timer.ident:
                raise
            timer.join()
            moments[doing] += 1
            alone += by_itself
        group = server.process.pid
        if rng.random() < 0.15:  # and once more before it is ready
            server.process = subprocess.Popen(
                server.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
            )
            time.sleep(rng.uniform(0, 1.2))
            server.kill()
            moments["start"] += 1
        took = server.start()
        restarts.append((took, work(server)))
        ended_by_itself(group)
    until = time.monotonic() + 300
    while server.ask("GET", path)[1]["waiting"] and time.monotonic() < until:
        time.sleep(0.1)
    server.kill()
    found = looked_through(place / "workbench", pictures, readings)
    return found | {
        "pictures": len(pictures), "readings": len(readings), "restarts": restarts, "moments": moments, "alone": alone,
    }  # fmt: skip


def ended_by_itself(group: int) -> None:
    """Wait until no process is left of a server that was killed; asserts that it takes no longer than a minute."""
    until = time.monotonic() + 60
    while any(state != "Z" and of == str(group) for state, of in states()):
        assert time.monotonic() < until, "a process outlived its server"
        time.sleep(0.05)


def states() -> Iterator[tuple[str, str]]:
    """State and group of every process."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = file.read_text().rpartition(")")[2].split()[:3]
            yield state, group


def looked_through(data: Path, pictures: set[str], readings: dict[str, int]) -> dict[str, Any]:
    """What is there, against what was acknowledged; asserts that nothing is lost."""
    rows = sqlite3.connect(data / "workbench.sqlite")
    stored = dict(rows.execute("SELECT id, seq FROM reading"))
    known = {sha for (sha,) in rows.execute("SELECT sha256 FROM picture")}
    runs = {run for (run,) in rows.execute("SELECT id FROM run_")}
    undone = rows.execute("SELECT count(*) FROM job WHERE state <> 'done'").fetchone()[0]
    rows.close()
    kept = {path.name for path in (data / "store").glob("??/??/*")}
    drawn = {path.name[:36] for path in (data / "derived").glob("*/*")}
    database = Database(f"sqlite:///{data / 'workbench.sqlite'}")
    verdict = verify_database(database, Chain(read_key(data / "chain.key", create=False)))
    database.close()
    lost = len(readings.items() - stored.items()) + len(pictures - known)
    orphans = len(kept ^ known) + len(drawn - runs)
    assert (lost, orphans, undone, len(runs), verdict.faults) == (0, 0, 0, len(known), ())
    return {"lost": lost, "orphans": orphans, "events": verdict.events, "stored": len(stored), "known": len(known)}


def kills(turns: int, kept: Path | None = None) -> dict[str, Any]:
    """Kill servers, folder after folder."""

    def folder(seed: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            found = killed(Path(place), A_FOLDER, int(seed))
        return found | {"load": load_of_machine()}

    with tempfile.TemporaryDirectory() as nowhere:
        file = kept or Path(nowhere) / "kept.jsonl"
        found = list(kept_rows(file, "seed", map(str, range(-(-turns // A_FOLDER))), folder))
    took, worked = zip(*(each for part in found for each in part["restarts"]), strict=True)
    moments: Counter[str] = sum((Counter(part["moments"]) for part in found), Counter())

    def total(name: str) -> int:
        return sum(part[name] for part in found)

    return {
        "kills": sum(moments.values()), "while": dict(moments), "of_the_server_alone": total("alone"),
        "readings_acknowledged": total("readings"), "readings_stored": total("stored"),
        "pictures_acknowledged": total("pictures"), "pictures_stored": total("known"),
        "lost": total("lost"), "orphans": total("orphans"), "events": total("events"),
        "restart_s": {"median": round(float(np.median(took)), 2), "most": round(max(took), 2)},
        "restart_processor_s": {"median": round(float(np.median(worked)), 2), "most": round(max(worked), 2)},
        "loads": [round(part["load"][0], 1) for part in found],
    }  # fmt: skip


def seeds() -> list[bytes]:
    """A cell and a field-like picture in each format that is taken."""
    cell = Image.fromarray(disc((250, 60, 120)))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    made = []
    for each in (cell, noise):
        for kind, options in (("PNG", {}), ("BMP", {}), ("JPEG", {"progressive": True}), ("JPEG", {}),
                              ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {}), ("WEBP", {})):  # fmt: skip
            file = BytesIO()
            each.save(file, kind, **options)
            made.append(file.getvalue())
    return made


def altered(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out or put in; sometimes in the header, where sizes are."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not found:
            break
        reach = len(found) if rng.random() < 0.6 else min(len(found), 64)
        at = rng.randrange(reach)
        act = rng.randrange(4)
        if act == 0:
            found[at] = rng.randrange(256)
        elif act == 1:
            found[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\x40\0"))
        elif act == 2:
            del found[at : at + rng.randrange(1, 60)]
        else:
            found[at:at] = rng.randbytes(rng.randrange(1, 60))
    return bytes(found)


def uploads(turns: int) -> dict[str, Any]:
    """Send altered pictures by two connections."""
    place = Path(tempfile.mkdtemp())
    server = begun(place)
    codes: Counter[int] = Counter()
    held: list[float] = []
    faults: list[str] = []
    rng = random.Random(1)
    base = seeds()
    try:
        cases: dict[int, str] = {}

        def send(data: bytes) -> int:
            thread = threading.get_ident()
            if thread not in cases:
                cases[thread] = server.ask("POST", "/cases", {"order_no": "1", "subject": "P"})[1]["id"]
            status, told = server.ask("PUT", f"/cases/{cases[thread]}/pictures/{sha256(data).hexdigest()}", data)
            if status >= 500:
                faults.append(f"{status} {told} {data[:40].hex()}")
            return int(status)

        with ThreadPoolExecutor(2) as pool:
            for start in range(0, turns, 100):
                part = [altered(rng.choice(base), rng) for _ in range(min(100, turns - start))]
                codes.update(pool.map(send, part))
                held.append(memory(server)["resident"])
        waited = time.monotonic() + 600
        while time.monotonic() < waited and any(server.ask("GET", f"/cases/{c}")[1]["waiting"] for c in cases.values()):
            time.sleep(0.2)
        held.append(memory(server)["resident"])
        ready = server.ask("GET", "/ready")[0]
        failed = sum(server.ask("GET", f"/cases/{c}")[1]["failed"] for c in cases.values())
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)
    assert not faults, faults[:3]
    assert ready == 200
    return {
        "uploads": turns, "answers": {str(code): codes[code] for code in sorted(codes)}, "5xx": len(faults),
        "pictures_that_ended_the_process": failed,
        "resident_mb": {"after_100": held[0], "half_way": held[len(held) // 2], "end": held[-1], "most": max(held)},
    }  # fmt: skip


def dropped(turns: int) -> dict[str, Any]:
    """Offer so many files by 64 connections, and send again what was not taken."""
    place = Path(tempfile.mkdtemp())
    server = begun(place)
    codes: Counter[int] = Counter()
    try:
        case = server.ask("POST", "/cases", {"order_no": "1", "subject": "P"})[1]["id"]
        began = time.monotonic()

        def send(number: int) -> None:
            data = picture((number % 250 + 1, number // 250 % 250, number // 62500))
            for _ in range(100):
                status, _ = server.ask("PUT", f"/cases/{case}/pictures/{sha256(data).hexdigest()}", data)
                codes[status] += 1
                if status in (200, 201):
                    return
                time.sleep(0.5)
            raise AssertionError(status)

        with ThreadPoolExecutor(64) as pool:
            list(pool.map(send, range(turns)))
        took = time.monotonic() - began
        there = server.ask("GET", f"/cases/{case}")[1]["pictures"]
        most = memory(server)["resident"]
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)
    assert there == turns
    told = {str(code): codes[code] for code in sorted(codes)}
    return {"files": turns, "connections": 64, "answers": told, "s": round(took, 1), "resident_mb": most}


def main() -> None:
    """Do one part, and write its figures."""
    parts: dict[str, tuple[Callable[..., dict[str, Any]], int]] = {
        "kills": (kills, 200), "uploads": (uploads, 10_000), "dropped": (dropped, 10_000),
    }  # fmt: skip
    parser = command_line(__doc__, out=Needed(), turns=int, kept=Path)
    parser.add_argument("part", choices=parts)
    given = parser.parse_args()
    act, turns = parts[given.part]
    more = {"kept": given.kept} if given.part == "kills" else {}
    load = load_of_machine()
    found = act(given.turns or turns, **more)
    write_part(given.out, given.part, {"machine": describe_machine(), "load": load, **found})
    print(given.out.read_text())


if __name__ == "__main__":
    main()
