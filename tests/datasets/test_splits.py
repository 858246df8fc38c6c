from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from leukoscope.datasets.dataset import Manifest, Record
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import PROTOCOLS, Split, carve_groups, limit, make_split
from leukoscope.errors import DataError

ALONE = [protocol for protocol in PROTOCOLS if protocol != "laboratory"]  # of one data set


def uneven(seed: int = 0, blasts: int = 24, normals: int = 14) -> Manifest:
    """Groups of very uneven sizes, some of two subjects, in three official folds by subject."""
    rng = np.random.default_rng(seed)
    records = []
    for label, count in ((1, blasts), (0, normals)):
        for number in range(count):
            for picture in range(int(rng.geometric(0.03))):
                group = f"{'H' if label == 0 else ''}{number}"
                subject = f"{group}{'b' if number % 5 == 0 and picture % 2 else ''}"
                fold = (number + (picture % 2 if number % 5 == 0 else 0)) % 3
                records.append(Record(f"{subject}/{picture}.png", label, subject, group, fold, "csv"))
    records += [Record(f"unknown/{n}.png", None, None, None, None, "csv") for n in range(5)]
    return Manifest(Path(), tuple(records), "uneven")


def parts_of(split: Split) -> list[set[int]]:
    return [set(part.tolist()) for part in (split.train, split.val, split.test)]


@pytest.mark.parametrize("protocol", ALONE)
def test_every_labelled_picture_stands_in_one_part(protocol: str) -> None:
    manifest = uneven()
    for fold in range(3):
        split = make_split(manifest, protocol, fold=fold, folds=3)
        train, val, test = parts_of(split)
        assert len(train) + len(val) + len(test) == len(train | val | test)
        assert train | val | test == set(np.flatnonzero(manifest.labels() >= 0).tolist())
        for part in (split.train, split.val, split.test):
            assert set(manifest.labels()[part].tolist()) == {0, 1}
            assert part.dtype == np.int64
            assert not part.flags.writeable
            assert (np.diff(part) > 0).all()


def test_fewer_training_patients_change_nothing_else() -> None:
    manifest = uneven()
    whole, half = make_split(manifest, folds=3), make_split(manifest, folds=3, train_share=0.5)
    assert half.test.tolist() == whole.test.tolist()
    assert half.val.tolist() == whole.val.tolist()
    groups, labels = manifest.groups(), manifest.labels()
    kept = set(groups[half.train].tolist())
    assert half.train.tolist() == [i for i in whole.train.tolist() if groups[i] in kept]  # whole patients
    for label in (0, 1):
        share = (labels[half.train] == label).sum() / (labels[whole.train] == label).sum()
        assert share == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("protocol", ALONE)
def test_no_group_stands_in_both_train_and_val(protocol: str) -> None:
    manifest = uneven()
    split = make_split(manifest, protocol, folds=3)
    groups = manifest.groups()
    assert not set(groups[split.train]) & set(groups[split.val])


def test_folds_of_groups_are_disjoint_and_cover_all() -> None:
    manifest = uneven()
    tests = [make_split(manifest, "group", fold=fold, folds=4).test for fold in range(4)]
    assert sorted(np.concatenate(tests)) == np.flatnonzero(manifest.labels() >= 0).tolist()
    groups = manifest.groups()
    for one, other in itertools.combinations(tests, 2):
        assert not set(groups[one]) & set(groups[other])
    assert all(not make_split(manifest, "group", fold=fold, folds=4).crossing_groups(manifest) for fold in range(4))


def test_crossing_groups_against_brute_force() -> None:
    manifest = uneven()
    for protocol in ("subject", "official", "picture"):
        split = make_split(manifest, protocol, folds=3)
        where: dict[str, set[str]] = {}
        for name, part in (("train", split.train), ("val", split.val), ("test", split.test)):
            for index in part.tolist():
                where.setdefault(str(manifest.records[index].group), set()).add(name)
        crossing = {group for group, parts in where.items() if len(parts) > 1}
        assert set(split.crossing_groups(manifest)) == crossing
        assert len(split.crossing_groups(manifest)) == len(crossing) > 0


def test_the_test_part_is_that_of_scikit_learn() -> None:
    manifest = uneven()
    pool = np.flatnonzero(manifest.labels() >= 0)
    labels = manifest.labels()[pool]
    units = {"group": manifest.groups()[pool], "subject": manifest.subjects()[pool]}
    for protocol, unit in units.items():
        folds = list(StratifiedGroupKFold(3, shuffle=True, random_state=7).split(pool, labels, unit))
        for fold, (_, expected) in enumerate(folds):
            split = make_split(manifest, protocol, fold=fold, folds=3, seed=7)
            assert split.test.tolist() == pool[expected].tolist()
    _, expected = train_test_split(pool, test_size=0.2, stratify=labels, random_state=7)
    assert make_split(manifest, "picture", seed=7).test.tolist() == sorted(expected)
    official = [i for i, record in enumerate(manifest.records) if record.fold == 2]
    assert make_split(manifest, "official", fold=2).test.tolist() == official


def test_a_laboratory_is_left_out_with_all_patients_that_it_shares() -> None:
    records = tuple(
        Record(f"{name}/{k}.png", k % 2, f"{name}{k // 2}", "both" if k < 2 else f"{name}{k // 2}", None, name, None)
        for name in ("bergen", "aachen")
        for k in range(20)
    )
    joined = Manifest(Path(), records, "aachen+bergen", (("aachen", Path("a")), ("bergen", Path("b"))))
    split = make_split(joined, "laboratory", fold=1)
    assert split.folds == 2
    assert {records[i].source for i in split.test.tolist()} == {"bergen"}
    assert len(split.test) == 20
    rest = np.concatenate([split.train, split.val]).tolist()
    assert {records[i].source for i in rest} == {"aachen"}
    assert len(rest) == 18
    assert split.crossing_groups(joined) == []
    with pytest.raises(DataError, match="there is no laboratory 2"):
        make_split(joined, "laboratory", fold=2)
    with pytest.raises(DataError, match="one laboratory only"):
        make_split(uneven(), "laboratory")


def test_official_leaves_pictures_without_a_fold_aside() -> None:
    manifest = uneven()
    extra = Record("prelim/1.png", 1, "57", "57", None, "cnmc2019/prelim")
    wider = Manifest(manifest.root, (*manifest.records, extra), "wider")
    split = make_split(wider, "official", fold=1)
    assert split.folds == 3
    assert len(wider) - 1 not in set().union(*parts_of(split))


def test_same_seed_same_split_and_other_seeds_other_validation_parts() -> None:
    manifest = uneven()
    first, again = (make_split(manifest, seed=3) for _ in range(2))
    assert parts_of(first) == parts_of(again)
    assert len({tuple(make_split(manifest, seed=seed).val.tolist()) for seed in range(5)}) > 1


def brute_force(labels: np.ndarray, groups: np.ndarray, fraction: float) -> float:
    """Least possible sum of the two classes' misses, over all subsets of groups."""
    names = sorted(set(groups.tolist()))
    counts = [[int(((groups == name) & (labels == c)).sum()) for c in (0, 1)] for name in names]
    totals = [sum(count[c] for count in counts) for c in (0, 1)]
    best = np.inf
    for chosen in itertools.product((0, 1), repeat=len(names)):
        held = [sum(count[c] for count, take in zip(counts, chosen, strict=True) if take) for c in (0, 1)]
        if all(0 < held[c] < totals[c] for c in (0, 1)):
            best = min(best, sum(abs(held[c] / totals[c] - fraction) for c in (0, 1)))
    return best


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=5),
    st.lists(st.integers(1, 60), min_size=2, max_size=5),
    st.sampled_from([0.1, 0.15, 0.3]),
)
def test_the_carved_share_is_as_near_as_whole_groups_allow(
    blasts: list[int], normals: list[int], fraction: float
) -> None:
    sizes = [(f"b{n}", 1, size) for n, size in enumerate(blasts)] + [
        (f"n{n}", 0, size) for n, size in enumerate(normals)
    ]
    groups = np.concatenate([[name] * size for name, _, size in sizes])
    labels = np.concatenate([[label] * size for _, label, size in sizes]).astype(np.int64)
    val = carve_groups(labels, groups, fraction, seed=0)
    assert not set(groups[val]) & set(groups[~val])
    assert set(labels[val].tolist()) == set(labels[~val].tolist()) == {0, 1}
    miss = sum(abs(val[labels == c].mean() - fraction) for c in (0, 1))
    assert miss <= brute_force(labels, groups, fraction) + 0.01 + 1e-12


def test_the_carving_does_not_depend_on_the_order_of_pictures() -> None:
    manifest = uneven().labelled()
    labels, groups = manifest.labels(), manifest.groups()
    order = np.random.default_rng(0).permutation(len(manifest))
    val = carve_groups(labels, groups, 0.15, seed=1)
    assert carve_groups(labels[order], groups[order], 0.15, seed=1).tolist() == val[order].tolist()


def test_one_huge_patient_is_not_the_validation_part() -> None:
    groups = np.array(
        ["huge"] * 150 + [f"s{n}" for n in range(85) for _ in range(10)] + [f"n{n // 10}" for n in range(200)]
    )
    labels = np.array([1] * 1000 + [0] * 200)
    val = carve_groups(labels, groups, 0.15, seed=0)
    assert len(set(groups[val & (labels == 1)])) > 8


@pytest.mark.parametrize("blasts", [1, 2])
def test_groups_of_both_classes_are_needed_on_both_sides(blasts: int) -> None:
    names = ["a"] * 5 + (["b"] * 5 if blasts == 2 else []) + ["n1"] * 5 + ["n2"] * 5
    labels = np.array([1] * (5 * blasts) + [0] * 10)
    if blasts == 1:
        with pytest.raises(DataError, match="the class blast stands in 1 patient groups"):
            carve_groups(labels, np.array(names), 0.15, seed=0)
    else:
        assert carve_groups(labels, np.array(names), 0.15, seed=0).sum() == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"protocol": "groups"}, "no split protocol 'groups'; use one of group, "),
        ({"protocol": "zebra"}, "use one of laboratory, group, subject, "),
        ({"fold": 5}, "no fold 5 of 5"),
        ({"fold": -1}, "no fold -1"),
        ({"folds": 1}, "no fold 0 of 1"),
        ({"folds": 15, "fold": 14}, "the class normal has 14 groups, too few for 15 folds"),
        ({"protocol": "official", "fold": 3}, "no official fold 3, only 0, 1, 2"),
        ({"val_fraction": 0.0}, "not between 0 and 1"),
    ],
)
def test_errors(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_split(uneven(), **{"protocol": "group", **arguments})  # type: ignore[arg-type]


def test_data_that_cannot_be_split() -> None:
    blasts = uneven().select(uneven().labels() == 1)
    with pytest.raises(DataError, match="the data set holds no picture of the class normal"):
        make_split(blasts, "group")
    folders = tuple(Record(f"{n}.png", n % 2, None, None, None, "folders") for n in range(40))
    with pytest.raises(DataError, match="no official folds"):
        make_split(Manifest(Path(), folders, "f"), "official")
    assert len(make_split(Manifest(Path(), folders, "f"), "group").test) == 8  # each picture a group of its own


def test_a_split_survives_json_and_another_order() -> None:
    manifest = uneven()
    split = make_split(manifest, "group", fold=2, seed=5)
    stored = json.loads(json.dumps(split.to_json(manifest)))
    turned = Manifest(Path("/moved"), manifest.records[::-1], "turned")
    again = Split.from_json(stored, turned)
    assert (again.protocol, again.fold, again.folds, again.seed) == ("group", 2, 5, 5)
    for part in ("train", "val", "test"):
        paths = [{m.records[i].path for i in getattr(s, part)} for s, m in ((split, manifest), (again, turned))]
        assert paths[0] == paths[1]
    with pytest.raises(DataError, match="drawn from other data"):
        Split.from_json(stored, manifest.select(np.arange(20)))
    with pytest.raises(DataError, match="not a stored split"):
        Split.from_json({key: stored[key] for key in stored if key != "val"}, manifest)


@pytest.mark.parametrize("n", [2, 10, 37, 200])
def test_limit_keeps_shares_and_groups(n: int) -> None:
    manifest = uneven().labelled()
    small = limit(manifest, n, seed=0)
    assert len(small) == n
    share = (manifest.labels() == 1).mean()
    assert abs((small.labels() == 1).sum() - n * share) <= 1
    for label in (0, 1):
        held = len(set(small.groups()[small.labels() == label]))
        there = len(set(manifest.groups()[manifest.labels() == label]))
        assert held == min(there, int((small.labels() == label).sum()))
    assert small.records == limit(manifest, n, seed=0).records
    assert [r.path for r in small.records] == [r.path for r in manifest.records if r in set(small.records)]


def test_limit_takes_pictures_of_a_group_in_turn() -> None:
    records = tuple(
        Record(f"{g}{n}.png", 1, g, g, None, "csv") for g, size in (("a", 50), ("b", 3), ("c", 9)) for n in range(size)
    )
    counts = Counter(limit(Manifest(Path(), records, "m"), 15, seed=4).groups().tolist())
    assert counts == {"a": 6, "b": 3, "c": 6}


def test_limit_of_all_and_of_none() -> None:
    manifest = uneven()
    assert limit(manifest, 10**6, seed=0) is manifest
    with pytest.raises(DataError, match="at least 1"):
        limit(manifest, 0, seed=0)


@pytest.mark.data
def test_the_real_cells(real_data: Path) -> None:
    manifest = read_dataset(real_data / "cnmc2019")
    labels = manifest.labels()
    for fold in range(5):
        split = make_split(manifest, "group", fold=fold)
        assert split.crossing_groups(manifest) == []
        rest = np.concatenate([split.train, split.val])
        for label in (0, 1):
            share = (labels[split.val] == label).sum() / (labels[rest] == label).sum()
            assert share == pytest.approx(0.15, abs=0.05)
    official = make_split(manifest, "official", fold=0)
    assert [group for group in official.crossing_groups(manifest) if "21" in group.split("+")]


@pytest.mark.data
@pytest.mark.parametrize("folds", [3, 5])
def test_the_folds_of_the_real_cells_are_the_committed_ones(real_data: Path, folds: int) -> None:
    """Every figure of the docs rests on them; a library that draws otherwise one day must not move them unseen."""
    manifest = read_dataset(real_data / "cnmc2019").labelled()
    with (Path(__file__).parents[2] / "docs" / "figures" / "folds_cnmc2019.csv").open(encoding="utf-8") as file:
        committed = {row["group"]: row for row in csv.DictReader(file)}
    groups, labels = manifest.groups(), manifest.labels()
    for group, row in committed.items():
        mine = groups == group
        assert (int(row["cells"]), int(row["blasts"])) == (mine.sum(), labels[mine].sum())
    assert sum(int(row["cells"]) for row in committed.values()) == len(manifest)
    for fold in range(folds):
        tested = set(groups[make_split(manifest, fold=fold, folds=folds).test].tolist())
        assert tested == {group for group, row in committed.items() if row[f"fold_of_{folds}"] == str(fold)}
