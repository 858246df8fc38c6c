from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.datasets.dataset import BLAST, NORMAL, Manifest, Record, read_manifest
from leukoscope.errors import DataError, LeukoscopeError

RECORDS = (
    Record("a/1.png", BLAST, "7", "7+8", 0, "cnmc2019/train", "3"),
    Record('a/2, odd "name".png', NORMAL, "H3", None, 2, "cnmc2019/train"),
    Record("b/3.png", None, None, None, None, "folders"),
)
HEADER = "path,label,subject,group,fold,source,field\n"


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest(tmp_path, RECORDS, "three")


def test_columns(manifest: Manifest, tmp_path: Path) -> None:
    assert len(manifest) == 3
    assert manifest.labels().dtype == np.int64
    assert manifest.labels().tolist() == [1, 0, -1]
    assert manifest.subjects().tolist() == ["7", "H3", ""]
    assert manifest.groups().tolist() == ["7+8", "H3", "picture:b/3.png"]
    assert manifest.paths()[2] == tmp_path / "b" / "3.png"


def test_select_by_indices_keeps_their_order_and_by_mask_that_of_the_manifest(manifest: Manifest) -> None:
    assert manifest.select([2, 0]).records == (RECORDS[2], RECORDS[0])
    assert manifest.select(np.array([True, False, True])).records == (RECORDS[0], RECORDS[2])
    assert manifest.select([]).records == ()
    assert manifest.labelled().records == RECORDS[:2]


@pytest.mark.parametrize("which", [[3], [-4], [True, False], [0.5], [[0]], [0, 0]])
def test_select_refuses(manifest: Manifest, which: object) -> None:
    with pytest.raises(DataError):
        manifest.select(which)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x.png"])
def test_paths_stay_inside_the_root(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="not inside the root"):
        Manifest(tmp_path, (Record(path, 1, None, None, None, "csv"),), "bad")


def test_fingerprint_depends_on_content_only(manifest: Manifest) -> None:
    moved = Manifest(Path("/elsewhere"), RECORDS[::-1], "other name")
    assert moved.fingerprint() == manifest.fingerprint()
    changes = (
        Record("a/1.jpg", BLAST, "7", "7+8", 0, "cnmc2019/train", "3"),
        Record("a/1.png", NORMAL, "7", "7+8", 0, "cnmc2019/train", "3"),
        Record("a/1.png", BLAST, "8", "7+8", 0, "cnmc2019/train", "3"),
        Record("a/1.png", BLAST, "7", "7", 0, "cnmc2019/train", "3"),
    )
    prints = {Manifest(manifest.root, (change, *RECORDS[1:]), "x").fingerprint() for change in changes}
    assert len(prints | {manifest.fingerprint()}) == 5


def test_round_trip_in_the_root(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write_csv(tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv")
    assert again.records == RECORDS
    assert again.root == tmp_path.resolve()
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))  # an independent reader sees plain CSV
    assert [row["label"] for row in rows] == ["blast", "normal", ""]
    assert rows[1]["path"] == RECORDS[1].path


def test_round_trip_outside_the_root_finds_the_pictures(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "pictures", RECORDS, "three")
    manifest.write_csv(tmp_path / "lists" / "m.csv")
    again = read_manifest(tmp_path / "lists" / "m.csv")
    assert again.records == RECORDS
    assert again.root == (tmp_path / "pictures").resolve()
    assert read_manifest(tmp_path / "lists" / "m.csv", root=tmp_path).root == tmp_path.resolve()


# A cell is stripped when it is read, and a path cannot hold a backslash or be absolute: see `rows`.
words = st.text(
    st.characters(codec="utf-8", exclude_characters="\\/:\r\n\x00", exclude_categories=["Z", "C"]), min_size=1
)
texts = words.filter(lambda text: text not in (".", "..") and text == text.strip())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Record,
            path=texts,
            label=st.sampled_from([0, 1, None]),
            subject=st.none() | texts,
            group=st.none() | texts,
            fold=st.none() | st.integers(0, 9),
            source=texts,
            field=st.none() | texts,
        ),
        unique_by=lambda record: record.path,
    )
)
def test_any_manifest_survives_the_round_trip(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    folder = tmp_path_factory.mktemp("trip")
    Manifest(folder, tuple(records), "any").write_csv(folder / "m.csv")
    assert read_manifest(folder / "m.csv").records == tuple(records)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER + "a.png,tumour,,,,csv,\n", "line 2: unknown label 'tumour'"),
        (HEADER + "a.png,blast,,,,csv,\n\na.png,normal,,,,csv,\n", "line 4: a.png already stands in line 2"),
        (HEADER + "a.png,blast,,,,csv,\n./a.png,normal,,,,csv,\n", "line 3: a.png already stands in line 2"),
        (HEADER + "/etc/passwd,blast,,,,csv,\n", "line 2: /etc/passwd lies outside the root"),
        (HEADER + "C:\\cells\\a.png,blast,,,,csv,\n", "line 2: .* lies outside the root"),
        (HEADER + "../a.png,blast,,,,csv,\n", "line 2: ../a.png leads out of the root"),
        (HEADER + ",blast,,,,csv,\n", "line 2: no path"),
        (HEADER + "a.png,blast,,,two,csv,\n", "line 2: fold 'two' is not a whole number"),
        (HEADER + "a.png,blast\n", "line 2: 2 cells where the header names 7"),
        ("path,label\na.png,blast\n", "line 1: no column subject, group, fold, source, field"),
        ("# root: .\npath,label\n", "line 2: no column subject"),
        ("", "its columns are none"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_manifest(tmp_path / "bad.csv")
    assert caught.value.path == str(tmp_path / "bad.csv")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"path,label\n\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_manifest(tmp_path / "bad.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "absent.csv")


def test_absolute_paths_inside_the_root_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    inside = tmp_path.resolve() / "a" / "1.png"
    (tmp_path / "m.csv").write_text("\ufeff" + HEADER + f"{inside},blast,,,,csv,\n", encoding="utf-8")
    assert read_manifest(tmp_path / "m.csv").records[0].path == "a/1.png"


def test_writing_where_nothing_can_be_written_leaves_nothing(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LeukoscopeError, match="cannot be written"):
        manifest.write_csv(tmp_path / "file" / "m.csv")
    assert (tmp_path / "file").read_text() == "x"
