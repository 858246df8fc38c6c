"""What comes wrong, against a real server: a clear answer, and nothing lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import time
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bundle_factory import make_bundle
from workbench_client import PASSWORD, Served, picture


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    server = Served(place / "workbench", make_bundle(place / "bundle"))
    first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": ["signer"]}
    assert server.ask("POST", "/first", first)[0] == 200
    yield server
    server.kill()


def new_case(server: Served) -> str:
    return str(server.ask("POST", "/cases", {"order_no": "1", "subject": "P"})[1]["id"])


def send(server: Served, case: str, data: bytes, name: str = "cell.png") -> tuple[int, dict]:
    return server.ask("PUT", f"/cases/{case}/pictures/{sha256(data).hexdigest()}?name={name}", data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HUGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10_100, 10_000, 8, 2, 0, 0, 0))
REFUSED = {
    "0 bytes": b"", "HTML": b"<!doctype html><script>alert(1)</script>", "SVG": b"<svg xmlns='x' onload='alert(1)'/>",
    "ZIP": b"PK\x03\x04" + bytes(100), "gzip": b"\x1f\x8b\x08" + bytes(100), "101 MP": HUGE,
    "a part": picture((9, 8, 7))[:200],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_with_its_reason(served: Served, name: str) -> None:
    case = new_case(served)
    status, told = send(served, case, REFUSED[name], "cell.png")
    assert status == 422
    assert told["detail"]
    assert served.ask("GET", f"/cases/{case}")[1]["pictures"] == 0


def test_a_file_of_65_mb_is_refused_before_it_is_sent(served: Served) -> None:
    case = new_case(served)
    line = HTTPConnection("127.0.0.1", served.port, timeout=30)
    line.putrequest("PUT", f"/api/v1/cases/{case}/pictures/{'ab' * 32}")
    for header in (("content-type", "image/png"), ("content-length", str(65 << 20)), ("cookie", served.cookie)):
        line.putheader(*header)
    line.endheaders()
    assert line.getresponse().status == 413
    line.close()


def test_pictures_of_one_name_are_two_and_of_another_digest_none(served: Served) -> None:
    case = new_case(served)
    one, two = picture((200, 1, 2)), picture((200, 1, 3))
    assert [send(served, case, data, "same.png")[1]["number"] for data in (one, two)] == [1, 2]
    assert served.ask("PUT", f"/cases/{case}/pictures/{sha256(one).hexdigest()}", one)[0] == 200
    assert served.ask("PUT", f"/cases/{case}/pictures/{'ab' * 32}", one)[0] == 409
    assert len(served.ask("GET", f"/cases/{case}/pictures")[1]["pictures"]) == 2


def test_many_files_dropped_at_once_are_all_taken(served: Served) -> None:
    case = new_case(served)
    pictures = [picture((100, number, 50)) for number in range(96)]
    with ThreadPoolExecutor(48) as pool:
        found = list(pool.map(lambda data: send(served, case, data), pictures))
    assert {status for status, _ in found} == {201}
    assert sorted(told["number"] for _, told in found) == list(range(1, 97))


def test_two_tabs_of_one_reader_see_each_other_and_lose_nothing(served: Served) -> None:
    case = new_case(served)
    assert send(served, case, picture((240, 60, 120)))[0] == 201
    while not (cells := served.ask("GET", f"/cases/{case}/cells")[1]["cells"]):
        time.sleep(0.05)
    path, sent = f"/cases/{case}/readings", []
    for turn in range(6):
        one = {"event": str(uuid.uuid4()), "cell": cells[0]["id"], "label": ("blast", "normal")[turn % 2]}
        sent.append(one["event"])
        before = served.ask("GET", f"{path}?after=0")[1]["acts"]  # the other tab looks
        assert [act["event"] for act in before] == sent[:-1]
        assert served.ask("POST", path, {"readings": [one]})[0] == 200
        assert served.ask("POST", path, {"readings": [one]})[0] == 200  # and sends what was sent
    assert served.ask("GET", f"/cases/{case}/cells")[1]["cells"][0]["label"] == "normal"


def test_a_request_with_a_key_is_done_once(served: Served) -> None:
    def post(path: str, body: dict, key: str) -> tuple[int, dict]:
        return served.ask("POST", path, body, {"idempotency-key": key})

    body, key = {"order_no": "key", "subject": "P key"}, str(uuid.uuid4())
    status, first = post("/cases", body, key)
    assert (status, post("/cases", body, key)) == (201, (201, first))
    assert post("/cases", body | {"subject": "Q"}, key)[0] == 422
    assert post("/cases", body, str(uuid.uuid4()))[1]["id"] != first["id"]
    assert post("/cases", body, "short")[0] == 422
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: post("/cases", body, "0123456789"), range(8)))
    made = {told["id"] for status, told in again if status == 201}
    assert len(made) == 1
    assert {status for status, _ in again} <= {201, 409}


def started(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_second_server_a_newer_database_and_a_missing_key_are_said_at_the_start(tmp_path: Path) -> None:
    server = Served(tmp_path / "workbench", make_bundle(tmp_path / "bundle"))
    second = started(*server.command[:-1], str(server.port + 1))
    server.kill()
    assert second.returncode == 2
    assert "another workbench has this folder" in second.stderr
    rows = sqlite3.connect(tmp_path / "workbench" / "workbench.sqlite")
    (known,) = rows.execute("SELECT version_num FROM alembic_version").fetchone()
    rows.execute("UPDATE alembic_version SET version_num = '9999'")
    rows.commit()
    newer = started(*server.command)
    assert newer.returncode == 2
    assert "newer version" in newer.stderr
    rows.execute("UPDATE alembic_version SET version_num = ?", (known,))
    rows.commit()
    rows.close()
    (tmp_path / "workbench" / "chain.key").write_text("no key")
    assert "key of the chain" in started(*server.command).stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() or started(mount, "-t", "tmpfs", "-o", "size=8m", "none", str(place)).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    started("umount", str(place))


def test_a_disk_that_is_full_loses_nothing_and_is_used_again_when_it_has_room(small_disk: Path, tmp_path: Path) -> None:
    server = Served(small_disk / "workbench", make_bundle(tmp_path / "bundle"))
    try:
        first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": ["signer"]}
        assert server.ask("POST", "/first", first)[0] == 200
        case = new_case(server)
        assert send(server, case, picture((240, 60, 120)))[0] == 201
        while not (cells := server.ask("GET", f"/cases/{case}/cells")[1]["cells"]):
            time.sleep(0.05)
        ballast = small_disk / "ballast"
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(bytes(free))
        status, told = send(server, case, picture((240, 60, 121)))
        assert (status, bool(told["remedy"])) == (507, True)
        one = {"event": str(uuid.uuid4()), "cell": cells[0]["id"], "label": "blast"}
        codes = {server.ask("POST", f"/cases/{case}/readings", {"readings": [one]})[0] for _ in range(3)}
        assert codes <= {200, 503, 507}  # what still fits into the file of the database is stored
        ballast.unlink()
        assert server.ask("POST", f"/cases/{case}/readings", {"readings": [one]})[0] == 200
        assert send(server, case, picture((240, 60, 121)))[0] == 201
        assert server.ask("GET", f"/cases/{case}")[1]["pictures"] == 2
    finally:
        server.kill()
