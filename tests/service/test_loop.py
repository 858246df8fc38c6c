"""The loop: what was signed becomes a data set, a bundle is fitted to it, tried on the signed cases, and activated."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from leukoscope.datasets.dataset import read_manifest
from leukoscope.datasets.readers.review import read_review
from leukoscope.service.casework.readers import anchoring, with_interval
from leukoscope.service.casework.verdicts import kappa, kappa_of_table
from workbench_client import read_all, work


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_signed_is_a_data_set_by_patient(guest, signed) -> None:
    manager = guest.as_("manager")
    done = work(manager, manager.post("/api/v1/exports", json={}))
    folder = guest.bench.settings.exports / done["id"]
    manifest = read_manifest(folder / "manifest.csv")
    assert sorted(set(manifest.subjects().tolist())) == ["=P 3", "P 1", "P 2"]
    assert len(manifest) == done["cells"] == 16
    assert all(path.is_file() for path in manifest.paths())
    readings = manager.get(f"/api/v1/exports/{done['id']}/readings.csv").text
    assert readings.count("\n") == 1 + done["readings"] == 20
    review = read_review(folder / "review.json")  # the same cells and labels, for every `--data`
    names = [path.name for path in manifest.paths()]
    assert sorted(zip((path.name for path in review.paths()), review.labels(), strict=True)) == sorted(
        zip(names, manifest.labels(), strict=True)
    )
    assert {each["note"] for each in json.loads((folder / "review.json").read_text())["cells"]} == {"blast", "monocyte"}
    coco = json.loads((folder / "coco.json").read_text())
    assert {each["category_id"] for each in coco["annotations"]} == {1, 5, 11}
    assert manager.get(f"/api/v1/exports/{done['id']}/../chain.key").status_code == 404
    manager.post(f"/api/v1/cases/{signed[0]}/fixed-set", json={"fixed_set": True})
    rest = work(manager, manager.post("/api/v1/exports", json={"held_out": True}))
    assert rest["left_out_subjects"] == 1
    kept = read_manifest(guest.bench.settings.exports / rest["id"] / "manifest.csv")
    assert "P 1" not in kept.subjects().tolist()


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.choice(list("abc"), (2, 50))
        assert kappa(list(one), list(other)) == pytest.approx(cohen_kappa_score(one, other))
    assert kappa(["a"] * 5, ["a"] * 5) is None


def test_anchoring_and_its_interval_are_of_subjects() -> None:
    tables = [np.array([[2.0, 2.0], [0.0, 4.0]]), np.array([[4.0, 0.0], [1.0, 3.0]])]
    found = with_interval(tables, anchoring)
    assert found["value"] == pytest.approx(7 / 8 - 2 / 8)
    assert found["low"] == pytest.approx(0.5)
    assert found["high"] == pytest.approx(0.75)
    assert with_interval(tables[:1], anchoring)["low"] is None
    assert kappa_of_table(np.array([[5.0, 0], [0, 5]])) == 1


def test_agreement_over_cases_names_readers_and_counts_subjects(guest, make_case) -> None:
    one, two = guest.as_("reader", login="one"), guest.as_("reader", login="two")
    for subject in ("A", "B"):
        case = make_case(3, subject=subject, readers=2, blind=True)
        read_all(one, case, "normal")
        read_all(two, case, "normal" if subject == "A" else "blast")
    told = guest.as_("manager").get("/api/v1/agreement").json()
    (pair,) = told["pairs"]
    assert sorted(pair["readers"]) == ["One", "Two"]
    assert (pair["subjects"], pair["cells"], pair["value"]) == (2, 6, 0.0)
    assert all(each["value"] is None for each in told["anchoring"])  # nobody saw a suggestion
