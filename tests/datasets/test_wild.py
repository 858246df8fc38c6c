"""Folders, tables, names and links as other people have them."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.datasets.combine import combine, same_patients
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.record import class_of, class_words, known_subject
from leukoscope.errors import DataError

from .pictures import write_disc

CELLS = [f"UID_{s}_{k}_1_all.png" for s in ("11", "20", "21") for k in (1, 2)]
CELLS += [f"UID_{s}_{k}_1_hem.png" for s in ("H9", "h3") for k in (1, 2)]


def label_of(name: str) -> int:
    return int(name.endswith("all.png"))


@pytest.fixture(params=["class folders", "numbers", "train and test", "deeper", "table", "table of patients"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same ten cells of C-NMC 2019 in another layout."""
    for number, name in enumerate(CELLS):
        place = {
            "class folders": ("all", "hem")[1 - label_of(name)],
            "numbers": str(label_of(name)),
            "train and test": f"{('train', 'test')[number % 2]}/{('all', 'hem')[1 - label_of(name)]}",
            "deeper": f"images/cells/{('Leukemia', 'Healthy')[1 - label_of(name)]}",
        }.get(request.param, "pictures")
        write_disc(tmp_path / "mirror" / place / name, number)
    if not request.param.startswith("table"):
        return tmp_path / "mirror"
    head = "path,label" if request.param == "table" else "picture,label,patient"
    rows = [f"pictures/{n},{label_of(n)}{'' if request.param == 'table' else ',nan'}" for n in CELLS]
    (tmp_path / "mirror" / "list.csv").write_text("\n".join([head, *rows]) + "\n")
    return tmp_path / "mirror" / "list.csv"


def test_names_of_cnmc_tell_subject_and_group_in_any_layout(copy: Path) -> None:
    found = read_dataset(copy)
    assert found.name == "cnmc2019"
    assert Counter(found.subjects().tolist()) == {"11": 2, "20": 2, "21": 2, "H9": 2, "H3": 2}
    assert Counter(found.labels().tolist()) == {1: 6, 0: 4}
    group = {record.subject: record.group for record in found.records}
    assert group["20"] == group["21"] != group["11"]  # one patient under two names
    assert same_patients("cnmc2019", {group["20"], "99"}, found) == {group["20"]}


def test_some_names_of_cnmc_stay_apart_from_subjects_of_the_same_number(tmp_path: Path) -> None:
    write_disc(tmp_path / "blast" / "11" / "a.png", 1)
    write_disc(tmp_path / "blast" / "UID_11_1_1_all.png", 2)
    write_disc(tmp_path / "normal" / "H9" / "b.png", 3)
    found = read_dataset(tmp_path)
    assert sorted(found.subjects().tolist()) == ["11", "H9", "cnmc2019:11"]
    assert same_patients("cnmc2019", {"11"}, found) == {"cnmc2019:11"}
    assert same_patients("cnmc2019+other", {"cnmc2019:11", "other:11"}, found) == {"cnmc2019:11"}


@pytest.mark.parametrize("layout", ["folders", "table"])
def test_labels_that_contradict_names_are_refused_everywhere(tmp_path: Path, layout: str) -> None:
    place = tmp_path
    for name in CELLS:
        write_disc(tmp_path / str(1 - label_of(name)) / name)
    if layout == "table":
        place = tmp_path / "list.csv"
        place.write_text("path,label\n" + "".join(f"{1 - label_of(n)}/{n},{1 - label_of(n)}\n" for n in CELLS))
    with pytest.raises(DataError, match=r"10 of 10 labels contradict the class in the C-NMC 2019 name.*0 for leukemic"):
        read_dataset(place)


def test_a_cell_held_in_two_folders_is_refused(tmp_path: Path) -> None:
    for place in ("train/all", "test/all"):
        write_disc(tmp_path / place / "UID_11_1_1_all.png")
    write_disc(tmp_path / "train/hem/UID_H9_1_1_hem.png")
    with pytest.raises(DataError, match="1 cells are held twice"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_a_link_to_a_folder_above_is_left(tmp_path: Path, target: str) -> None:
    for word in ("blast", "normal"):
        write_disc(tmp_path / "set" / word / "p" / f"{word}.png")
    (tmp_path / "set" / "blast" / "again").symlink_to(target, target_is_directory=True)
    assert Counter(read_dataset(tmp_path / "set").labels().tolist()) == {1: 1, 0: 1}


def test_each_file_counts_once_and_never_under_two_classes(tmp_path: Path) -> None:
    cell = write_disc(tmp_path / "blast" / "a.png", 1)
    write_disc(tmp_path / "normal" / "b.png", 2)
    (tmp_path / "blast" / "same.png").symlink_to(cell)
    found = read_dataset(tmp_path)
    assert len(found) == 2
    assert "1 link leads to pictures that stand there already" in found.notes[0]
    (tmp_path / "normal" / "linked").symlink_to(tmp_path / "blast", target_is_directory=True)
    with pytest.raises(DataError, match="one file stands under two classes, by a link"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("blast", "normal"),
    [
        ("malignant", "benign"), ("Cancer", "Normal"), ("1.0", "0.0"), ("True", "False"), ("Early", "Benign"),
        ("[Malignant] Pre-B", "[Benign]"), ("Pro", "healthy"), ("leukemic", "control"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["folders", "table"])
def test_words_of_others_for_the_classes(tmp_path: Path, blast: str, normal: str, layout: str) -> None:
    place = tmp_path
    for word in (blast, normal):
        write_disc(tmp_path / word / "a.png")
    if layout == "table":
        place = tmp_path / "list.csv"
        place.write_text(f"path,label\n{blast}/a.png,{blast}\n{normal}/a.png,{normal}\n")
    labels = {record.path.split("/")[0]: record.label for record in read_dataset(place).records}
    assert labels == {blast: 1, normal: 0}


def test_words_can_be_given(tmp_path: Path) -> None:
    for word in ("L1", "L2", "other"):
        write_disc(tmp_path / word / "a.png")
    with pytest.raises(DataError, match="--classes"):
        read_dataset(tmp_path)
    found = read_dataset(tmp_path, classes=class_words(["blast=L1, L2", "normal=Other"]))
    assert found.labels().tolist() == [1, 1, 0]


@pytest.mark.parametrize("given", [["blast=a"], ["blast=a", "normal=A"], ["sick=a"], ["blast="], ["a"]])
def test_classes_that_say_nothing_are_refused(given: list[str]) -> None:
    with pytest.raises(DataError, match="classes") as caught:
        class_words(given)
    assert "--classes blast=Early" in str(caught.value.remedy)


@given(st.text(max_size=12))
def test_no_word_stands_for_a_class_by_chance(word: str) -> None:
    label = class_of(word)
    assert label == class_of(f" {word.swapcase()} ") or not word.isascii()
    assert known_subject(word) in {None, word.strip()}


@pytest.mark.parametrize("word", ["", "nan", "NaN", "NA", "N/A", "None", "unknown", "-", " "])
def test_a_subject_that_nobody_knows_is_none(tmp_path: Path, word: str) -> None:
    for name in "abc":
        write_disc(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text(f"path,label,subject,group\na.png,1,{word},{word}\nb.png,0,7,\nc.png,0,{word},\n")
    found = read_dataset(tmp_path / "t.csv")
    assert found.subjects().tolist() == ["", "7", ""]
    assert found.groups().tolist() == ["picture:a.png", "7", "picture:c.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_other_spreadsheets(tmp_path: Path, encoding: str, separator: str) -> None:
    for name in ("é.png", "b.png"):
        write_disc(tmp_path / name)
    rows = ("Path,Label,Subject", "é.png,blast,Ä", "b.png,normal,8")
    (tmp_path / "t.csv").write_text("\r\n".join(rows).replace(",", separator), encoding=encoding)
    assert [(r.path, r.label, r.subject) for r in read_dataset(tmp_path / "t.csv").records] == [
        ("é.png", 1, "Ä"),
        ("b.png", 0, "8"),
    ]


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_composed_as_the_disk_has_them(tmp_path: Path, on_disk: str, in_table: str) -> None:
    picture = write_disc(tmp_path / unicodedata.normalize(on_disk, "Zellé.png"))
    write_disc(tmp_path / "b.png")
    name = unicodedata.normalize(in_table, "Zellé.png")
    (tmp_path / "t.csv").write_text(f"path,label\n{name},1\nb.png,0\n", encoding="utf-8")
    assert read_dataset(tmp_path / "t.csv").paths()[0].samefile(picture)


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr("all/a.png", b"")
    with pytest.raises(DataError, match=r"is a ZIP archive or an Excel workbook.*unpack"):
        read_dataset(tmp_path / "cells.zip")
    (tmp_path / "t.csv").write_bytes("path,label\na.png,1\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="UTF-16 without its mark"):
        read_dataset(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes("path,label\né.png,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        read_dataset(tmp_path / "t.csv")


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_table_end_in_one_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("bytes") / "t.csv"
    file.write_bytes(data)
    with pytest.raises(DataError):
        read_dataset(file)


@pytest.mark.parametrize(
    ("fold", "prelim"),
    [
        ("PKG - C-NMC 2019/C-NMC_training_data/fold_{k}", "PKG - C-NMC 2019/C-NMC_test_prelim_phase_data/{t}"),
        ("C-NMC_Leukemia/C-NMC_training_data/fold_{k}/fold_{k}", "C-NMC_Leukemia/validation_data/{t}"),
        ("C-NMC_Leukemia/training_data/fold_{k}", "C-NMC_Leukemia/validation_data/{t}"),
    ],
)
def test_trees_of_the_archive_are_known_by_what_is_in_them(tmp_path: Path, fold: str, prelim: str) -> None:
    for k in range(3):
        for word, subject in (("all", "11"), ("hem", "H2")):
            write_disc(tmp_path / fold.format(k=k) / word / f"UID_{subject}_{k + 1}_1_{word}.png")
    place = tmp_path / prelim.format(t="C-NMC_test_prelim_phase_data")
    write_disc(place / "1.png")
    (place.parent / "C-NMC_test_prelim_phase_data_labels.csv").write_text(
        "Patient_ID,new_names,labels\nUID_H9_1_1_hem.bmp,1.bmp,0\n"
    )
    top = next(tmp_path.iterdir())
    for place in (tmp_path, top):
        found = read_dataset(place)
        assert Counter(r.source for r in found.records) == {"cnmc2019/train": 6, "cnmc2019/prelim": 1}
        assert sorted(r.fold for r in found.records if r.fold is not None) == [0, 0, 1, 1, 2, 2]
        assert {r.subject for r in found.records} == {"11", "H2", "H9"}


@pytest.mark.parametrize(("size", "name"), [(257, "allidb2"), (640, "allidb1")])
def test_pictures_of_allidb_alone_in_a_folder(tmp_path: Path, size: int, name: str) -> None:
    for number in (1, 2):
        write_disc(tmp_path / "cells" / f"Im{number:03d}_{number % 2}.tif", number, size)
    found = read_dataset(tmp_path / "cells")
    assert (found.name, found.labels().tolist()) == (name, [1, 0])


def test_a_division_that_is_not_used_is_said(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for word in ("blast", "normal"):
            write_disc(tmp_path / part / word / f"{part}.png")
    found = read_dataset(tmp_path)
    assert len(found) == 4
    assert found.notes == ("The folders train, val are read as one set; their division is not used.",)


def test_parts_of_one_published_set_show_the_same_patients(tmp_path: Path) -> None:
    for number, name in enumerate(CELLS):
        write_disc(tmp_path / f"half{number % 2}" / ("hem", "all")[label_of(name)] / name, number)
    halves = [read_dataset(tmp_path / f"half{k}") for k in (0, 1)]
    both = combine(halves)
    assert len(both) == len(CELLS)
    assert set(both.subjects().tolist()) == {f"cnmc2019:{each}" for each in ("11", "20", "21", "H9", "H3")}
    assert combine(halves[::-1]).fingerprint() == both.fingerprint()
    group = next(r.group for r in both.records if r.subject == "cnmc2019:20")
    assert same_patients("cnmc2019", {group.removeprefix("cnmc2019:")}, both) == {group}


def test_pictures_of_a_data_set_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    for label, odd in (("blast", "cell.dat"), ("normal", "cell")):
        write_disc(tmp_path / label / "p1" / "a.png", 60)
        (tmp_path / label / "p1" / odd).write_bytes((tmp_path / label / "p1" / "a.png").read_bytes())
        (tmp_path / label / "p1" / "labels.txt").write_text("a.png,1")
        (tmp_path / label / "p1" / ".hidden").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(tmp_path / "blast" / "p1" / "pipe")  # is left alone, not waited for
    found = [record.path for record in read_dataset(tmp_path).records]
    assert found == ["blast/p1/a.png", "blast/p1/cell.dat", "normal/p1/a.png", "normal/p1/cell"]
