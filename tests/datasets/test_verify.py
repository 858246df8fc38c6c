from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from leukoscope.cli.data import data
from leukoscope.datasets.verify import verify_checksums
from leukoscope.errors import DataError
from recorded import Recorded

from .pictures import write_class_folders, write_disc


def table_of(root: Path) -> Path:
    lines = ["path,sha256,size"]
    for path in sorted(root.rglob("*.png")):
        content = path.read_bytes()
        lines.append(f"{path.relative_to(root.parent).as_posix()},{hashlib.sha256(content).hexdigest()},{len(content)}")
    table = root.parent / "table.csv"
    table.write_text("\n".join(lines))
    return table


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "cells", 8)


def test_untouched_files_are_fine(cells: Path) -> None:
    progress = Recorded()
    report = verify_checksums(cells.parent, table_of(cells), progress=progress)
    assert len(report.ok) == 8
    assert report.fine()
    assert (progress.stages, progress.steps) == ([("comparing files", 8)], list(range(1, 9)))
    assert verify_checksums(cells, table_of(cells)) == report  # the folder that all paths start with will do


def test_each_fault_is_told_apart(cells: Path) -> None:
    table = table_of(cells)
    one, two, three, four, *_ = sorted(cells.rglob("*.png"))
    flipped = bytearray(one.read_bytes())
    flipped[-20] ^= 1  # the same size
    one.write_bytes(flipped)
    two.write_bytes(two.read_bytes() + b"\0")
    three.unlink()
    Image.open(four).save(four.with_suffix(".webp"), quality=90)
    four.unlink()
    write_disc(cells / "blast" / "new.png")
    (cells / "Thumbs.db").write_bytes(b"x")
    report = verify_checksums(cells, table)
    names = [path.relative_to(cells.parent).as_posix() for path in (one, two, three, four)]
    assert set(report.altered) == set(names[:2])
    assert report.missing == (names[2],)
    assert report.re_encoded == (names[3],)
    assert report.extra == ("cells/blast/new.png",)
    assert len(report.ok) == 4
    assert not report.fine()
    assert not report.fine(partial=True)


def test_partial_accepts_what_is_missing_but_not_that_all_is(cells: Path, tmp_path: Path) -> None:
    table = table_of(cells)
    for path in sorted(cells.rglob("*.png"))[1:]:
        path.unlink()
    report = verify_checksums(cells, table)
    assert not report.fine()
    assert report.fine(partial=True)
    (tmp_path / "empty").mkdir()
    assert not verify_checksums(tmp_path / "empty", table).fine(partial=True)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.png,abc,5", "line 2: not a SHA-256"),
        (f"a.png,{'0' * 64},-5", "line 2: not a SHA-256"),
        (f"../a.png,{'0' * 64},5", "line 2: the path '../a.png'"),
        (f"a.png,{'0' * 64},5\na.png,{'0' * 64},5", "line 3: the path 'a.png'"),
        ("", "lists no files"),
    ],
)
def test_faults_of_the_table(tmp_path: Path, row: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(f"path,sha256,size\n{row}\n")
    with pytest.raises(DataError, match=words):
        verify_checksums(tmp_path, tmp_path / "t.csv")


def test_the_verb_says_so_by_its_exit_code(cells: Path) -> None:
    table = table_of(cells)
    run = CliRunner().invoke(data, ["verify", str(cells), "--table", str(table)])
    assert (run.exit_code, run.output) == (0, "8 files are as published\n")
    next(cells.rglob("*.png")).unlink()
    run = CliRunner().invoke(data, ["verify", str(cells), "--table", str(table)])
    assert run.exit_code == 1
    assert "1 missing: cells/" in run.output
    assert CliRunner().invoke(data, ["verify", str(cells), "--table", str(table), "--partial"]).exit_code == 0


def test_the_verb_index(cells: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(data, ["index", str(cells), "--out", str(tmp_path / "m.csv")])
    assert run.exit_code == 0, run.output
    assert "cells: 8 pictures" in run.output
    assert "class: blast 4, normal 4" in run.output or "class: normal 4, blast 4" in run.output
    assert "4 subjects of 1 to 3 pictures" in run.output
    again = CliRunner().invoke(data, ["index", str(tmp_path / "m.csv")])
    fingerprints = [[line for line in r.output.splitlines() if line.startswith("fingerprint")] for r in (run, again)]
    assert fingerprints[0] == fingerprints[1] != []


@pytest.mark.data
def test_the_real_originals(real_data: Path) -> None:
    table = real_data / "cnmc2019-facts" / "sha256.csv"
    report = verify_checksums(real_data / "cnmc2019-originals", table)
    assert len(report.ok) == 75
    assert (report.altered, report.re_encoded, report.extra) == ((), (), ())
    assert len(report.missing) == 15115 - 75
    report = verify_checksums(real_data / "cnmc2019", table)
    assert (len(report.re_encoded), len(report.altered), len(report.ok)) == (7197, 0, 0)
