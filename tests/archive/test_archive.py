"""Archives: the same rows as one process gives, whatever was killed meanwhile; and what is damaged is told."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.archive.collect import collect, state_of
from leukoscope.archive.engines import run_archive
from leukoscope.archive.part import run_part
from leukoscope.archive.plan import Archive, plan
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.classifier import load
from leukoscope.inference.schemas import row_facts
from leukoscope.inference.writers import flat

COLOURS = [(200, 30, 90), (10, 250, 10), (90, 20, 160), (30, 30, 200), (250, 200, 10)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("archive") / "bundle")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, colour in enumerate(COLOURS):
        Image.fromarray(disc(colour)).save(folder / f"real-{number}.png")
    for number in range(60):
        (folder / f"{number:03d}.png").symlink_to(folder / f"real-{number % len(COLOURS)}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def archive(bundle: Path, pictures: Path, tmp_path: Path) -> Archive:
    return planned(bundle, pictures, tmp_path / "archive")


def planned(bundle: Path, pictures: Path, out: Path, part_size: int = 7) -> Archive:
    items = [(str(path), path) for path in sorted(pictures.glob("*.png"))]
    gone = PictureError("cannot be found", path="gone.png", remedy="check the path")
    return plan([*items, ("gone.png", gone)], out, bundle=bundle, part_size=part_size)


def expected(bundle: Path, archive: Archive) -> list[dict[str, object]]:
    """The rows that one process gives, without times."""
    items = [item for number in range(archive.planned.parts) for _, item in archive.pictures(number)]
    classifier = load(bundle, threads=1)
    made = row_facts(classifier.bundle)
    rows = [answer.to_json() | made for answer in classifier.predict_many(items, fields=True)]
    return [{name: value for name, value in row.items() if name != "ms"} for row in rows]


def told(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def leukoscope(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leukoscope", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_parts_hold_each_picture_once_in_order(archive: Archive, pictures: Path) -> None:
    found = [path for number in range(archive.planned.parts) for path, _ in archive.pictures(number)]
    assert found == [*(str(path) for path in sorted(pictures.glob("*.png"))), "gone.png"]
    assert archive.planned.parts == 10
    assert {len(archive.pictures(number)) for number in range(9)} == {7}


def test_large_files_fill_a_part_sooner(bundle: Path, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(bytes(400_000))
    items = [(str(path), path) for path in sorted(tmp_path.glob("*.png"))]
    assert plan(items, tmp_path / "out", bundle=bundle, part_size=10).planned.parts == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_collected_rows_are_those_of_one_process(
    archive: Archive, bundle: Path, tmp_path: Path, workers: int
) -> None:
    assert run_archive(archive, workers=workers) == []
    state = collect(archive, tmp_path / "rows.jsonl")
    assert told(tmp_path / "rows.jsonl") == expected(bundle, archive)
    assert (state.missing, state.pictures, state.rows) == ((), 67, 67)
    assert state.decisions["unreadable"] == 2
    assert run_archive(archive) == []  # nothing is left to do


def test_a_part_is_answered_once(archive: Archive) -> None:
    assert run_part(str(archive.folder), 3) == ("done", 7)
    before = archive.rows(3).stat().st_mtime_ns
    assert run_part(str(archive.folder), 3) == ("there", 7)
    assert archive.rows(3).stat().st_mtime_ns == before


@pytest.mark.parametrize("hurt", ["cut", "bit", "tail", "empty"])
def test_a_damaged_part_is_missing_and_done_again(archive: Archive, tmp_path: Path, hurt: str) -> None:
    run_archive(archive, workers=1)
    collect(archive, tmp_path / "whole.jsonl")
    path = archive.rows(2)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[40] ^= 1
    path.write_bytes({"cut": content[:-30], "bit": bytes(flipped), "tail": content + b"{}\n", "empty": b""}[hurt])
    assert state_of(archive).missing == (2,)
    with pytest.raises(LeukoscopeError, match=r"1 of 10 parts have no rows yet; run `leukoscope archive run` again"):
        collect(archive, tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()
    collect(archive, tmp_path / "part.jsonl", partial=True)
    assert len(told(tmp_path / "part.jsonl")) == 60
    run_archive(archive, workers=1)
    collect(archive, tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_rows_of_another_bundle_are_refused(archive: Archive, pictures: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", decision={"threshold": 0.25})
    strange = planned(other, pictures, tmp_path / "strange")
    run_part(str(strange.folder), 0)
    archive.rows(0).parent.mkdir(parents=True)
    archive.rows(0).write_bytes(strange.rows(0).read_bytes())
    with pytest.raises(LeukoscopeError, match="rows of another bundle"):
        run_archive(archive, workers=1)
    facts = archive.bundle / "bundle.json"
    facts.write_text((other / "bundle.json").read_text())
    archive.rows(0).unlink()
    assert all(
        "is not the bundle that the archive was planned with" in line for line in run_archive(archive, workers=1)
    )


def test_killed_workers_and_coordinators_lose_nothing(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    """Two coordinators at once, one killed, and workers of the other killed again and again."""
    items = [(str(path), path) for path in sorted(pictures.glob("*.png"))] * 30
    archive = plan(items, tmp_path / "archive", bundle=bundle, part_size=10)
    command = [sys.executable, "-m", "leukoscope", "archive", "run", str(archive.folder), "--workers", "2"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = 0
    deadline = time.monotonic() + 120
    while killed < 3 and second.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        if len(list(archive.folder.rglob("results/*/*.jsonl"))) > 10 * killed:  # new ones have begun to work
            for child in _children(second.pid)[:1]:
                os.kill(child, signal.SIGKILL)
                killed += 1
                if killed == 2:
                    first.kill()
    first.kill()
    first.wait()
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    assert killed
    collect(archive, tmp_path / "rows.jsonl")
    assert told(tmp_path / "rows.jsonl") == expected(bundle, archive)
    deadline = time.monotonic() + 20
    while _named(str(archive.folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _named(str(archive.folder))  # no worker outlives its coordinator


def _children(parent: int) -> list[int]:
    """Worker processes of a process: spawned ones, not the tracker of their resources."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"PPid:\t{parent}\n" in (entry / "status").read_text():
                words = (entry / "cmdline").read_bytes()
                found += [int(entry.name)] if b"spawn_main" in words else []
        except OSError:
            continue
    return found


def _named(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_dask_gives_the_same_rows(archive: Archive, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    assert run_archive(archive, engine="dask", workers=2) == []
    collect(archive, tmp_path / "rows.jsonl")
    assert told(tmp_path / "rows.jsonl") == expected(bundle, archive)


def test_killed_workers_of_dask_lose_nothing(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    items = [(str(path), path) for path in sorted(pictures.glob("*.png"))] * 20
    archive = plan(items, tmp_path / "archive", bundle=bundle, part_size=10)
    command = [sys.executable, "-m", "leukoscope", "archive", "run", str(archive.folder), "--workers", "2"]
    run = subprocess.Popen([*command, "--engine", "dask"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = 0
    deadline = time.monotonic() + 120
    while killed < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        if len(list(archive.folder.rglob("results/*/*.jsonl"))) > 10 * killed:
            for child in _children(run.pid)[:1]:
                os.kill(child, signal.SIGKILL)
                killed += 1
    _, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors
    assert killed
    collect(archive, tmp_path / "rows.jsonl")
    assert told(tmp_path / "rows.jsonl") == expected(bundle, archive)


def test_a_disk_that_is_full_is_told_and_the_same_command_goes_on(archive: Archive, tmp_path: Path) -> None:
    def limit() -> None:  # no file may grow beyond a kilobyte, as on a disk that fills up meanwhile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [sys.executable, "-m", "leukoscope", "archive", "run", str(archive.folder), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large); free disk space" in done.stderr
    assert "Traceback" not in done.stderr
    assert "0 of 10 parts" in done.stdout
    assert not list((archive.folder / "results").rglob("*.part"))
    assert run_archive(archive, workers=1) == []
    assert state_of(archive).missing == ()


def test_one_picture_in_a_hundred_unreadable_is_one_row_each(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    whole = pictures / "real-0.png"
    items = [(str(path), path) for path in ([whole] * 99 + [pictures / "broken.png"]) * 3]
    archive = plan(items, tmp_path / "archive", bundle=bundle, part_size=50)
    assert run_archive(archive, workers=1) == []
    state = collect(archive, tmp_path / "rows.jsonl")
    assert (state.rows, state.decisions["unreadable"]) == (300, 3)
    faulty = [row for row in told(tmp_path / "rows.jsonl") if row["decision"] == "unreadable"]
    assert {row["path"] for row in faulty} == {str(pictures / "broken.png")}


def test_an_engine_that_is_not_there(archive: Archive) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(LeukoscopeError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_archive(archive, engine="dask", address="tcp://127.0.0.1:9")


def test_an_engine_that_is_not_installed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LeukoscopeError, match=r"pip install 'leukoscope\[dask\]'"):
        run_archive(archive, engine="dask")


def test_tables_hold_the_same(archive: Archive, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_archive(archive, workers=1)
    for form in ("jsonl", "csv", "parquet"):
        collect(archive, tmp_path / f"rows.{form}")
    rows = told(tmp_path / "rows.jsonl")
    table = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert table == [{name: flat(row)[name] for name in table[0]} for row in rows]
    with (tmp_path / "rows.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["path"] for row in listed] == [row["path"] for row in rows]
    assert [row["logit"] for row in listed] == ["" if row["logit"] is None else str(row["logit"]) for row in rows]
    with pytest.raises(LeukoscopeError, match="the suffix must be one of"):
        collect(archive, tmp_path / "rows.xlsx")


def test_the_verb_from_plan_to_rows(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    home, rows = tmp_path / "archive", tmp_path / "rows.jsonl"
    done = leukoscope("archive", "plan", pictures, "--out", home, "--bundle", bundle, "--part-size", 20)
    assert done.returncode == 0, done.stderr
    assert "66 pictures" in done.stdout
    assert "left out, as they hold no picture: 1 .txt" in done.stderr
    assert leukoscope("archive", "plan", pictures, "--out", home, "--bundle", bundle).returncode == 2
    assert "0 of 4 parts" in leukoscope("archive", "status", home).stdout
    done = leukoscope("archive", "run", home, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 parts, 66 pictures, 66 rows" in done.stdout
    assert json.loads(leukoscope("archive", "status", home, "--json").stdout)["missing"] == []
    assert leukoscope("archive", "collect", home, "--out", rows).returncode == 0
    predicted = leukoscope("predict", pictures, "--format", "jsonl", "--bundle", bundle)
    wanted = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert told(rows) == [{name: value for name, value in row.items() if name != "ms"} for row in wanted]


def test_a_table_of_paths_and_what_is_no_archive(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    lines = [os.path.relpath(pictures / name, tmp_path) for name in ("000.png", "nothing.png", "001.png")]
    table.write_text("path,patient\n" + "".join(f"{line},A\n" for line in lines))
    done = leukoscope("archive", "plan", table, "--out", tmp_path / "archive", "--bundle", bundle)
    assert done.returncode == 0, done.stderr
    archive = Archive.open(tmp_path / "archive")
    run_archive(archive, workers=1)
    collect(archive, tmp_path / "rows.jsonl")
    assert [row["decision"] == "unreadable" for row in told(tmp_path / "rows.jsonl")] == [False, True, False]
    assert "holds no archive" in leukoscope("archive", "run", pictures).stderr
    (tmp_path / "archive/archive.json").write_text("{}")
    assert "is damaged, or of another version" in leukoscope("archive", "status", tmp_path / "archive").stderr
