"""A watched folder: what stands still comes in once, what does not waits, links are left."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text

from leukoscope.service.demo import DEMO_PASSWORD, furnish
from leukoscope.service.watch import Watch, watcher
from workbench_client import picture

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_pictures_that_stand_still_come_in_once(guest, tmp_path) -> None:
    bench, folder = guest.bench, tmp_path / "microscope"
    (folder / "order 7").mkdir(parents=True)
    watch, person = Watch(bench, folder, lambda: None), watcher(bench)
    path = folder / "order 7" / "a.png"
    path.write_bytes(picture((250, 60, 120))[:100])
    assert watch.look_once(person) == 0
    path.write_bytes(picture((250, 60, 120)))  # it was still being written
    os.utime(path, ns=(1, 1))
    assert watch.look_once(person) == 0
    assert watch.look_once(person) == 1
    assert watch.look_once(person) == 0
    (folder / "order 7" / "link.png").symlink_to("/etc/passwd")
    (folder / "order 7" / "bad.png").write_bytes(b"<html>")
    for _ in range(3):
        assert watch.look_once(person) == 0
    assert [name.name for name in watch.refused] == ["bad.png"]
    (case,) = guest.as_("viewer").get("/api/v1/cases").json()["cases"]
    assert (case["order_no"], case["pictures"]) == ("order 7", 1)
    assert watcher(bench).id == person.id
    assert guest.post("/api/v1/session", json={"login": "watched-folder", "password": "x" * 12}).status_code == 401


def test_a_demonstration_is_furnished_once(guest) -> None:
    said: list[str] = []
    furnish(guest.bench, said.append)
    furnish(guest.bench, said.append)
    assert DEMO_PASSWORD in said[1]
    answer = guest.post("/api/v1/session", json={"login": "anna", "password": DEMO_PASSWORD})
    assert answer.status_code == 200
    assert [case["pictures"] for case in guest.get("/api/v1/cases").json()["cases"]] == [3, 8, 24]
    with guest.bench.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM picture")) == 27
