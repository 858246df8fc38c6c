"""`leukoscope predict --by subject`, and `leukoscope subjects` on runs of a small real split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.record import Record
from leukoscope.files import write_json
from leukoscope.fitting.patients import fit_subjects, patients_of
from leukoscope.metrics.scores import Scores

TRAINING = {
    "model": "plain_cnn", "arguments": {}, "parameters": 1, "recipe": "paper", "seed": 0, "data": "made",
    "data_fingerprint": "f" * 64, "pictures": 1, "groups_trained": ["1"], "groups_validated": ["2"], "machine": "m",
}  # fmt: skip


def make_run(folder: Path, groups: list[str], seed: int, protocol: str = "group", **training: Any) -> Path:
    """A run folder with a test part of 24 cells per group."""
    rng = np.random.default_rng(seed)
    names = [f"{group}/{k}.png" for group in groups for k in range(24)]
    whose = [name.split("/")[0] for name in names]
    label = [0 if group.startswith("H") else 1 for group in whose]
    records = tuple(Record(n, y, g, g, None, "csv") for n, y, g in zip(names, label, whose, strict=True))
    manifest = Manifest(folder, records, "made")
    folder.mkdir(parents=True)
    manifest.write_csv(folder / "manifest.csv")
    split = {
        "protocol": protocol, "fold": seed, "folds": 3, "seed": 0, "fingerprint": manifest.fingerprint(),
        "train": [], "val": [], "test": names,
    }  # fmt: skip
    write_json(folder / "split.json", split)
    write_json(
        folder / "run.json", {"recipe": {}, "data": "made", "fingerprint": manifest.fingerprint(), "limit": None}
    )
    logit = rng.normal(np.where(np.array(label) == 1, 2.0, -1.5), 1.5)
    (folder / "evaluation").mkdir()
    p = 1 / (1 + np.exp(-logit))
    Scores(tuple(names), label, p, logit, whose, whose).write_csv(folder / "evaluation/predictions.csv")  # type: ignore[arg-type]
    make_bundle(folder / "bundle", training=TRAINING | training)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path / "a", ["1", "2", "3", "H1", "H2", "H3"], 0),
        make_run(tmp_path / "b", ["4", "5", "6", "7", "H4", "H5", "H6"], 1),
    ]


def test_a_rule_is_fitted_written_and_used(run, runs: list[Path], tmp_path: Path) -> None:
    new = tmp_path / "new"
    result = run("subjects", *runs, "--bundle", runs[0] / "bundle", "--out", new, "--alarm-level", 0.4)
    assert result.exit_code == 0, result.output
    rule = read_bundle(new).facts.subjects
    assert rule is not None
    tables = [Scores.read_csv(each / "evaluation/predictions.csv") for each in runs]
    expected = fit_subjects(
        patients_of(tables, 0.0), data="made", protocol=rule.protocol, logit=0.0, alarm_level=0.4
    )  # fmt: skip
    assert rule.model_copy(update={"errors": []}) == expected
    assert [each.groups_blast for each in rule.errors] == [7, 7]
    assert read_bundle(runs[0] / "bundle").facts.subjects is None
    cells = tmp_path / "UID"
    cells.mkdir()
    for k in range(25):
        Image.fromarray(disc((200 - k, 30, 90))).save(cells / f"UID_8_{k // 3}_{k}_all.png")
    told = run("predict", cells, "--bundle", new, "--by", "subject", "--format", "jsonl")
    assert told.exit_code == 0, told.output
    [statement] = [json.loads(line) for line in told.stdout.splitlines()]
    assert (statement["statement"], statement["answered"]) == ("blasts likely", 25)
    assert "1 patient, named by file names" in told.stderr
    assert "withheld" in run("predict", cells, "--bundle", runs[0] / "bundle", "--by", "subject").stderr


def test_runs_that_do_not_belong_together_are_refused(run, runs: list[Path], tmp_path: Path) -> None:
    bundle = runs[0] / "bundle"
    other = make_run(tmp_path / "other", ["9", "H9"], 2, recipe="champion")
    result = run("subjects", *runs, other, "--bundle", bundle)
    assert (result.exit_code, "another recipe" in result.stderr) == (2, True)
    leaky = make_run(tmp_path / "leaky", ["9", "H9"], 2, protocol="picture")
    assert "split by picture" in run("subjects", leaky, "--bundle", bundle).stderr
    assert "tested twice" in run("subjects", runs[0], runs[0], "--bundle", bundle).stderr
    assert "not a run folder" in run("subjects", tmp_path, "--bundle", bundle).stderr
    few = make_run(tmp_path / "few", ["9", "H9", "H8"], 3)
    result = run("subjects", few, "--bundle", bundle)
    assert (result.exit_code, "too few to fit" in result.stderr) == (2, True)
    assert read_bundle(bundle).facts.subjects is None


def test_predict_by_subject_names_what_is_missing(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    result = run("predict", cells, "--bundle", small_bundle, "--by", "subject", "--subjects-from", "name")
    assert (result.exit_code, "hold no patient" in result.stderr) == (2, True)
    result = run("predict", cells, "--bundle", small_bundle, "--by", "subject", "--subjects-from", tmp_path / "no.csv")
    assert result.exit_code == 2
    result = run("predict", cells, "--bundle", small_bundle, "--by", "subject")
    assert result.exit_code == 0
    assert "withheld" in result.stdout.splitlines()[1]
