"""Small work of several threads, done at once by one of them: pictures that come at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from leukoscope.child import ChildEndedError
from leukoscope.errors import PictureError
from leukoscope.service.answers import Looked
from leukoscope.service.casework.intake import _Arrived, _look_at, _record
from leukoscope.service.casework.together import Together
from leukoscope.service.database.audit import verify_database
from workbench_client import PASSWORD, read_all, sign


def test_what_gathers_while_one_works_is_done_at_once_and_each_gets_its_own() -> None:
    together: Together[int, int] = Together(3)
    parts: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(given: Sequence[int]) -> list[int | Exception]:
        parts.append(list(given))
        begun.set()
        assert go_on.wait(30)
        return [ValueError(each) if each == 4 else 10 * each for each in given]

    def done(number: int) -> int | str:
        try:
            return together.do(number, work)
        except ValueError as error:
            return f"not {error}"

    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(done, 0)
        assert begun.wait(30)
        others = [pool.submit(done, number) for number in range(1, 6)]
        until = time.monotonic() + 30
        while len(together._waiting) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        go_on.set()
        assert first.result(30) == 0
        assert [each.result(30) for each in others] == [10, 20, 30, "not 4", 50]
    assert [len(part) for part in parts] == [1, 3, 2]


def test_what_goes_wrong_with_all_is_told_to_each() -> None:
    def work(given: Sequence[int]) -> list[int | Exception]:
        raise OSError(f"{len(given)} lost")

    together: Together[int, int] = Together(2)
    for _ in range(2):  # and the next one is done all the same
        with pytest.raises(OSError, match="1 lost"):
            together.do(1, work)


SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@SQLITE
def test_a_picture_that_ends_the_process_which_looks_costs_the_others_nothing(bench, monkeypatch) -> None:
    asked: list[list[str]] = []

    class Decoder:
        def call(self, look: object, paths: list[str], pixels: int) -> list[Looked | PictureError]:
            asked.append(paths)
            if "killer" in paths:
                raise ChildEndedError("ended")
            return [PictureError("is damaged") if path == "bad" else Looked("image/png", 3, 2) for path in paths]

    monkeypatch.setattr(bench, "decoder", Decoder())
    found = _look_at(bench, [("good", 9), ("killer", 9), ("bad", 9)])
    assert found[0] == Looked("image/png", 3, 2)
    assert [each.status for each in found[1:]] == [422, 422]
    assert "ended" in found[1].what
    assert asked == [["good", "killer", "bad"], ["good"], ["killer"], ["bad"]]
    _look_at(bench, [("large", 5 << 20), ("good", 9)])
    assert asked[4:] == [["large"], ["good"]]  # nobody waits for others' large pictures


@SQLITE
def test_pictures_that_come_together_are_entered_each_for_itself(guest, make_case) -> None:
    bench, signer = guest.bench, guest.as_("signer")
    cases = [make_case(1, shade=shade) for shade in (10, 20)]
    read_all(signer, cases[1])
    assert sign(signer, cases[1]).status_code == 201
    by = bench.accounts.make("tests", "x", "X", PASSWORD, ["reader"]).id
    digests = [sha256(bytes([number])).hexdigest() for number in range(4)]
    for digest in digests[:3]:
        bench.store.path(digest).parent.mkdir(parents=True)
        bench.store.path(digest).touch()

    def arrived(case: str, digest: str) -> _Arrived:
        return _Arrived(by, case, digest, "a.png", 5, Looked("image/png", 3, 2), "upload")

    first, signed = cases
    given = [(first, 0), (signed, 1), (first, 0), (first, 2), (first, 3)]
    found = _record(bench, [arrived(case, digests[number]) for case, number in given])
    assert [each[0] if isinstance(each, tuple) else each.status for each in found] == [True, 409, False, True, 503]
    assert [found[place][1]["number"] for place in (0, 2, 3)] == [2, 2, 3]
    assert guest.as_("viewer").get(f"/api/v1/cases/{first}").json()["pictures"] == 3
    assert verify_database(bench.database, bench.chain).sound
