"""The leak audit on rendered cells with planted copies, on its faults, and on real aliases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from leukoscope.cli.leaks import audit as command
from leukoscope.datasets.dataset import Manifest, Record
from leukoscope.datasets.groups import read_groups
from leukoscope.datasets.leaks import AuditResult, Kind, audit
from leukoscope.datasets.leaks.audit import read_any
from leukoscope.datasets.leaks.report import describe, evidence, groups_csv, verdict, write_report
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import DataError

SIZE = 450


def put(folder: Path, name: str, rgb: np.ndarray, quality: int = 0) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if quality else []
    assert cv2.imwrite(str(folder / name), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    return name


def record(path: str, subject: str | None, label: int | None = 1, field: str | None = None) -> Record:
    return Record(path=path, label=label, subject=subject, group=subject, fold=None, source="test", field=field)


def turned(rgb: np.ndarray, angle: float, shift: tuple[float, float]) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(((SIZE - 1) / 2, (SIZE - 1) / 2), angle, 1.0)
    matrix[:, 2] += shift
    return cv2.warpAffine(rgb, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, AuditResult]:
    """Ten subjects with two cells each, and copies of cells of subject 1 to 5 under others."""
    folder = tmp_path_factory.mktemp("planted")
    cells = {k: render_cell(k, "blast" if k < 12 else "normal") for k in range(20)}
    records = []
    for k, rgb in cells.items():
        name = put(folder, f"{k:02d}.png", rgb)
        records.append(record(name, str(1 + k // 2), int(k < 12), field=str(k)))
    again = np.clip(255 * (turned(cells[4], 7.0, (9.3, -4.6)) / 255.0) ** 1.2, 0, 255).astype(np.uint8)
    again = cv2.GaussianBlur(again, (0, 0), 1.2)
    copies = {
        "bytes.png": (cells[0], "3"),
        "pixels.bmp": (cells[2], "4"),
        "near.jpg": (cells[6], "5"),
        "mirror.png": (np.ascontiguousarray(np.rot90(cells[8])[:, ::-1]), "6"),
        "small.png": (cv2.resize(cells[10], (300, 300), interpolation=cv2.INTER_AREA), "8"),
        "again.png": (again, "9"),
        "conflict.png": (turned(cells[5], -4.0, (3.4, 8.1)), "10"),
    }
    for name, (rgb, subject) in copies.items():
        put(folder, name, rgb, 90 if name.endswith("jpg") else 0)
        records.append(record(name, subject, int(int(subject) < 7), field=name))
    manifest = Manifest(folder, tuple(records), "planted")
    return manifest, audit(manifest, work_folder=folder / "work")


def found(result: AuditResult) -> dict[tuple[str, str], Kind]:
    paths = [r.path for r in result.manifest.records]
    return {(paths[link.first], paths[link.second]): link.kind for link in result.links}


def test_every_planted_copy_is_found_with_its_kind_and_nothing_else(planted) -> None:
    assert found(planted[1]) == {
        ("00.png", "bytes.png"): Kind.BYTES,
        ("02.png", "pixels.bmp"): Kind.PIXELS,
        ("06.png", "near.jpg"): Kind.NEAR,
        ("08.png", "mirror.png"): Kind.NEAR,
        ("10.png", "small.png"): Kind.NEAR,
        ("04.png", "again.png"): Kind.AGAIN,
        ("05.png", "conflict.png"): Kind.AGAIN,
    }


def test_the_transform_is_the_planted_one(planted) -> None:
    result = planted[1]
    by_name = {result.manifest.records[link.second].path: link.transform for link in result.links}
    again, mirror, small = by_name["again.png"], by_name["mirror.png"], by_name["small.png"]
    # OpenCV turns counter-clockwise for positive angles, the transform says clockwise.
    assert again.angle == pytest.approx(-7.0, abs=0.3)
    assert again.shift == pytest.approx((9.3, -4.6), abs=0.7)
    assert mirror.mirror
    assert abs(mirror.angle) == pytest.approx(90, abs=0.3)
    assert small.scale == pytest.approx(300 / 450, rel=0.02)


def test_groups_join_what_the_rule_joins(planted, tmp_path: Path) -> None:
    result = planted[1]
    assert {frozenset((p.first, p.second)) for p in result.pairs if p.joined} >= {frozenset("13"), frozenset("24")}
    assert result.groups["1"] == result.groups["3"]
    assert result.groups["7"] == "7"
    path = tmp_path / "groups.csv"
    path.write_text(groups_csv(result))
    assert read_groups(path) == dict(result.groups)
    assert "1 byte-identical" in evidence(result)["1"]


def test_conflicting_labels_are_flagged(planted) -> None:
    result = planted[1]
    flagged = {result.manifest.records[result.links[n].second].path for n in result.conflicts}
    labels = result.manifest.labels()
    expected = {
        result.manifest.records[link.second].path for link in result.links if labels[link.first] != labels[link.second]
    }
    assert flagged == expected
    assert "conflict.png" in flagged


def test_report_is_one_file_that_stands_alone(planted, tmp_path: Path) -> None:
    result = planted[1]
    facts = write_report(result, tmp_path, split={"00.png": "train", "bytes.png": "test"})
    page = (tmp_path / "audit.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") == len(result.links)
    assert result.pairs
    for pair in result.pairs:
        assert f"<td>{pair.first} and {pair.second}</td>" in page
    assert "Labels conflict" in page
    assert json.loads((tmp_path / "audit.json").read_text()) == json.loads(json.dumps(facts))
    assert facts["links_across_split"] == [("test", "train", 1)]


def test_resumes_and_workers_give_the_same(planted, tmp_path: Path) -> None:
    manifest, result = planted
    work = Path(manifest.root) / "work"
    before = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    next(work.glob("pairs-*.json")).write_text("[[1, 2")  # killed while writing, on a disk without atomic renames
    next(work.glob("tiles-*.npy")).write_bytes(b"half")
    again = audit(manifest, work_folder=work, jobs=2)
    assert again.links == result.links
    assert set(work.iterdir()) == set(before)


def test_rotations_beyond_ten_degrees_need_any_angle(tmp_path: Path) -> None:
    cell = render_cell(3, "blast")
    names = [put(tmp_path, "a.png", cell), put(tmp_path, "b.png", turned(cell, 33.0, (2.0, 1.0)))]
    names += [put(tmp_path, f"{k}.png", render_cell(k, "blast")) for k in range(50, 54)]
    manifest = Manifest(tmp_path, tuple(record(name, str(k)) for k, name in enumerate(names)), "turned")
    result = audit(manifest, work_folder=tmp_path / "work", any_angle=True)
    assert found(result) == {("a.png", "b.png"): Kind.AGAIN}
    assert result.links[0].transform.angle == pytest.approx(-33.0, abs=0.3)


def test_round_cells_of_one_outline_and_brightness_are_not_linked(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    y, x = np.mgrid[:SIZE, :SIZE]
    disc = ((x - 224.5) ** 2 + (y - 224.5) ** 2 < 100**2)[..., None]
    records = []
    for k in range(12):
        noise = cv2.GaussianBlur(random.normal(size=(SIZE, SIZE)).astype(np.float32), (0, 0), 4.0)
        grey = 110 + 25 * noise / noise.std()
        records.append(
            record(
                put(tmp_path, f"{k}.png", (np.clip(grey, 20, 255)[..., None] * disc).repeat(3, 2).astype(np.uint8)),
                str(k),
            )
        )
    assert audit(Manifest(tmp_path, tuple(records), "discs"), work_folder=tmp_path / "work").links == ()


def test_faults_are_listed_and_the_rest_is_audited(tmp_path: Path) -> None:
    cell = render_cell(1, "normal")
    names = [put(tmp_path, "a.png", cell), put(tmp_path, "b.png", cell)]
    names += [put(tmp_path, f"black{k}.png", np.zeros_like(cell)) for k in range(2)]
    names.append(put(tmp_path, "field.png", np.random.default_rng(0).integers(60, 250, (480, 640, 3)).astype(np.uint8)))
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    (tmp_path / "empty.png").write_bytes(b"")
    put(tmp_path, "UID_h3_1_1_hem.png", render_cell(8, "normal"))
    put(tmp_path, "UID_H3_1_1_hem.png", render_cell(9, "normal"))
    names += ["broken.png", "empty.png", "gone.png", "UID_h3_1_1_hem.png", "UID_H3_1_1_hem.png"]
    manifest = Manifest(tmp_path, tuple(record(name, None, None) for name in names), "faults")
    result = audit(manifest, work_folder=tmp_path / "work")
    assert {path for path, _ in result.unreadable} == {"broken.png", "empty.png", "gone.png"}
    assert all(reason for _, reason in result.unreadable)
    assert set(result.blank) == {"black0.png", "black1.png"}
    assert result.whole == 1
    assert result.collisions == (("UID_h3_1_1_hem.png", "UID_H3_1_1_hem.png"),)
    assert found(result) == {("a.png", "b.png"): Kind.BYTES}
    facts = describe(result)
    assert facts["groups"] == {}
    assert "impossible" in facts["grouping"]
    assert "grouping is impossible" in verdict(facts)


def test_one_picture_and_none(tmp_path: Path) -> None:
    one = Manifest(tmp_path, (record(put(tmp_path, "a.png", render_cell(1, "blast")), "1"),), "one")
    result = audit(one, work_folder=tmp_path / "work")
    assert result.links == ()
    assert "No two" in verdict(describe(result))
    with pytest.raises(DataError, match="no pictures"):
        audit(replace(one, records=()))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="can be read"):
        audit(Manifest(tmp_path, (record("bad.png", "1"),), "bad"), work_folder=tmp_path / "work2")


def test_a_folder_that_no_reader_knows_is_read_as_pictures(tmp_path: Path) -> None:
    put(tmp_path / "JPEGImages", "a.png", render_cell(1, "blast"))
    manifest, why = read_any(tmp_path)
    assert [r.path for r in manifest.records] == ["JPEGImages/a.png"]
    assert why
    assert manifest.records[0].subject is None


def test_the_verb_reports_and_its_exit_code_tells_of_unreadable_files(tmp_path: Path) -> None:
    cell = render_cell(1, "blast")
    folder = tmp_path / "pictures"
    put(folder, "a.png", cell)
    put(folder, "b.png", cell)
    (folder / "c.png").write_bytes(b"broken")
    done = CliRunner().invoke(
        command, [str(folder), "--out", str(tmp_path / "out"), "--jobs", "1"], standalone_mode=False
    )
    assert done.return_value == 1, done.output
    assert "grouping is impossible" in done.output
    assert "byte-identical: 0 across subjects, 1 other" in done.output
    assert (tmp_path / "out" / "audit.html").is_file()
    assert not (tmp_path / "out" / "groups.csv").exists()


@pytest.mark.data
def test_real_aliases(real_data: Path, tmp_path: Path) -> None:
    manifest = read_dataset(real_data / "cnmc2019")
    names = {
        "UID_20_10_1_all", "UID_21_10_1_all", "UID_17_28_1_all", "UID_20_32_1_all", "UID_H24_30_6_hem",
        "UID_H14_23_6_hem", "UID_51_85_2_all", "UID_75_17_2_all", "UID_H10_31_1_hem", "UID_h3_36_1_hem",
        "UID_20_5_1_all", "UID_21_5_2_all", "UID_H14_4_2_hem", "UID_H22_35_3_hem",
    }  # fmt: skip
    chosen = [i for i, r in enumerate(manifest.records) if Path(r.path).stem in names]
    assert len(chosen) == len(names)
    result = audit(manifest.select(chosen), work_folder=tmp_path)
    pairs = {tuple(sorted(Path(path).stem for path in link)): kind for link, kind in found(result).items()}
    # The last two pairs of names look alike and are other cells: no link may join them.
    assert pairs == {
        ("UID_20_10_1_all", "UID_21_10_1_all"): Kind.BYTES,
        ("UID_17_28_1_all", "UID_20_32_1_all"): Kind.AGAIN,
        ("UID_H14_23_6_hem", "UID_H24_30_6_hem"): Kind.AGAIN,
        ("UID_51_85_2_all", "UID_75_17_2_all"): Kind.AGAIN,
        ("UID_H10_31_1_hem", "UID_h3_36_1_hem"): Kind.AGAIN,
    }
    assert not result.conflicts
