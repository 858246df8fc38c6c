"""Several data sets as one: names, paths and patients kept apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from leukoscope.cells.frame import Preparation
from leukoscope.cli import main
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.combine import combine, kin_of, parts_of, same_patients
from leukoscope.datasets.dataset import Manifest, Record, read_manifest
from leukoscope.datasets.facts import caveats
from leukoscope.datasets.groups import apply_groups
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.errors import DataError

from .pictures import write_class_folders


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Manifest, Manifest]:
    """Two laboratories whose subjects bear the same numbers."""
    return tuple(read_dataset(write_class_folders(tmp_path / f"lab{n}", 24)) for n in (1, 2))  # type: ignore[return-value]


def test_pictures_and_patients_stay_apart(sets: tuple[Manifest, Manifest]) -> None:
    both = combine(sets)
    assert both.name == "lab1+lab2"
    assert len(both) == 48
    assert parts_of(both).tolist() == ["lab1"] * 24 + ["lab2"] * 24
    assert all(path.is_file() for path in both.paths())
    assert len(set(both.groups())) == 2 * len(set(sets[0].groups()))
    assert both.records[0].subject == f"lab1:{sets[0].records[0].subject}"
    assert not make_split(both, folds=3).crossing_groups(both)


def test_neither_order_nor_place_matters(sets: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    both = combine(sets)
    assert combine(sets[::-1]) == both
    shutil.move(tmp_path / "lab2", tmp_path / "far" / "away" / "lab2")
    moved = combine([sets[0], read_dataset(tmp_path / "far/away/lab2")])
    assert moved.fingerprint() == both.fingerprint() != sets[0].fingerprint()
    assert moved.parts != both.parts
    assert all(path.is_file() for path in moved.paths())


def test_csv_round_trip(sets: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    both = combine(sets)
    file = tmp_path / "deep" / "both.csv"
    both.write_csv(file)
    assert file.read_text().startswith("# root: ..\n# part: lab1 = ../lab1\n# part: lab2 = ../lab2\n")
    for again in (read_manifest(file), read_dataset(file)):
        assert again == both
    assert apply_groups(again, {}).parts == both.parts
    assert again.select([0, 30]).paths() == [both.paths()[0], both.paths()[30]]
    cache = open_cache(again.select([0, 30]), Preparation(frame_size=64), 32, tmp_path / "cache", jobs=1)
    assert cache.frames.shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    "line", ["# part: lab1", "# part: = x", "# part: lab1 = a\n# part: lab1 = b", "# part: a/b = c"]
)
def test_bad_parts(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.csv").write_text(f"{line}\npath,label\nlab1/a.png,blast\n")
    with pytest.raises(DataError, match=r"m\.csv: line [12]: not a part of a combined data set"):
        read_dataset(tmp_path / "m.csv")


def test_a_path_of_no_part(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("# part: lab1 = .\npath,label\nlab2/a.png,blast\n")
    with pytest.raises(DataError, match="starts with no part"):
        read_dataset(tmp_path / "m.csv")


def test_refused(sets: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    assert combine([sets[0]]) is sets[0]
    with pytest.raises(DataError, match="no data set"):
        combine([])
    with pytest.raises(DataError, match="is given twice"):
        combine([sets[0], sets[0]])
    with pytest.raises(DataError, match="combined already"):
        combine([combine(sets), sets[0]])
    fields, cells = (
        Manifest(tmp_path, (Record("a.png", 1, None, None, None, f"rendered/{n}"),), n) for n in ("allidb1", "allidb2")
    )
    with pytest.raises(DataError, match="not independent"):
        combine([fields, cells])
    other = Manifest(tmp_path, (Record("b.png", 1, None, None, None, "csv"),), "lab1")
    with pytest.raises(DataError, match="bears the name of another"):
        combine([Manifest(tmp_path, (Record("a.png", 1, None, None, None, "csv"),), "lab1"), other])


def test_seen_patients_are_known_in_either_direction(sets: tuple[Manifest, Manifest]) -> None:
    one, two = sets
    both = combine(sets)
    groups = both.groups().tolist()
    assert same_patients(both.name, groups, both) == set(groups)
    assert same_patients(both.name, groups, one) == set(one.groups())
    assert same_patients(both.name, [g for g in groups if g.startswith("lab2:")], one) == set()
    assert same_patients(one.name, one.groups().tolist(), both) == {g for g in groups if g.startswith("lab1:")}
    assert same_patients(one.name, one.groups().tolist(), two) == set()


def test_nameless_pictures_are_known_again(tmp_path: Path) -> None:
    def lab(name: str) -> Manifest:
        return Manifest(tmp_path / name, (Record("a.png", 1, None, None, None, name),), name)

    both = combine([lab("x"), lab("y")])
    assert same_patients("x+y", both.groups().tolist(), lab("x")) == {"picture:a.png"}
    assert same_patients("x", ["picture:a.png"], both) == {"picture:x/a.png"}
    assert [sentence[:24] for sentence in caveats(both)[:2]] == [f"No patient is named in {n}" for n in "xy"]


def test_kin() -> None:
    cells = Manifest(Path(), (), "allidb2")
    assert "the same patients under other names" in str(kin_of("allidb1+cnmc2019", cells))
    assert kin_of("allidb2", cells) is None
    assert kin_of("cnmc2019", cells) is None


def test_command(sets: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    out = tmp_path / "both.csv"
    done = CliRunner().invoke(main, ["data", "combine", *(str(each.root) for each in sets), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert f"fingerprint {combine(sets).fingerprint()}" in done.output
    assert "lab1+lab2: lab1 24, lab2 24" in done.output
    assert read_dataset(out) == combine(sets)
