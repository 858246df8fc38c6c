"""What happens when something breaks: a killed server, two writers, damaged pictures, altered rows, an old database."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import uuid
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import text

from leukoscope.cli import main
from leukoscope.errors import LeukoscopeError
from leukoscope.service.casework.review import NewReading, add_readings
from leukoscope.service.database.audit import verify_database
from leukoscope.service.database.migrate import current_revision, downgrade, upgrade
from leukoscope.service.database.tables import Base
from leukoscope.service.problems import Problem
from leukoscope.service.settings import ServiceSettings
from leukoscope.service.workbench import Workbench
from workbench_client import PASSWORD, answered, cells_of, key, picture, put, read_all, sign
from workbench_faults import begun, ended_by_itself, killed, looked_through, uploads

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_the_tables_are_those_of_the_code_up_and_down(bench) -> None:
    database = bench.database
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    downgrade(database, "base")
    assert current_revision(database) is None
    upgrade(database)
    with database.write() as connection:
        bench.chain.append(connection, "me", "x", "y", {})


def test_a_database_of_a_newer_version_is_refused(bench) -> None:
    with bench.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LeukoscopeError, match="newer version"):
        upgrade(bench.database)


@SQLITE
def test_a_second_server_on_the_same_folder_is_refused(bench, settings) -> None:
    with pytest.raises(LeukoscopeError, match="another workbench has this folder"):
        Workbench(settings)


def test_two_readers_write_at_once_and_lose_nothing(guest, make_case) -> None:
    case = make_case(6)
    bench = guest.bench
    people = [bench.accounts.make("tests", f"w{k}", "W", PASSWORD, ["reader"]) for k in range(2)]
    cells = [cell["id"] for cell in cells_of(guest.as_("viewer"), case)]
    stored: list[list[dict]] = [[], []]

    def write(number: int) -> None:
        for turn in range(60):
            new = NewReading(str(uuid.uuid4()), cells[turn % 6], "blast" if turn % 2 else "normal")
            stored[number] += add_readings(bench, people[number], case, [new])["stored"]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {each["event"]: each["seq"] for each in stored[0] + stored[1]}
    with bench.database.read() as connection:
        found = dict(connection.execute(text("SELECT id, seq FROM reading")).all())
    assert found == told
    assert len(set(told.values())) == 120
    assert verify_database(bench.database, bench.chain).sound


ALTERED = [
    ("UPDATE reading SET label = 'blast'", "reading of event"),
    ("UPDATE event SET body = replace(body, 'normal', 'blast') WHERE action = 'reading'", "was altered"),
    ("DELETE FROM event WHERE seq = 5", "event 5 is missing"),
    ("DELETE FROM reading WHERE seq = (SELECT max(seq) FROM reading)", "is missing"),
    ("UPDATE signature SET content = '{}'", "was altered"),
    ("UPDATE reading SET seen = 1 - seen", "seen"),
]


@pytest.mark.parametrize(("statement", "fault"), ALTERED)
@SQLITE
def test_whoever_takes_the_triggers_away_is_found_out(guest, make_case, statement, fault) -> None:
    case = make_case(2)
    signer = guest.as_("signer")
    read_all(signer, case)
    assert sign(signer, case).status_code == 201
    bench = guest.bench
    assert verify_database(bench.database, bench.chain).sound
    with bench.database.write() as connection:
        for name in connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(statement))
    verdict = verify_database(bench.database, bench.chain)
    assert not verdict.sound
    assert any(fault in each for each in verdict.faults), verdict.faults


@SQLITE
def test_a_chain_cut_short_is_found_by_an_anchor_alone(guest, make_case) -> None:
    case = make_case(1)
    signer = guest.as_("signer")
    read_all(signer, case)
    head = sign(signer, case).json()["head"]
    bench = guest.bench
    with bench.database.write() as connection:
        for name in connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("DELETE FROM signature"))
        connection.execute(text("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)"))
    assert verify_database(bench.database, bench.chain).sound  # nothing inside tells
    assert not verify_database(bench.database, bench.chain, [head]).sound


def test_backup_verify_and_restore_need_no_server(guest, make_case, settings, tmp_path, new_database) -> None:
    case = make_case(2)
    signer = guest.as_("signer")
    read_all(signer, case)
    head = sign(signer, case).json()["head"]
    where = [] if settings.database is None else ["--database", settings.database]

    def run(act: str, data: Path, *more: str):
        return CliRunner().invoke(main, ["serve", act, "--data", str(data), *more], standalone_mode=False)

    copy = tmp_path / "copy"
    done = run("backup", settings.data, *where, str(copy))  # the server goes on meanwhile
    assert done.exception is None, done.output
    assert isinstance(run("backup", settings.data, *where, str(copy)).exception, LeukoscopeError)
    sound = run("verify", copy, "--anchor", head)  # of either database, a backup is a workbench with SQLite
    assert sound.return_value == 0, sound.output
    assert "sound" in sound.output
    assert run("verify", copy, "--anchor", "ab" * 32).return_value == 1
    assert "end it first" in str(run("restore", settings.data, *where, str(copy)).exception)
    if where:
        assert "not empty" in str(run("restore", tmp_path / "full", *where, str(copy)).exception)
        where = ["--database", new_database()]
    back = run("restore", tmp_path / "new", *where, str(copy))
    assert back.exception is None, back.output
    again = ServiceSettings(data=tmp_path / "new", database=where[-1] if where else None, bundle=settings.bundle)
    old = Workbench(again)
    try:
        assert verify_database(old.database, old.chain, [head]).sound
        with old.database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM signature")) == 1
        with pytest.raises(Problem, match="signed"), old.database.write() as connection:  # its rules came too
            connection.execute(text("UPDATE case_ SET state = 'open'"))
        assert sum(1 for _ in old.store.digests()) == 2
    finally:
        old.close()
    (copy / "workbench.sqlite").write_bytes((copy / "workbench.sqlite").read_bytes().replace(b"normal", b"normaI"))
    assert "does not verify" in str(run("restore", tmp_path / "other", str(copy)).exception)


@SQLITE
def test_a_bundle_that_vanished_lets_pictures_wait_and_says_so(guest, make_case, settings) -> None:
    case = make_case(1)
    maker = guest.as_("reader", login="maker")
    away = settings.bundle.with_name("away")
    settings.bundle.rename(away)
    assert put(maker, case, picture((200, 60, 120))).status_code == 201
    until = time.monotonic() + 30
    while (told := maker.get("/api/v1/ready")).status_code == 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert told.status_code == 503
    assert "vanished" in told.json()["detail"]
    assert maker.get(f"/api/v1/cases/{case}").json()["waiting"] == 1
    away.rename(settings.bundle)
    answered(maker, case)
    assert maker.get(f"/api/v1/cases/{case}").json()["cells"] == 2


@SQLITE
def test_a_full_disk_is_said_and_stores_nothing(guest, make_case, monkeypatch) -> None:
    case = make_case(1)
    maker = guest.as_("reader", login="maker")
    monkeypatch.setattr(guest.bench.store, "_reserve", 1.0)
    answer = put(maker, case, picture((200, 60, 120)))
    assert answer.status_code == 507
    assert answer.json()["remedy"]
    assert not list(guest.bench.store.incoming.iterdir())
    assert maker.get(f"/api/v1/cases/{case}").json()["pictures"] == 1


@SQLITE
def test_a_clock_that_goes_back_changes_no_order(guest, make_case, monkeypatch) -> None:
    case = make_case(1)
    reader = guest.as_("reader")
    cell = cells_of(reader, case)[0]["id"]
    assert key(reader, case, cell, "blast").status_code == 200
    monkeypatch.setattr("leukoscope.service.database.chain.utc_now", lambda: "2001-01-01T00:00:00.000Z")
    assert key(reader, case, cell, "normal").status_code == 200
    assert cells_of(reader, case)[0]["label"] == "normal"  # the order is that of the events, not of the clock
    assert verify_database(guest.bench.database, guest.bench.chain).sound


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_kills_at_random_moments(tmp_path: Path) -> None:
    found = killed(tmp_path, int(os.environ.get("LEUKOSCOPE_KILLS", "4")), seed=1)  # asserts that nothing is lost
    assert found["pictures"]
    assert found["readings"]
    done = CliRunner().invoke(main, ["serve", "verify", "--data", str(tmp_path / "workbench")], standalone_mode=False)
    assert done.return_value == 0, done.output


_HEARS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background is deaf to it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from leukoscope.cli import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_a_signal_ends_a_server_at_work_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """To it and to all its processes at once, as a terminal or whoever ends a service sends it."""
    server = begun(tmp_path)
    case = server.ask("POST", "/cases", {"order_no": "1", "subject": "P"})[1]["id"]
    server.kill()
    command = [sys.executable, "-c", _HEARS, *server.command[3:]]
    pictures: set[str] = set()
    for number, told in (
        (signal.SIGHUP, "ended by SIGHUP"), (signal.SIGTERM, "ended by SIGTERM"), (signal.SIGINT, "interrupted"),
    ):  # fmt: skip
        with tempfile.TemporaryFile("w+") as words:
            server.start(command, words)
            for _ in range(8):  # it answers for them when it is ended
                data = picture((250, len(pictures), 90))
                digest = sha256(data).hexdigest()
                assert server.ask("PUT", f"/cases/{case}/pictures/{digest}", data)[0] == 201
                pictures.add(digest)
            os.killpg(server.process.pid, number)
            assert server.process.wait(60) == 128 + number
            ended_by_itself(server.process.pid)
            words.seek(0)
            assert words.read().strip() == told
        server.ended()
    server.start()
    until = time.monotonic() + 120
    while server.ask("GET", f"/cases/{case}")[1]["waiting"] and time.monotonic() < until:
        time.sleep(0.1)
    server.kill()
    looked_through(tmp_path / "workbench", pictures, {})  # asserts that each was answered once
    with closing(sqlite3.connect(tmp_path / "workbench" / "workbench.sqlite")) as rows:
        assert not rows.execute("SELECT error FROM run_ WHERE error IS NOT NULL").fetchall()


def test_altered_uploads_are_refused_or_answered() -> None:
    found = uploads(60)  # asserts that none is answered by 5xx, and that the server is ready after them
    assert set(found["answers"]) <= {"200", "201", "422"}
    assert found["answers"]["422"] > 10
