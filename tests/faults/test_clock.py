"""The clock goes back by a day: what was begun goes on, what was written is found, the chain of events is sound."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.cli import main
from leukoscope.files import recover
from leukoscope.inference.batch import JOURNAL

DAY = 86_400


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cells").mkdir()
    for number in range(4):
        Image.fromarray(disc((40 + 50 * number, 100, 90))).save(tmp_path / "cells" / f"{number}.png")
    command = ["predict", str(tmp_path / "cells"), "--bundle", str(make_bundle(tmp_path / "bundle")), "--format", "csv"]
    (tmp_path / "out").mkdir()
    # Ctrl-C when all are answered.
    monkeypatch.setattr("leukoscope.inference.batch.write_json", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is deaf to it
    with pytest.raises(click.Abort):
        main([*command, "--out", str(tmp_path / "out")], standalone_mode=False)
    signal.signal(signal.SIGINT, before)
    assert (tmp_path / "out" / JOURNAL).exists()
    monkeypatch.undo()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - DAY)
    monkeypatch.setattr(time, "time_ns", lambda: int((now - DAY) * 1e9))
    done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "(4 pictures of an earlier run)" in done.output


def test_the_newest_of_two_folders_that_stepped_aside_is_known_by_the_disk_alone(tmp_path: Path) -> None:
    """Two crashes without the one exchange, the second after the clock went back: one of them is put back, whole."""
    for name, age in (("aaaaaaaa", 0), ("bbbbbbbb", DAY)):
        old = tmp_path / f".run.{name}.old"
        old.mkdir()
        (old / "x").write_text(name)
        os.utime(old, (time.time() - age, time.time() - age))
    recover(tmp_path / "run")
    assert (tmp_path / "run" / "x").read_text() == "aaaaaaaa"


def test_the_chain_of_events_and_the_queue_do_not_trust_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from leukoscope.service import moments  # noqa: PLC0415
    from leukoscope.service.casework import jobs  # noqa: PLC0415
    from leukoscope.service.database.audit import verify_database  # noqa: PLC0415
    from leukoscope.service.settings import ServiceSettings  # noqa: PLC0415
    from leukoscope.service.workbench import Workbench  # noqa: PLC0415

    class Back(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) - timedelta(days=1)

    with closing(Workbench(ServiceSettings(data=tmp_path / "wb"))) as bench:

        def told(word: str) -> None:
            with bench.database.write() as connection:
                bench.chain.append(connection, "system", "bundle.known", word, {})

        told("first")
        jobs.add_job(bench.database, "adapt", "a", "system", {})
        assert [job.subject for job in jobs.claim_jobs(bench.database, ["adapt"], 1)] == ["a"]
        monkeypatch.setattr(moments, "datetime", Back)
        told("second")
        jobs.add_job(bench.database, "adapt", "b", "system", {})
        assert [job.subject for job in jobs.claim_jobs(bench.database, ["adapt"], 1)] == ["b"]
        assert jobs.claim_jobs(bench.database, ["adapt"], 1) == []  # what is claimed is not claimed twice
        assert verify_database(bench.database, bench.chain, []).sound
        jobs.free_claims(bench.database)  # as the next start does
        assert len(jobs.claim_jobs(bench.database, ["adapt"], 1)) == 1
