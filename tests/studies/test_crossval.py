"""`leukoscope crossval`: figures against those worked out from the runs' own tables, and the verb from pictures on."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from drawn_runs import cells, write_run
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from leukoscope import __version__
from leukoscope.cli import main
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import DataError, RecipeError, TrainingError
from leukoscope.inference.classifier import load
from leukoscope.metrics.scores import Scores
from leukoscope.models.trunk import import_timm
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import Run
from leukoscope.studies.compare.ahead import check_ahead
from leukoscope.studies.compare.crossval import cross_validate, crossval_rows, write_crossval
from leukoscope.studies.compare.grid import run_grid
from timm_presence import needs_timm

SMALL = (
    "--model", "plain_cnn", "--set", "model.arguments.widths=[4, 8]", "--set", "input.size=16",
    "--set", "input.preparation={frame_size: 64}", "--set", "precision=fp32", "--epochs", 2, "--device", "cpu",
)  # fmt: skip


def leukoscope(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert "Traceback" not in done.output
    return done


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Three folds by two seeds; the second fold is the worst."""
    home, data = tmp_path_factory.mktemp("drawn"), cells()
    skill = {0: 2.0, 1: 0.2, 2: 2.0}
    folders = [
        write_run(home / f"{fold}-{seed}", data, fold=fold, seed=seed, skill=skill[fold], seconds=(3.0, 3.0))
        for seed in (0, 1)
        for fold in range(3)
    ]
    return [Outcome.given(folder, "drawn") for folder in folders]


def test_figures_are_those_of_the_runs_own_tables(outcomes: list[Outcome], tmp_path: Path) -> None:
    found = cross_validate(outcomes, replicates=200)
    tables = {(each.row.fold, each.row.seed): Run.open(each.folder).scores() for each in outcomes}

    def auc(*parts: Scores) -> float:
        columns = [np.concatenate([getattr(part, key) for part in parts]) for key in ("label", "logit")]
        return float(roc_auc_score(*columns))

    by_seed = [auc(*(tables[fold, seed] for fold in range(3))) for seed in (0, 1)]
    assert found.measure.figures["auc"].value == pytest.approx(np.mean(by_seed))
    assert [found.measure.seeds[seed]["auc"] for seed in (0, 1)] == pytest.approx(by_seed)
    by_fold = {fold: np.mean([auc(tables[fold, seed]) for seed in (0, 1)]) for fold in range(3)}
    assert {fold: each["auc"].value for fold, each in found.folds.items()} == pytest.approx(by_fold)
    assert found.worst == min(by_fold, key=lambda fold: by_fold[fold]) == 1
    assert sum(each["cells"] for each in found.counts.values()) == 240
    assert sum(each["groups"] for each in found.counts.values()) == 12

    page = write_crossval(found, tmp_path / "report").read_text()
    assert "1 (worst)" in page
    told = json.loads((tmp_path / "report" / "crossval.json").read_text())
    assert told["by_fold"]["1"]["metrics"]["auc"]["value"] == pytest.approx(by_fold[1])
    rows = list(csv.DictReader((tmp_path / "report" / "crossval.csv").read_text().splitlines()))
    assert len(rows) == len(told["runs"]) == 6
    for row, run in zip(rows, told["runs"], strict=True):
        assert (row["bundle"], row["threshold"], row["software"]) == (run["bundle"], "0.5", run["software"])
        assert float(row["auc"]) == pytest.approx(auc(tables[int(row["fold"]), int(row["seed"])]))
    assert told["software"] == __version__


def test_a_failed_run_gives_no_report(outcomes: list[Outcome]) -> None:
    gone = Outcome(Row("drawn", fold=2), "failed", Path("nowhere"), "memory ran out")
    with pytest.raises(TrainingError, match=r"memory ran out \(1 of 6 runs\)"):
        cross_validate([*outcomes[:5], gone])


def test_folds_are_those_of_the_protocol() -> None:
    data = cells()
    rows = crossval_rows("eye", data, folds=3, seeds=(0, 1))
    assert [(row.seed, row.fold, row.folds) for row in rows] == [(s, f, 3) for s in (0, 1) for f in range(3)]
    assert {row.entry for row in rows} == {"eye"}
    with pytest.raises(DataError, match="no folds of the protocol official"):
        crossval_rows("paper", data, protocol="official")
    with pytest.raises(RecipeError, match="one test part and no folds"):
        crossval_rows("paper", data, overrides=("split.protocol=picture",))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=36, seed=1, layout="folders", subjects=12, size=96)
    return folder


def test_a_killed_one_goes_on_and_another_run_is_not_replaced(pictures: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    own = ["crossval", "--data", pictures, *SMALL, "--folds", 2, "--out", out, "--cache", cache]
    command = [sys.executable, "-m", "leukoscope", *map(str, own), "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as child:
        deadline = time.monotonic() + 120
        while not list(out.glob("runs/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        assert child.stderr is not None
        child.stderr.read()
    assert not (out / "crossval.json").exists()
    deadline = time.monotonic() + 60  # its runs end with it
    while True:
        done = leukoscope(*own)
        if "another process" not in done.output or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "crossval.json").read_text())
    assert [len(run["history"]) for run in found["runs"]] == [2, 2]
    assert "epochs=2 (recipe: 50)" in (out / "crossval.html").read_text()
    live = (out / "curves.html").read_text()
    assert "Finished." in live
    assert 'http-equiv="refresh"' not in live
    assert "fold 1, seed 0" in live

    again = leukoscope(*own)
    assert (again.exit_code, again.output.count("] reused")) == (0, 2)
    other = leukoscope(*own, "--seeds", 2)
    assert other.exit_code == 2
    assert re.search(r"out: holds the results of another run \(plain_cnn, paper, 2 runs\)", other.output)
    assert json.loads((out / "crossval.json").read_text())["run"] == found["run"]


@needs_timm
def test_an_eye_is_cross_validated_as_its_own_bundles_answer(tmp_path: Path) -> None:
    """Recipe `eye` on a trunk of random weights: each fold's bundle is asked anew for the cells of that fold."""
    torch.manual_seed(11)
    weights = tmp_path / "tf_efficientnet_lite0.safetensors"
    save_file(import_timm().create_model("tf_efficientnet_lite0").state_dict(), weights)
    write_synthetic(tmp_path / "cells", count=32, seed=5, layout="folders", subjects=16, size=96)
    data = read_dataset(tmp_path / "cells")
    small = (
        "input.size=64",
        "model.arguments.stages=[1]",
        "input.preparation.frame_size=96",
        "head.components=4",
        "head.parts=2",
    )
    rows = crossval_rows("eye", data, folds=2, overrides=(*small, f"model.weights={weights}"))
    check_ahead(rows, data)
    runs, cache = tmp_path / "runs", tmp_path / "cache"
    outcomes = run_grid(rows, data, runs, cache_folder=cache, devices=("cpu",), isolated=False)
    assert [each.status for each in outcomes] == ["trained", "trained"], [each.reason for each in outcomes]
    told = cross_validate(outcomes, replicates=50).to_json()

    truth = {record.path: (record.label, record.group) for record in data.records}
    label: list[int | None] = []
    logit: list[float | None] = []
    for fold, outcome in enumerate(outcomes):
        run = Run.open(outcome.folder)
        paths = [record.path for record in run.part("test").records]
        answers = load(outcome.folder / "bundle", threads=1).predict_many(run.part("test").paths())
        mine, said = [truth[path][0] for path in paths], [answer.logit for answer in answers]
        assert told["by_fold"][str(fold)]["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(mine, said))
        assert told["by_fold"][str(fold)]["counts"]["groups"] == len({truth[path][1] for path in paths})
        trained = run.bundle().facts.training
        assert trained is not None
        assert trained.model == "eye"
        assert not {truth[path][1] for path in paths} & {*trained.groups_trained, *trained.groups_validated}
        label, logit = label + mine, logit + said
    assert len(label) == len(data.records) == told["counts"]["cells"] == 32
    assert told["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(label, logit))
    assert told["entry"]["recipe"] == "eye"
