from __future__ import annotations

from pathlib import Path

import pytest

from leukoscope.datasets.dataset import Manifest, Record
from leukoscope.datasets.groups import apply_groups, group_name, known_groups, read_groups
from leukoscope.errors import DataError


def manifest_of(subjects: list[tuple[str | None, str | None]]) -> Manifest:
    records = (Record(f"{n}.png", n % 2, subject, group, None, "csv") for n, (subject, group) in enumerate(subjects))
    return Manifest(Path(), tuple(records), "m")


def groups_of(manifest: Manifest) -> list[str | None]:
    return [record.group for record in manifest.records]


def test_the_shipped_table() -> None:
    groups = known_groups("cnmc2019")
    assert groups["20"] == groups["21"]
    assert groups["51"] == groups["78"]
    assert groups == known_groups("cnmc2019/train")
    assert known_groups("folders") == {}
    for subject, group in groups.items():
        assert subject in group.split("+")
        assert group == group_name(group.split("+"))
        assert all(groups[other] == group for other in group.split("+"))
    groups["20"] = "changed"
    assert known_groups("cnmc2019")["20"] != "changed"


def test_merging_by_a_mapping() -> None:
    manifest = manifest_of([("1", "1"), ("2", None), ("3", None), (None, None)])
    assert groups_of(apply_groups(manifest, {"1": "1+2", "2": "1+2"})) == ["1+2", "1+2", "3", None]
    assert groups_of(apply_groups(manifest, {"2": "ward 7", "3": "ward 7"})) == ["1", "ward 7", "ward 7", None]
    assert groups_of(apply_groups(manifest, {})) == ["1", "2", "3", None]


def test_merging_never_takes_a_group_apart() -> None:
    manifest = manifest_of([("20", "20+21"), ("21", "20+21"), ("99", "99"), ("5", "5")])
    assert groups_of(apply_groups(manifest, {"21": "21+99", "99": "21+99"})) == ["20+21+99"] * 3 + ["5"]
    # Chains through a subject that has no picture here count as well.
    chained = apply_groups(manifest_of([("1", None), ("3", None)]), {"1": "a", "2": "a"})
    chained = apply_groups(chained, {"2": "b", "3": "b"})
    assert groups_of(chained) == ["a", "b"]  # 2 is not here, so what it tied together is not known any more
    assert groups_of(apply_groups(manifest_of([("1", "x"), ("2", "x"), ("2", "y"), ("3", "y")]), {})) == ["1+2+3"] * 4


def test_a_part_of_a_group_keeps_its_name() -> None:
    manifest = manifest_of([("21", "20+21"), ("22", "22")])
    assert groups_of(apply_groups(manifest, known_groups("other"))) == ["20+21", "22"]
    assert groups_of(apply_groups(manifest, {"20": "20+21", "21": "20+21"})) == ["20+21", "22"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject,group\n1,a\n1,b\n", "line 3: subject 1 stands in two groups, a and b"),
        ("subject,group\n1,\n", "line 2: a subject and its group"),
        ("subject,set\n1,a\n", "no column group"),
    ],
)
def test_faults_of_a_table(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_groups(tmp_path / "g.csv")


def test_reading_a_table(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text('subject,group,evidence\n8,7+8,"a, b"\n7,7+8,\n')
    assert read_groups(tmp_path / "g.csv") == {"8": "7+8", "7": "7+8"}
