from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from leukoscope.datasets.dataset import read_manifest
from leukoscope.datasets.readers import read_cnmc, read_dataset, read_folders, read_table
from leukoscope.datasets.readers.cnmc import read_labels
from leukoscope.errors import DataError

from .pictures import write_disc

TRAINING = (
    "fold_0/all/UID_20_1_1_all.bmp",
    "fold_0/all/UID_9_1_2_all.webp",
    "fold_1/hem/UID_H10_1_1_hem.bmp",
    "fold_2/all/UID_21_4_1_all.png",
    "fold_2/hem/UID_h3_2_9_hem.bmp",
    "fold_2/hem/UID_H3_2_8_hem.bmp",
)
LABELS = "Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\nUID_H30_2_1_hem.bmp,2.bmp,0\n"
LABELS_NAME = "C-NMC_test_prelim_phase_data_labels.csv"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "C-NMC_Leukemia"
    for number, name in enumerate(TRAINING):
        write_disc(root / "training_data" / name, number)
    for name in ("1.bmp", "2.bmp"):
        write_disc(root / "validation_data" / "C-NMC_test_prelim_phase_data" / name)
        write_disc(root / "testing_data" / "C-NMC_test_final_phase_data" / name)
    (root / "validation_data" / LABELS_NAME).write_text(LABELS)
    return root


def test_cnmc_tree(tree: Path) -> None:
    manifest = read_dataset(tree)
    assert [r.path for r in manifest.records] == sorted(r.path for r in manifest.records)
    by_path = {r.path: r for r in manifest.records}
    assert len(by_path) == 10
    healthy = by_path["training_data/fold_2/hem/UID_h3_2_9_hem.bmp"]
    assert (healthy.subject, healthy.label, healthy.fold, healthy.field) == ("H3", 0, 2, "2")
    assert healthy.source == "cnmc2019/train"
    # 20 and 21 are one patient: byte-identical pictures stand under both names.
    merged = by_path["training_data/fold_0/all/UID_20_1_1_all.bmp"].group
    assert merged == by_path["training_data/fold_2/all/UID_21_4_1_all.png"].group
    assert {"20", "21"} <= set(str(merged).split("+"))
    assert by_path["training_data/fold_0/all/UID_9_1_2_all.webp"].group == "9"
    prelim = by_path["validation_data/C-NMC_test_prelim_phase_data/1.bmp"]
    assert (prelim.subject, prelim.label, prelim.fold, prelim.source) == ("57", 1, None, "cnmc2019/prelim")
    final = by_path["testing_data/C-NMC_test_final_phase_data/1.bmp"]
    assert (final.subject, final.label, final.source) == (None, None, "cnmc2019/final")


def test_cnmc_is_found_from_above_and_from_training_data(tree: Path) -> None:
    whole = read_dataset(tree)
    assert read_dataset(tree.parent).fingerprint() == whole.fingerprint()
    training = read_dataset(tree / "training_data")
    assert training.root.resolve() == whole.root.resolve()
    assert training.records == tuple(r for r in whole.records if r.source == "cnmc2019/train")


@pytest.mark.parametrize("place", ["validation_data/C-NMC_test_prelim_phase_data", ".", ".."])
def test_prelim_labels_are_found_beside(tree: Path, place: str) -> None:
    shutil.move(tree / "validation_data" / LABELS_NAME, tree / place / LABELS_NAME)
    assert Counter(r.label for r in read_cnmc(tree).records if r.source == "cnmc2019/prelim") == {1: 1, 0: 1}


def test_prelim_labels_can_be_given_or_lack(tree: Path, tmp_path: Path) -> None:
    table = shutil.move(tree / "validation_data" / LABELS_NAME, tmp_path / "elsewhere.csv")
    prelim = [r for r in read_cnmc(tree).records if r.source == "cnmc2019/prelim"]
    assert [(r.label, r.subject) for r in prelim] == [(None, None)] * 2
    prelim = [r for r in read_cnmc(tree, prelim_labels=table).records if r.source == "cnmc2019/prelim"]
    assert [(r.label, r.subject) for r in prelim] == [(1, "57"), (0, "H30")]


def test_copies_that_write_0_for_leukemic_are_refused(tmp_path: Path) -> None:
    table = tmp_path / LABELS_NAME
    table.write_text("Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,0\nUID_H30_2_1_hem.bmp,2.bmp,1\n")
    with pytest.raises(DataError, match="writes 0 for all"):
        read_labels(table)
    table.write_text("Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\nUID_H30_2_1_hem.bmp,2.bmp,1\n")
    with pytest.raises(DataError, match="1 labels contradict their names, first in line 3"):
        read_labels(table)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("UID_57_29_all.bmp,1.bmp,1", "line 2: 'UID_57_29_all.bmp' is not a name"),
        ("UID_57_29_1_all.bmp,1.bmp,2", "line 2: the label '2' is neither 0 nor 1"),
        ("UID_57_29_1_all.bmp,1.bmp,1\nUID_57_29_2_all.bmp,1.bmp,1", "line 3: 1.bmp stands twice"),
    ],
)
def test_faults_of_the_prelim_table(tmp_path: Path, row: str, words: str) -> None:
    (tmp_path / LABELS_NAME).write_text(f"Patient_ID,new_names,labels\n{row}\n")
    with pytest.raises(DataError, match=words):
        read_labels(tmp_path / LABELS_NAME)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fold_0/all/cell_17.bmp", r"1 names do not match .*cell_17\.bmp"),
        ("fold_0/all/UID_H9_1_1_all.bmp", "1 names do not match"),  # a healthy subject called leukemic
        ("fold_0/hem/UID_9_1_1_all.bmp", "1 names contradict their class folder"),
        ("fold_1/all/UID_9_1_2_all.bmp", "1 cells are held twice"),
        ("fold_0/all/UID_20_1_1_all.png", "1 cells are held twice"),
        ("fold_3/all/UID_9_1_3_all.bmp", "not a fold"),
        ("fold_0/other/UID_9_1_3_all.bmp", "not a class"),
    ],
)
def test_faults_of_the_cnmc_tree(tree: Path, name: str, words: str) -> None:
    write_disc(tree / "training_data" / name)
    with pytest.raises(DataError, match=words):
        read_cnmc(tree)


def test_prelim_pictures_without_a_row_are_listed(tree: Path) -> None:
    write_disc(tree / "validation_data" / "C-NMC_test_prelim_phase_data" / "1868.bmp")
    with pytest.raises(DataError, match=r"1 pictures have no row .*1868"):
        read_cnmc(tree)


def test_what_is_no_picture_is_ignored(tree: Path) -> None:
    count = len(read_cnmc(tree))
    folder = tree / "training_data" / "fold_0" / "all"
    for name in ("Thumbs.db", ".DS_Store", "._UID_9_1_2_all.bmp", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / ".hidden").mkdir()
    (tree / "__MACOSX").mkdir()
    assert len(read_cnmc(tree)) == count


@pytest.mark.parametrize(
    ("blast", "normal"), [("ALL", "Hem"), ("1", "0"), ("leukaemia", "healthy"), ("Positive", "benign")]
)
def test_class_folders(tmp_path: Path, blast: str, normal: str) -> None:
    write_disc(tmp_path / blast / "p1" / "a.png")
    write_disc(tmp_path / blast / "p1" / "f2" / "b.png")
    write_disc(tmp_path / normal / "c.png")
    found = {r.path: r for r in read_dataset(tmp_path).records}
    nested = found[f"{blast}/p1/f2/b.png"]
    assert (nested.label, nested.subject, nested.group, nested.field, nested.source) == (1, "p1", "p1", "f2", "folders")
    assert found[f"{blast}/p1/a.png"].field is None
    assert (found[f"{normal}/c.png"].label, found[f"{normal}/c.png"].subject) == (0, None)


def test_folders_of_unknown_name_are_listed_with_the_remedy(tmp_path: Path) -> None:
    for name in ("blast", "normal", "monocyte"):
        write_disc(tmp_path / name / "a.png")
    with pytest.raises(DataError, match=r"name no class: monocyte; name class folders as one of blast/all"):
        read_dataset(tmp_path)


def test_a_missing_class_is_an_error_unless_allowed(tmp_path: Path) -> None:
    write_disc(tmp_path / "normal" / "a.png")
    with pytest.raises(DataError, match="no pictures of the class blast"):
        read_folders(tmp_path)
    assert len(read_dataset(tmp_path, both_classes=False)) == 1


def test_loose_pictures_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "blast").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        read_folders(tmp_path)
    write_disc(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"1 pictures, such as a\.png"):
        read_folders(tmp_path)


def test_names_that_differ_only_in_case_are_reported(tmp_path: Path) -> None:
    write_disc(tmp_path / "normal" / "a.png")
    write_disc(tmp_path / "blast" / "Cell.png")
    other = write_disc(tmp_path / "blast" / "cell.png")
    if len(list(other.parent.iterdir())) == 1:
        pytest.skip("this disk does not distinguish upper and lower case")
    with pytest.raises(DataError, match=r"blast/Cell\.png and blast/cell\.png"):
        read_folders(tmp_path)


def test_table_with_few_columns(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_disc(tmp_path / "in" / name)
    (tmp_path / "t.csv").write_text("Label,Path,Subject\nALL,in/a.png,7\nhealthy,in/b.png,\n,in\\c.png,9\n")
    records = read_dataset(tmp_path / "t.csv").records
    assert [(r.path, r.label, r.subject, r.source) for r in records] == [
        ("in/a.png", 1, "7", "csv"),
        ("in/b.png", 0, None, "csv"),
        ("in/c.png", None, "9", "csv"),
    ]


def test_table_lists_absent_pictures(tmp_path: Path) -> None:
    write_disc(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("path,label\na.png,1\nb.png,0\n")
    with pytest.raises(DataError, match=r"1 of 2 pictures are not under .*: b\.png"):
        read_table(tmp_path / "t.csv")


def test_table_that_writes_0_for_leukemic_is_refused_where_names_tell(tmp_path: Path) -> None:
    for name in ("UID_9_1_1_all.png", "UID_H9_1_1_hem.png"):
        write_disc(tmp_path / name)
    (tmp_path / "t.csv").write_text("path,label\nUID_9_1_1_all.png,0\nUID_H9_1_1_hem.png,1\n")
    with pytest.raises(DataError, match="2 of 2 labels contradict the class"):
        read_table(tmp_path / "t.csv")


def test_a_written_manifest_is_a_data_set(tree: Path, tmp_path: Path) -> None:
    manifest = read_cnmc(tree)
    manifest.write_csv(tmp_path / "manifest.csv")
    assert read_dataset(tmp_path / "manifest.csv").records == manifest.records
    assert read_manifest(tmp_path / "manifest.csv").fingerprint() == manifest.fingerprint()


def test_auto_says_what_it_looked_for(tmp_path: Path) -> None:
    write_disc(tmp_path / "pictures" / "a.png")
    with pytest.raises(DataError, match=r"looked for training_data .*manifest\.csv.*blast/all/leukemia"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="use one of folders, "):
        read_dataset(tmp_path, reader="folder")
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="no C-NMC 2019 tree"):
        read_dataset(tmp_path, reader="cnmc")


@pytest.mark.data
def test_the_real_cells(real_data: Path) -> None:
    manifest = read_dataset(real_data / "cnmc2019")
    assert len(manifest) == 7197
    assert len(set(manifest.subjects())) == 59
    assert Counter(manifest.labels().tolist()) == {1: 4903, 0: 2294}
    small = [r for r in manifest.records if Path(r.path).name.startswith("UID_h3_")]
    assert len(small) == 36
    assert {r.subject for r in small} == {"H3"}
    groups = dict(zip(manifest.subjects().tolist(), manifest.groups().tolist(), strict=True))
    assert groups["20"] == groups["21"] != groups["22"]
    assert groups["51"] == groups["78"]
    assert all(len({r.label for r in manifest.records if r.subject == subject}) == 1 for subject in ("51", "H3"))


@pytest.mark.data
def test_the_real_preliminary_labels(real_data: Path, tmp_path: Path) -> None:
    table = real_data / "cnmc2019-facts" / "C-NMC_test_prelim_phase_data_labels.csv"
    names = read_labels(table)
    assert len(names) == 1867
    assert Counter(name.label for name in names.values()) == {1: 1219, 0: 648}
    assert len({name.subject for name in names.values()}) == 28
    turned = tmp_path / "turned.csv"
    rows = table.read_text().splitlines()
    turned.write_text(
        "\n".join([rows[0], *(f"{r.rpartition(',')[0]},{1 - int(r.rpartition(',')[2])}" for r in rows[1:])])
    )
    with pytest.raises(DataError, match="every label contradicts its name"):
        read_labels(turned)
    manifest = read_cnmc(real_data / "cnmc2019-originals", prelim_labels=table)
    assert Counter(r.source for r in manifest.records) == {"cnmc2019/train": 57, "cnmc2019/prelim": 18}
    assert all(r.label is not None for r in manifest.records)
