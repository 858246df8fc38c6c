"""ALL-IDB1 and ALL-IDB2: reading, what leaks in them, and their cells cut out."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from allidb_files import CELLS, FIELDS, SMALLER, crop, write_allidb1, write_allidb2
from leukoscope.cells.frame import Preparation, cell_mask, prepare
from leukoscope.cells.read import read_picture
from leukoscope.cli import main
from leukoscope.datasets.centroids import read_centroids
from leukoscope.datasets.cut import CutSet, cut_cells, shows_surroundings
from leukoscope.datasets.facts import caveats, licences, resolution_leak
from leukoscope.datasets.leaks import audit
from leukoscope.datasets.leaks.links import Kind
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.verify import verify_checksums
from leukoscope.errors import DataError


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_allidb1(tmp_path_factory.mktemp("set") / "ALL_IDB1")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_allidb2(tmp_path_factory.mktemp("set") / "ALL_IDB2")


@pytest.fixture(scope="module")
def cells(two: Path, tmp_path_factory: pytest.TempPathFactory) -> CutSet:
    return cut_cells(read_dataset(two), tmp_path_factory.mktemp("cut"), jobs=1)


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_fields(one: Path) -> None:
    manifest = read_dataset(one)
    assert [r.path for r in manifest.records] == [f"im/{name}.jpg" for name, _, _ in FIELDS]
    assert manifest.labels().tolist() == [int(name[-1]) for name, _, _ in FIELDS]
    assert {r.source for r in manifest.records} == {manifest.name} == {"allidb1"}
    assert manifest.records[0].field == "Im001"
    groups = dict(zip((r.path for r in manifest.records), manifest.groups().tolist(), strict=True))
    assert groups["im/Im093_0.jpg"] == groups["im/Im108_0.jpg"] == "Im093+Im108"
    assert len(set(groups.values())) == len(FIELDS) - 1
    assert not any(r.subject for r in manifest.records)


def test_cells(two: Path) -> None:
    manifest = read_dataset(two)
    assert [Path(r.path).stem for r in manifest.records] == sorted(CELLS)
    assert Counter(manifest.labels().tolist()) == {1: 6, 0: 6}
    groups = Counter(manifest.groups().tolist())
    assert groups.pop("Im223+Im257") == 2
    assert set(groups.values()) == {1}
    assert "on request" in licences(manifest)[0]


@pytest.mark.parametrize("inner", ["", "im", ".."])
def test_found_from_above_and_from_within(one: Path, inner: str) -> None:
    assert read_dataset(one / inner).fingerprint() == read_dataset(one, reader="allidb").fingerprint()


def test_both_sets_are_not_one(tmp_path: Path) -> None:
    for name, folder in (("ALL_IDB1", "im"), ("ALL_IDB2", "img")):
        (tmp_path / name / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / folder / "Im001_1.tif")
    with pytest.raises(DataError, match="not independent"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("im/Im002_2.jpg", None, r"1 names do not match Im<number>_<0\|1>: Im002_2.jpg"),
        ("im/Im001_0.png", None, "number 001 is held twice: Im001_0.png and Im001_1.jpg"),
        ("xyc/Im001_1.xyc", "12\t7\n\nnan\t3\n", "line 3: 'nan\\\\t3' is not x and y"),
        ("xyc/Im001_1.xyc", "12\t7\t4\n", "line 1"),
        ("xyc/Im001_1.xyc", "12\t-7\n", "line 1"),
        ("xyc/Im009_0.xyc", "\n5\t6\n", "lists blasts, but the picture's name says healthy"),
    ],
)
def test_faults(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    for folder in ("im", "xyc"):
        (tmp_path / folder).mkdir()
    for name in ("Im001_1.jpg", "Im009_0.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "im" / name)
    if text is None:
        Image.new("RGB", (8, 8)).save(tmp_path / file)
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path)


def test_blank_lines_of_a_list(one: Path) -> None:
    for name, _, centres in FIELDS:
        found = read_centroids(one / "xyc" / f"{name}.xyc")
        assert found.shape == (len(centres), 2)
        assert found.tolist() == [list(map(float, centre)) for centre in centres]


def test_resolution_tells_the_class(one: Path) -> None:
    leak = resolution_leak(read_dataset(one))
    assert leak is not None
    # By hand. 1712x1368: three blasts, each told by the two others. 2592x1944: the four normal ones by their majority,
    # the blast not. 1226x652 stands alone: the larger class of the other eight is even (4 and 4), so it is not told.
    assert (leak.told, leak.guessed) == (7 / 9, 5 / 9)
    assert leak.sizes[0] == (2592, 1944, 4, 1)
    assert leak.sizes[1] == (1712, 1368, 0, 3)


def test_one_size_tells_nothing(two: Path) -> None:
    manifest = read_dataset(two)
    large = manifest.select([Path(r.path).stem not in SMALLER for r in manifest.records])
    assert resolution_leak(large) is None


def test_index_says_it_all(one: Path, two: Path, tmp_path: Path) -> None:
    first = leukoscope("data", "index", one, "--out", tmp_path / "m.csv")
    assert first.exit_code == 0, first.output
    assert "note: No patient is named in allidb1: each picture counts as a group of its own. Intervals" in first.output
    assert "note: Size in pixels tells the class of 77.8% of the pictures" in first.output
    assert "allidb1: 9 of the 108 published pictures" in first.output
    assert read_dataset(tmp_path / "m.csv").fingerprint() == read_dataset(one).fingerprint()
    second = leukoscope("data", "index", two)
    assert "cut out of the pictures of ALL-IDB1" in second.output
    assert any("cells of one picture can stand on both sides" in sentence for sentence in caveats(read_dataset(two)))


def test_audit_finds_the_pixels_that_are_held_twice(two: Path, tmp_path: Path) -> None:
    manifest = read_dataset(two)
    result = audit(manifest.select(range(len(manifest) - 4, len(manifest))), work_folder=tmp_path)
    paths = [r.path for r in result.manifest.records]
    same = [(paths[k.first], paths[k.second]) for k in result.links if k.kind is Kind.PIXELS]
    assert same == [("img/Im223_0.tif", "img/Im257_0.tif")]
    assert result.count(Kind.BYTES) == 0


def test_verify(two: Path, tmp_path: Path) -> None:
    rows = [(p.relative_to(two).as_posix(), p.read_bytes()) for p in sorted((two / "img").iterdir())]
    table = tmp_path / "sha256.csv"
    lines = [f"{name},{hashlib.sha256(data).hexdigest()},{len(data)}" for name, data in rows]
    table.write_text("\n".join(["path,sha256,size", *lines]))
    assert verify_checksums(two, table).fine()


def test_crops_are_cut_out(two: Path, cells: CutSet) -> None:
    manifest, done = read_dataset(two), cells
    assert shows_surroundings(manifest)
    assert not done.failed
    assert done.manifest.name == "allidb2"
    assert not shows_surroundings(done.manifest)
    assert done.manifest.labels().tolist() == manifest.labels().tolist()
    assert "Im223+Im257" in done.manifest.groups()
    for number, name in enumerate(CELLS[:9]):
        rgb, truth = crop(number, name.endswith("1"), 215 if name in SMALLER else 257)
        found = read_picture(done.manifest.root / "img" / f"{name}.tif.png").rgb
        mask = cell_mask(found)
        assert np.sum(mask & truth) / np.sum(mask | truth) > 0.9, name
        np.testing.assert_array_equal(found[mask], np.maximum(rgb, 11)[mask])
        prepare(found, Preparation())


def test_cutting_again_finds_what_was_cut(two: Path, cells: CutSet) -> None:
    stamp = (cells.manifest.root / "manifest.csv").stat().st_mtime_ns
    assert cut_cells(read_dataset(two), cells.manifest.root.parent, jobs=2) == cells
    assert (cells.manifest.root / "manifest.csv").stat().st_mtime_ns == stamp


def test_blasts_of_fields_are_cut_out_at_their_centres(one: Path, tmp_path: Path) -> None:
    done = cut_cells(read_dataset(one), tmp_path, jobs=1)
    cells = done.manifest.records
    assert len(cells) + len(done.failed) == 5 == sum(len(centres) for _, _, centres in FIELDS)
    assert {r.label for r in cells} == {1}
    pair = [r for r in cells if r.field == "Im001"]
    assert [r.path for r in pair] == ["im/Im001_1.jpg.01.png", "im/Im001_1.jpg.02.png"]
    assert {r.group for r in pair} == {"picture:im/Im001_1.jpg"}  # one field, one patient
    found = read_picture(done.manifest.root / pair[1].path).rgb
    assert found.shape == (257, 257, 3)
    top, left = np.argwhere(cell_mask(found)).mean(axis=0)
    assert abs(top - 128) < 12
    assert abs(left - 128) < 12
    assert any("only sensitivity can be measured" in sentence for sentence in caveats(done.manifest))


def test_fields_without_a_list_are_no_cells(one: Path, tmp_path: Path) -> None:
    manifest = read_dataset(one)
    (tmp_path / "im").mkdir()
    (tmp_path / "im/Im034_0.jpg").write_bytes((one / "im/Im034_0.jpg").read_bytes())
    alone = leukoscope("data", "cut", tmp_path, "--out", tmp_path / "cut")
    assert alone.exit_code == 2
    assert "no cell can be cut out of any of the 1 pictures; 2592 x 1944 px show a whole field" in alone.output
    assert manifest.records[3].path == "im/Im034_0.jpg"


def test_cut_lists_what_fails(two: Path, tmp_path: Path) -> None:
    data = tmp_path / "img"
    data.mkdir()
    for name in CELLS[:3]:
        (data / f"{name}.tif").write_bytes((two / "img" / f"{name}.tif").read_bytes())
    (data / "Im003_1.tif").write_bytes(b"II*\0no picture")
    done = leukoscope("data", "cut", tmp_path, "--out", tmp_path / "cut")
    assert done.exit_code == 1
    assert "2 cells out of 3 pictures" in done.output
    assert "left out: img/Im003_1.tif" in done.output
    [made] = (tmp_path / "cut").glob("cut-*/manifest.csv")
    assert len(read_dataset(made.parent, both_classes=False)) == 2
