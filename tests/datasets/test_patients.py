"""`Patients` against counts made picture by picture; the prefix of unknown patients stands in one module."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import leukoscope
from leukoscope.datasets.combine import combine, same_patients
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.patients import Patients, patient_words, picture_of, unknown_patient
from leukoscope.datasets.record import Record

cells = st.lists(
    st.tuples(st.sampled_from(["7", "H3", "20+21", "lab:7", "picture", "1.png"]), st.booleans(), st.integers(0, 1)),
    min_size=1,
    max_size=40,
)


@given(cells)
def test_counts_and_strata_are_those_made_one_by_one(rows: list[tuple[str, bool, int]]) -> None:
    groups = [name if known else unknown_patient(name) for name, known, _ in rows]
    patients = Patients.of(groups)
    known = [name for name, known, _ in rows if known]
    unknown = {name for name, known, _ in rows if not known}
    assert (patients.count, patients.unknown) == (len(set(known)), len(unknown))
    assert patients.names() == list(dict.fromkeys(known))
    assert patients.sizes() == Counter(known)
    assert patients.all_known == (not unknown)
    assert [str(patients.group[unit]) for unit in patients.unit] == groups
    labels = defaultdict(set)
    for group, (_, _, label) in zip(groups, rows, strict=True):
        labels[group].add(label)
    for units, held in zip(patients.strata([label for *_, label in rows]), ({1}, {0}, {0, 1}), strict=True):
        assert [str(patients.group[unit]) for unit in units] == sorted(g for g in labels if labels[g] == held)


@given(st.text(max_size=12))
def test_a_group_is_a_patient_or_tells_its_picture(path: str) -> None:
    assert picture_of(unknown_patient(path)) == path


@pytest.mark.parametrize(
    ("groups", "words", "listing"),
    [
        ([], "0 patient groups", ""),
        (["a"], "1 patient group", "a"),
        (["b", "a", "b"], "2 patient groups", "b, a"),
        (["picture:1.png"], "unknown patients", "1 picture of unknown patients"),
        (["a", *(f"picture:{k}" for k in range(1200))], "1 patient group and unknown patients",
         "a, 1,200 pictures of unknown patients"),
    ],
)  # fmt: skip
def test_words(groups: list[str], words: str, listing: str) -> None:
    patients = Patients.of(groups)
    assert (patients.words(), patients.listing()) == (words, listing)
    assert patient_words(patients.count, patients.unknown) == words


def test_a_field_of_an_unknown_patient_stays_unknown_in_a_combined_set() -> None:
    """Its cells are one group, which is no patient: a combined set would have counted it as one by its new name."""
    group = unknown_patient("im/Im001_1.jpg")
    cut = tuple(Record(f"im/Im001_1.jpg.{k}.png", 1, None, group, None, "allidb1") for k in (1, 2))
    fields = Manifest(Path("/one"), cut, "allidb1")
    other = Manifest(Path("/two"), (Record("a.png", 0, "7", "7", None, "folders"),), "lab")
    both = combine([fields, other])
    assert both.patients().words() == "1 patient group and unknown patients"
    assert both.patients().names() == ["lab:7"]
    assert same_patients(both.name, both.groups().tolist(), fields) == {group}
    assert same_patients("allidb1", [group], both) == {unknown_patient("allidb1/im/Im001_1.jpg")}
    # as a combined set of an earlier version wrote it
    assert same_patients(both.name, [f"allidb1:{group}", "lab:7"], fields) == {group}


def test_how_an_unknown_patient_is_written_stands_in_one_module() -> None:
    package = Path(leukoscope.__file__).parent
    holders = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(f"{quote}picture:{after}" in path.read_text(encoding="utf-8") for quote in "\"'`" for after in "\"'`{")
    }
    assert holders == {"datasets/patients.py"}


def test_numbered_units_are_sorted_as_numbers() -> None:
    assert Patients.of(np.array([10, 9, 10])).group.tolist() == [9, 10]
