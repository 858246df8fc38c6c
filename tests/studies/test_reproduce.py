"""The reproduction of the paper, from cells to verdicts, on rendered cells; its parts against hand-made cases."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, roc_auc_score

from allidb_files import write_allidb2
from leukoscope.cli import main
from leukoscope.datasets.open import open_sets
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import DataError, ModelError
from leukoscope.metrics.panel import Panel
from leukoscope.metrics.scores import Scores
from leukoscope.studies.compare.pool import Entry, Pool
from leukoscope.studies.paper.claims import CUSTOM, FAILS, HOLDS, OPEN, RIVALS, load_claims
from leukoscope.studies.paper.report import lines, verdict_text, write_reproduction
from leukoscope.studies.paper.reproduce import reproduce
from leukoscope.studies.paper.rulings import parameters
from leukoscope.studies.paper.study import BY_KEY, SHOWN, ReproductionPlan, figures, paired_differences

SET = ("input.size=32", "optimizer.learning_rate=1e-3")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells") / "one"
    write_synthetic(folder, count=72, seed=1, layout="cnmc", subjects=12, size=160)
    return folder


@pytest.fixture(scope="module")
def made(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One network, shortened as far as it goes: five trainings of one epoch."""
    folder = tmp_path_factory.mktemp("out")
    plan = ReproductionPlan(models=("plain_cnn",), folds=2, epochs=1, limit=60, overrides=SET)
    value = reproduce(
        [read_dataset(cells)], plan, folder, cache_folder=folder / "cache", jobs=1, isolated=False, replicates=200
    )
    write_reproduction(value, folder)
    return value, folder


def test_the_paper_equalises_its_own_networks_only() -> None:
    plan = ReproductionPlan(folds=3, epochs=2, limit=50)
    rows = {(row.entry, row.fold): row for row in plan.rows()}
    assert len(rows) == 7 * (1 + 1 + 3 + 3)
    for model in (*CUSTOM, *RIVALS):
        stated, clahe = (rows[f"{arm}/{model}", 0] for arm in ("stated", "clahe"))
        assert stated.protocol == clahe.protocol == "picture"
        assert (stated.overrides == clahe.overrides) == (model in CUSTOM)
        assert ("input.preparation.clahe=null" in stated.overrides) == (model in RIVALS)
        assert rows[f"group/{model}", 2].protocol == "group"
    assert "input.size=299" in rows["group/inception_v3", 0].overrides
    assert rows["stated/vgg16", 0].to_recipe().input.preparation.clahe is None
    own = ReproductionPlan(overrides=("input.size=64",)).rows([BY_KEY["group"]])
    assert not any("input.size=299" in row.overrides for row in own)


def test_all_arms_are_measured_and_the_custom_one_trains_once(made: tuple[dict[str, Any], Path]) -> None:
    value, folder = made
    found = {(row["arm"], row["model"]): row for row in value["figures"]}
    assert len(found) == 4 * 7
    assert {key for key, row in found.items() if "missing" not in row} == {(arm, "plain_cnn") for arm in BY_KEY}
    assert found["stated", "plain_cnn"]["metrics"] == found["clahe", "plain_cnn"]["metrics"]
    assert len(list((folder / "runs" / "rendered").glob("plain_cnn-*"))) == 1 + 2 + 2
    assert found["group", "plain_cnn"]["folds"] == [0, 1]
    assert found["group", "plain_cnn"]["pictures"] == 60
    assert found["stated", "plain_cnn"]["pictures"] == 12
    assert "left out" in found["group", "vgg16"]["missing"]


def test_figures_are_those_of_the_runs(made: tuple[dict[str, Any], Path]) -> None:
    value, folder = made
    tables = [
        (Scores.read_csv(run / "evaluation/predictions.csv"), json.loads((run / "evaluation/metrics.json").read_text()))
        for run in (folder / "runs" / "rendered").glob("plain_cnn-paper-group*")
    ]
    truth = np.concatenate([scores.label for scores, _ in tables])
    called = np.concatenate([scores.probability >= facts["threshold"] for scores, facts in tables])
    [row] = [row for row in value["figures"] if (row["arm"], row["model"]) == ("group", "plain_cnn")]
    assert row["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(truth, called))
    logit = np.concatenate([scores.logit for scores, _ in tables])
    assert row["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(truth, logit))
    assert row["naive"]["accuracy"]["value"] == row["metrics"]["accuracy"]["value"]


def test_every_claim_is_a_row_with_a_verdict(made: tuple[dict[str, Any], Path]) -> None:
    value, folder = made
    rows = value["claims"]
    assert {row["id"] for row in rows} == {claim.id for claim in load_claims()}
    said = [row[where] for row in rows for where in ("stated", "new_patients") if row[where] is not None]
    assert {each["verdict"] for each in said} <= {HOLDS, FAILS, OPEN}
    assert all(each["reason"] for each in said if each["verdict"] == OPEN)
    plain = {row["id"]: row for row in rows if row["model"] in ("", "plain_cnn")}
    assert plain["ones-97"]["stated"]["verdict"] == FAILS
    assert plain["accuracy-100"]["stated"]["figure"] is not None
    assert plain["better-vgg16"]["stated"]["verdict"] == OPEN
    assert "vgg16 was left out" in plain["better-vgg16"]["stated"]["reason"]
    assert plain["training-92.8"]["stated"]["cells"] > 20
    with (folder / "claims.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == len(said)
    assert Counter(row["verdict"] for row in listed) == Counter(each["verdict"] for each in said)
    assert json.loads((folder / "reproduction.json").read_text()) == value


def test_what_the_split_was_worth_is_paired_on_the_same_cells(made: tuple[dict[str, Any], Path]) -> None:
    value, folder = made
    [worth] = value["worth"]
    assert worth["cells"] == 12
    [stated] = (folder / "runs" / "rendered").glob("plain_cnn-paper-picture*")
    scores = Scores.read_csv(stated / "evaluation/predictions.csv")
    threshold = json.loads((stated / "evaluation/metrics.json").read_text())["threshold"]
    right = accuracy_score(scores.label, scores.probability >= threshold)
    assert worth["values"]["accuracy"]["as_stated"] == pytest.approx(right)
    gap = worth["values"]["accuracy"]["as_stated"] - worth["values"]["accuracy"]["new_patients"]
    assert worth["differences"]["accuracy"]["value"] == pytest.approx(gap)
    assert "on the same 12 cells, having seen other cells of the same patients" in worth["sentence"]


def test_a_shortened_run_is_labelled_on_every_figure(made: tuple[dict[str, Any], Path]) -> None:
    value, folder = made
    for row in (*value["figures"], *value["worth"]):
        if "missing" not in row:
            assert "epochs=1 (recipe: 50)" in row["shortened"]
            assert "60 pictures only" in row["shortened"]
    page = (folder / "reproduction.html").read_text()
    assert page.count("60 pictures only") >= 1 + 4 + 1
    told = [row["stated"] for row in value["claims"] if row["stated"] and row["stated"]["figure"]]
    assert told
    assert all(verdict_text(each).endswith("[shortened run]") for each in told)
    assert any(line.startswith("SHORTENED RUNS: ") for line in lines(value))
    with (folder / "figures.csv").open() as file:
        assert all("shortened" in row["note"] for row in csv.DictReader(file) if row["figure"])


def test_the_command_uses_finished_runs_and_trains_nothing(
    made: tuple[dict[str, Any], Path], cells: Path, tmp_path: Path
) -> None:
    value, folder = made
    options = ["--folds", "2", "--epochs", "1", "--limit", "60", "--model", "plain_cnn", "--no-train"]
    for override in SET:
        options += ["--set", override]
    paths = ["--data", cells, "--runs", folder / "runs" / "rendered", "--out", tmp_path, "--cache", tmp_path / "cache"]
    done = CliRunner().invoke(main, ["reproduce", "paper", *map(str, paths), *options])
    assert done.exit_code == 0, done.output
    again = json.loads((tmp_path / "reproduction.json").read_text())
    values = [[row.get("metrics", {}).get("auc", {}).get("value") for row in v["figures"]] for v in (value, again)]
    assert values[0] == values[1]
    assert not (tmp_path / "runs").exists()
    assert "plain_cnn: on the same 12 cells" in done.output
    assert "CRSE-CNN reaches 97 % test accuracy (plain_cnn); claimed: 0.970" in done.output
    other = CliRunner().invoke(main, ["reproduce", "paper", *map(str, paths), *options, "--seed", "3", "--replace"])
    assert other.exit_code == 1  # those are other runs
    assert "no finished run of it was given" in other.output


def test_two_sets_are_crossed_and_combined(cells: Path, made: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, folder = made
    two = open_sets([write_allidb2(tmp_path / "ALL_IDB2")], cut_folder=tmp_path / "cache", jobs=1).manifest
    plan = ReproductionPlan(models=("plain_cnn",), folds=2, epochs=1, limit=60, overrides=SET)
    value = reproduce(
        [read_dataset(cells), two],
        plan,
        tmp_path / "out",
        cache_folder=tmp_path / "cache",
        given=[folder / "runs" / "rendered"],
        jobs=1,
        isolated=False,
        replicates=200,
        claims=(),
    )
    [across] = value["across"]
    assert (across["trained_on"], across["tested_on"], across["pictures"]) == ("rendered", "allidb2", 12)
    assert 0 <= across["metrics"]["auc"]["value"] <= 1
    told = {(row["arm"], row["tested_on"]): row["pictures"] for row in value["combined"]}
    assert set(told) == {(arm, name) for arm in ("stated", "group") for name in ("rendered", "allidb2")}
    assert sum(n for (arm, _), n in told.items() if arm == "group") == 60
    page = write_reproduction(value, tmp_path / "out").read_text()
    assert "Trained on one data set, tested on another" in page


def test_sets_that_cannot_be_combined_are_refused_before_anything_is_trained(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a data set is given twice"):
        reproduce([read_dataset(cells)] * 2, ReproductionPlan(), tmp_path / "out", cache_folder=tmp_path / "cache")
    assert not list(tmp_path.iterdir())


def table(n: int, seed: int, groups: int) -> Scores:
    random = np.random.default_rng(seed)
    group = np.arange(n) % groups
    label = group % 2
    logit = label + random.normal(0, 1, n)
    chance = 1 / (1 + np.exp(-logit))
    return Scores(tuple(map(str, range(n))), label, chance, logit, group.astype(str), group.astype(str))


def entry(scores: Scores) -> Entry:
    pool = Pool(0, scores, scores.probability >= 0.5, np.zeros(len(scores), dtype=np.int64))
    return Entry("x", (pool,), "group", (0,), ("made", "0"), {})


def test_differences_are_of_the_shared_cells_only() -> None:
    first, second = table(60, 1, 12), table(60, 2, 12)
    found = paired_differences(entry(first.take(range(10, 60))), entry(second.take(range(40))))
    assert found is not None
    falls, values, cells = found
    assert cells == 30
    mine = [accuracy_score(s.label[10:40], s.probability[10:40] >= 0.5) for s in (first, second)]
    assert values["accuracy"] == pytest.approx(tuple(mine))
    assert falls["accuracy"].low <= mine[1] - mine[0] <= falls["accuracy"].high
    assert paired_differences(entry(first.take([0, 2])), entry(second.take([0, 2]))) is None
    assert paired_differences(entry(first.take(range(10))), entry(second.take(range(10, 20)))) is None


def test_figures_by_picture_are_narrower() -> None:
    scores = table(240, 3, 12)
    panel = Panel.of(scores, 0.5, SHOWN)
    wide, narrow = figures(panel, replicates=300)["auc"], figures(panel, replicates=300, by_picture=True)["auc"]
    assert wide.value == narrow.value == pytest.approx(roc_auc_score(scores.label, scores.logit))


def test_parameters() -> None:
    assert parameters("plain_cnn") == 389_633
    with pytest.raises(ModelError):
        parameters("plain")
