"""Pooled figures against scikit-learn, paired intervals against the two-table comparison, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import cells, write_run
from sklearn import metrics as reference

from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import DataError, RecipeError
from leukoscope.metrics.panel import compare
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.studies.compare.cost import Counts, Timing
from leukoscope.studies.compare.plan import read_plan
from leukoscope.studies.compare.pool import COMPARED, measure_entries, on_common_cells, pool_entries
from leukoscope.studies.compare.report import comparison_drawings, comparison_page, write_comparison
from leukoscope.studies.compare.table import Comparison, Cost, compare_runs

THRESHOLDS = (0.5, 0.3, 0.7)


def outcomes(folder: Path, model: str, *, seeds: tuple[int, ...] = (0,), skill: float = 1.0) -> list[Outcome]:
    data = cells()
    return [
        Outcome.given(
            write_run(folder / f"{model}{f}s{s}", data, model=model, fold=f, seed=s, skill=skill, threshold=t)
        )
        for s in seeds
        for f, t in enumerate(THRESHOLDS)
    ]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    folder = tmp_path_factory.mktemp("runs")
    return outcomes(folder, "plain_cnn", skill=0.6) + outcomes(folder, "crse_cnn", seeds=(0, 1))


def test_folds_pooled_as_scikit_learn_would(two: list[Outcome]) -> None:
    entries, faults = pool_entries(two)
    assert not faults
    assert [(e.name, e.folds, [p.seed for p in e.pools]) for e in entries] == [
        ("plain_cnn", (0, 1, 2), [0]),
        ("crse_cnn", (0, 1, 2), [0, 1]),
    ]
    tables = [each.run.scores() for each in two[:3]]
    label, logit, probability = (
        np.concatenate([getattr(t, k) for t in tables]) for k in ("label", "logit", "probability")
    )
    called = np.concatenate([t.probability >= at for t, at in zip(tables, THRESHOLDS, strict=True)])
    measured, _ = measure_entries(entries, "plain_cnn", replicates=200)
    found = {key: each.value for key, each in measured["plain_cnn"].figures.items()}
    expected = {
        "auc": reference.roc_auc_score(label, logit),
        "balanced_accuracy": reference.balanced_accuracy_score(label, called),
        "accuracy": reference.accuracy_score(label, called),
        "sensitivity": reference.recall_score(label, called),
        "f1_weighted": reference.f1_score(label, called, average="weighted"),
        "matthews": reference.matthews_corrcoef(label, called),
        "average_precision": reference.average_precision_score(label, logit),
        "brier": reference.brier_score_loss(label, probability),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert set(found) == set(COMPARED)
    for fold, table in enumerate(tables):
        calls = table.probability >= THRESHOLDS[fold]
        assert measured["plain_cnn"].folds[fold] == pytest.approx(
            {
                "auc": reference.roc_auc_score(table.label, table.logit),
                "f1_weighted": reference.f1_score(table.label, calls, average="weighted"),
            }
        )


def test_the_worst_subject_is_that_of_all_seeds_together(two: list[Outcome]) -> None:
    entry = pool_entries(two)[0][1]
    right: dict[str, list[float]] = {}
    for pool in entry.pools:
        for subject, label, called in zip(pool.scores.subject, pool.scores.label, pool.called, strict=True):
            right.setdefault(str(subject), []).append(float(label == called))
    assert {len(each) for each in right.values()} == {40}  # 20 cells, two seeds
    shares = {subject: float(np.mean(each)) for subject, each in right.items()}
    worst = measure_entries([entry], entry.name, replicates=200)[0][entry.name].worst
    assert worst is not None
    assert worst[1] == pytest.approx(min(shares.values()))
    assert shares[worst[0]] == pytest.approx(worst[1])


def test_seeds_are_averaged_figure_by_figure(two: list[Outcome]) -> None:
    measured, _ = measure_entries(pool_entries(two)[0], "plain_cnn", replicates=200)
    found = measured["crse_cnn"]
    assert list(found.seeds) == [0, 1]
    assert found.seeds[0]["auc"] != found.seeds[1]["auc"]
    for key in COMPARED:
        assert found.figures[key].value == pytest.approx(np.mean([each[key] for each in found.seeds.values()]))
        assert found.differences[key].value == pytest.approx(
            found.figures[key].value - measured["plain_cnn"].figures[key].value
        )
    assert measured["plain_cnn"].differences == {}


def test_how_long_a_run_was_trained(tmp_path: Path) -> None:
    taken = ((60.0, 30.0), (120.0,), (150.0, 150.0))
    runs = [write_run(tmp_path / f"{f}", cells(), fold=f, seconds=each) for f, each in enumerate(taken)]
    found = compare_runs([Outcome.given(run) for run in runs], replicates=20)
    assert found.entries["plain_cnn"].facts["training_minutes"] == {"median": 2.0, "low": 1.5, "high": 5.0}
    (row,) = csv.DictReader(io.StringIO(found.to_csv()))
    assert row["training_minutes"] == "2.0"
    assert "a run trained 2 min (1.5 to 5)" in " ".join(comparison_page(found, []).split())
    (runs[1] / "metrics.jsonl").write_text('{"epoch": 1}\n')
    found = compare_runs([Outcome.given(run) for run in runs], replicates=20)
    assert found.entries["plain_cnn"].facts["training_minutes"] is None
    assert "a run trained" not in comparison_page(found, [])


def test_a_comparison_on_cells_of_unknown_patients_counts_none(tmp_path: Path) -> None:
    data = cells()
    loose = Manifest(data.root, tuple(replace(each, subject=None, group=None) for each in data.records), data.name)
    found = compare_runs([Outcome.given(write_run(tmp_path / "run", loose))], replicates=20)
    assert found.counts["lone"] == found.counts["groups"] == found.counts["cells"]
    assert found.notes[0].startswith(f"{found.counts['cells']} pictures are of unknown patients")
    page = " ".join(comparison_page(found, comparison_drawings(found)).split())
    assert "normal cells of unknown patients. Reference: plain_cnn." in page
    assert "cells of unknown patients; 95 % intervals, likely too narrow" in page


def test_paired_intervals_are_those_of_two_tables(tmp_path: Path) -> None:
    data = cells()
    runs = [write_run(tmp_path / m, data, model=m, skill=s) for m, s in (("plain_cnn", 0.2), ("crse_cnn", 1.5))]
    measured, _ = measure_entries(
        pool_entries([Outcome.given(r) for r in runs])[0], "plain_cnn", replicates=300, seed=5
    )
    tables = [Outcome.given(run).run.scores() for run in runs]
    rows = compare(tables[0], tables[1], thresholds=(0.5, 0.5), replicates=300, seed=5)
    expected = {row.key: row for row in rows}
    for key in COMPARED:
        assert measured["crse_cnn"].differences[key] == pytest.approx(expected[key].difference)
        assert measured["crse_cnn"].better(key) == {"second": True, "first": False, None: None}[expected[key].better]
    assert measured["crse_cnn"].better("auc") is True


def test_cells_are_matched_by_name(tmp_path: Path, two: list[Outcome]) -> None:
    part = Outcome.given(write_run(tmp_path / "part", cells(), fold=1, measured=60), "part")
    entries, _ = pool_entries([*two, part])
    kept, faults, notes = on_common_cells(entries, "plain_cnn")
    assert not faults
    assert {len(pool.scores) for entry in kept for pool in entry.pools} == {60}
    assert len({pool.scores.path for entry in kept for pool in entry.pools}) == 1
    assert notes[0].startswith("plain_cnn was tested on 240 cells; its figures here are those of the 60")
    assert len(notes) == 2


def test_what_cannot_be_compared_says_why(tmp_path: Path, two: list[Outcome]) -> None:
    elsewhere = Outcome.given(write_run(tmp_path / "e", cells(name="other")), "elsewhere")
    again = [Outcome.given(write_run(tmp_path / f"a{i}", cells()), "again") for i in range(2)]
    parts = (("group", 1), ("subject", 0))
    mixed = [Outcome.given(write_run(tmp_path / f"m{p}", cells(), protocol=p, fold=f), "mixed") for p, f in parts]
    straight = cells()
    records = tuple(replace(each, label=1 - (each.label or 0)) for each in straight.records)
    turned = Manifest(straight.root, records, "drawn")
    other = Outcome.given(write_run(tmp_path / "t", turned), "turned")
    failed = Outcome(Row("failed"), "failed", tmp_path, "no such luck")
    found = compare_runs([*two, elsewhere, *again, *mixed, other, failed], replicates=100)
    assert list(found.measures) == ["plain_cnn", "crse_cnn"]
    assert found.names == ("plain_cnn", "crse_cnn", "elsewhere", "again", "mixed", "turned", "failed")
    assert "measured on other data (other) than the reference (drawn)" in found.faults["elsewhere"]
    assert "were tested on the same cells" in found.faults["again"]
    assert "several protocols: group, subject" in found.faults["mixed"]
    assert "another label or patient group than plain_cnn" in found.faults["turned"]
    assert found.faults["failed"] == "no such luck"
    page = unescape(comparison_page(found, comparison_drawings(found)))
    assert all(why in page for why in found.faults.values())
    with pytest.raises(DataError, match="reference 'failed' has no figures"):
        compare_runs([*two, failed], reference="failed")


def test_a_run_with_another_runs_answers_is_refused(tmp_path: Path) -> None:
    one, two = (write_run(tmp_path / str(f), cells(), fold=f) for f in (0, 1))
    (one / "evaluation" / "predictions.csv").write_bytes((two / "evaluation" / "predictions.csv").read_bytes())
    with pytest.raises(Exception, match="the table of answers is not about the run's test part"):
        Outcome.given(one)


def cost(name: str, ms: float, mb: float) -> Cost:
    counts = Counts(1000, 2_000_000, 3000, int(mb * 1e6), 64)
    return Cost(counts, {1: 50.0, 32: 99.0}, (Timing(name, "onnxruntime", 1, 1, ms, ms / 2, ms * 2, ms, 5),))


@pytest.fixture(scope="module")
def whole(two: list[Outcome]) -> Comparison:
    costs = {
        "plain_cnn": cost("plain_cnn", 5.0, 1.5),
        "crse_cnn": cost("crse_cnn", 9.0, 1.8),
        "rival": cost("rival", 99, 9),
    }
    return compare_runs(two, costs=costs, replicates=100, context={"command": "leukoscope compare <b>"})


def test_the_front_is_what_nothing_beats(whole: Comparison) -> None:
    def spent(found: Cost) -> float:
        return found.timings[0].median

    assert whole.front(spent) == ["plain_cnn", "crse_cnn"]  # the dearer one is better
    assert whole.front(lambda found: -found.timings[0].median) == ["crse_cnn"]  # dearer counted as cheaper
    assert whole.front(lambda _found: 1.0) == ["crse_cnn"]


def test_files_of_a_comparison(whole: Comparison, tmp_path: Path) -> None:
    page = write_comparison(whole, tmp_path).read_text()
    assert page.count("<svg") == 3
    assert "SHORTENED RUNS: epochs=2 (recipe: 50)" in page
    assert "leukoscope compare &lt;b&gt;" in page
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert [each["name"] for each in found["entries"]] == ["plain_cnn", "crse_cnn", "rival"]
    assert found["entries"][1]["runs"]["seeds"] == [0, 1]
    assert found["entries"][2].get("metrics") is None
    assert found["entries"][2]["cost"]["ms_per_cell"][0]["median"] == 99
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert [row["entry"] for row in rows] == ["plain_cnn", "crse_cnn", "rival"]
    assert float(rows[1]["auc_minus"]) == found["entries"][1]["minus_reference"]["auc"]["value"]
    assert (rows[0]["auc_minus"], rows[2]["auc"], rows[2]["ms_onnxruntime_1t_b1"]) == ("", "", "99")
    assert all(None not in row and None not in row.values() for row in rows)
    assert not list(tmp_path.glob("*.part"))


def test_plans(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "data: cells\nmodels: [plain_cnn]\nfold: [0, 1]\nentries: [{name: old, runs: [r0]}]\nset: [epochs=2]\n"
    )
    plan = read_plan(path, {"seeds": (3,), "models": (), "entries": ({"bundle": Path("b")},)})
    assert plan.data == (tmp_path / "cells",)
    assert list(plan.lines) == ["plain_cnn", "old", "b"]
    assert plan.lines["old"].runs == (tmp_path / "r0",)
    assert [(r.entry, r.fold, r.seed, r.overrides) for r in plan.rows()] == [
        ("plain_cnn", 0, 3, ("epochs=2",)),
        ("plain_cnn", 1, 3, ("epochs=2",)),
    ]
    crossed = read_plan(None, {"models": ("a", "b"), "recipes": ("paper", "x.yaml")})
    assert list(crossed.lines) == ["a, paper", "b, paper", "a, x.yaml", "b, x.yaml"]
    path.write_text("data: [one, two]\nmodels: [plain_cnn]\n")
    assert read_plan(path, {}).data == (tmp_path / "one", tmp_path / "two")
    assert read_plan(path, {"data": (Path("given"),)}).data == (Path("given"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("modls: [a]", "modls: Extra inputs"),
        ("models: [a]\nreference: b", "the reference 'b' is no entry; use one of: a"),
        ("models: [a, a]", "two entries are called 'a'"),
        ("entries: [{name: x}]", "either a model to train, or runs, or a bundle"),
        ("data: x", "nothing to compare"),
        ("- a", "no keys at the top"),
        ("a: [", "cannot be read as YAML"),
        ("models: [a]\nfold: [-1]", "fold.0"),
    ],
)
def test_bad_plans(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_plan(path, {})
    assert why in str(caught.value)


def test_captions_wrap_on_a_phone_and_stay_while_the_table_moves(two: list[Outcome], tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed")
    file = write_comparison(compare_runs(two, replicates=20), tmp_path)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        table = page.locator(".scroll", has=page.locator("caption")).first
        assert table.evaluate("node => node.scrollWidth > node.clientWidth + 100")  # wider than the phone
        for moved in (0, 100):
            table.evaluate("(node, left) => { node.scrollLeft = left }", moved)
            place = table.locator("caption").bounding_box()
            assert place is not None
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= 390
        browser.close()
