"""From a folder of cells to a bundle with figures, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import roc_auc_score

from allidb_files import PLASMA, write_allidb2
from leukoscope.bundle.audits import AuditFacts
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.bundle.write import record_audits
from leukoscope.cli import main
from leukoscope.datasets.dataset import read_manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import DataError
from leukoscope.files import exclusive
from leukoscope.fitting.decision import calibrate
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.scores import Scores
from leukoscope.runs.measure import table_of
from leukoscope.runs.run import Run

SMALL = ("--set", "input.size=32", "--set", "split.folds=3", "--set", "optimizer.learning_rate=1e-3", "--epochs", "2")


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=96, seed=1, layout="cnmc", subjects=12)
    return folder


@pytest.fixture(scope="module")
def run(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    cache = tmp_path_factory.mktemp("cache")
    done = leukoscope("train", "--data", cells, "--out", folder, "--cache", cache, "--model", "crse_cnn", *SMALL)
    assert done.exit_code == 0, done.output
    assert "changed against the recipe: epochs=2 (recipe: 50), input.size=32 (recipe: 224)" in done.output
    return folder


def test_a_run_leaves_everything_that_remakes_it(run: Path) -> None:
    for name in ("recipe.yaml", "run.json", "split.json", "manifest.csv", "metrics.jsonl", "curves.png"):
        assert (run / name).stat().st_size > 0, name
    for name in ("model.onnx", "bundle.json", "README.md"):
        assert (run / "bundle" / name).stat().st_size > 0, name
    for name in ("metrics.json", "predictions.csv", "report.html"):
        assert (run / "evaluation" / name).stat().st_size > 0, name
    assert not list(run.rglob("*.part"))


def test_the_figures_are_those_of_the_table_and_of_the_bundle(run: Path) -> None:
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    scores = Scores.read_csv(run / "evaluation" / "predictions.csv")
    assert metrics["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(scores.label, scores.logit))
    facts = read_bundle(run / "bundle").facts
    assert facts.measured[0].metrics["auc"].value == metrics["metrics"]["auc"]["value"]
    root = read_manifest(run / "manifest.csv").root
    answers = Classifier(read_bundle(run / "bundle")).predict([root / p for p in scores.path[:5]])
    np.testing.assert_allclose([a.probability for a in answers], scores.probability[:5], atol=1e-5)


def test_the_bundle_decides_as_calibrated_on_the_validation_part(run: Path, tmp_path: Path) -> None:
    bundle = read_bundle(run / "bundle")
    scores, _ = table_of(Classifier(bundle), Run.open(run).part("val"))
    bare = DecisionFacts(threshold=0.5)
    assert bundle.facts.training is not None
    assert set(scores.group) == set(bundle.facts.training.groups_validated)
    try:
        expected = calibrate(scores, bare, data="rendered", chose_epoch=True)
    except DataError:
        expected = bare  # nothing can be fitted there, and training does not fail for it
    found = bundle.facts.decision
    assert found.model_dump(exclude={"calibration"}) == expected.model_dump(exclude={"calibration"})
    done = leukoscope("calibrate", run, "--out", tmp_path / "again")
    assert done.exit_code == (0 if expected.calibration else 2), done.output
    if expected.calibration:
        assert read_bundle(tmp_path / "again").facts.decision.calibration == found.calibration == expected.calibration


def test_no_group_stands_in_two_parts(run: Path) -> None:
    facts = read_bundle(run / "bundle").facts
    assert facts.training is not None
    parts = [set(facts.training.groups_trained), set(facts.training.groups_validated), set(facts.measured[0].groups)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert facts.training.shortened is not None
    assert (facts.training.data, facts.data_licences[0].split(":")[0]) == ("rendered", "Rendered cells")


def test_the_same_command_again_trains_nothing_and_gives_the_same(run: Path, cells: Path, tmp_path: Path) -> None:
    before = (run / "metrics.jsonl").read_bytes(), (run / "bundle" / "model.onnx").read_bytes()
    done = leukoscope("train", "--data", cells, "--out", run, "--cache", tmp_path, *SMALL)
    assert done.exit_code == 0, done.output
    assert before == ((run / "metrics.jsonl").read_bytes(), (run / "bundle" / "model.onnx").read_bytes())


def test_another_recipe_does_not_overwrite_a_run(run: Path, cells: Path, tmp_path: Path) -> None:
    done = leukoscope("train", "--data", cells, "--out", run, "--cache", tmp_path, *SMALL, "--seed", "7")
    assert done.exit_code == 2
    assert "the folder holds another run (differs in: recipe); choose another --out" in done.output


def test_evaluate_repeats_the_runs_figures(run: Path, tmp_path: Path) -> None:
    done = leukoscope("evaluate", run, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    first, again = (json.loads((f / "metrics.json").read_text()) for f in (run / "evaluation", tmp_path / "again"))
    assert first["metrics"] == again["metrics"]
    assert first["context"]["protocol"] == again["context"]["protocol"] == "group"


def test_evaluate_leaves_out_what_the_bundle_has_seen(run: Path, cells: Path, tmp_path: Path) -> None:
    done = leukoscope("evaluate", "--bundle", run / "bundle", "--data", cells, "--out", tmp_path / "unseen")
    assert done.exit_code == 0, done.output
    assert "pictures of groups that the bundle has seen are left out" in done.output
    found = Scores.read_csv(tmp_path / "unseen" / "predictions.csv")
    assert sorted(found.path) == sorted(Scores.read_csv(run / "evaluation" / "predictions.csv").path)


def test_evaluate_says_what_is_missing(tmp_path: Path, cells: Path) -> None:
    assert leukoscope("evaluate").exit_code == 2
    done = leukoscope("evaluate", tmp_path)
    assert done.exit_code == 2
    assert "bundle" in done.output
    assert "Traceback" not in done.output


def test_export_makes_the_same_graph(run: Path, tmp_path: Path) -> None:
    done = leukoscope("export", run, "--out", tmp_path / "b", "--name", "mine", "--threshold", "0.4")
    assert done.exit_code == 0, done.output
    again = read_bundle(tmp_path / "b")
    assert again.graph == read_bundle(run / "bundle").graph
    assert (again.facts.name, again.facts.decision.threshold) == ("mine", 0.4)
    assert again.facts.measured == []  # the run's figures hold for its own threshold
    assert leukoscope("export", tmp_path).exit_code == 2


def test_export_carries_what_the_run_s_bundle_was_fitted_and_audited_with(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run") / "bundle"
    before = read_bundle(own).facts
    audit = {
        "kind": "shortcuts", "graph": before.files["model.onnx"], "data": "cells", "data_fingerprint": "0" * 64,
        "patients": "unseen", "left_out": [], "left_out_pictures": 0, "cells": 9, "blasts": 4, "groups": ["a"],
        "date": "2026-01-01", "version": "0", "machine": "one", "seed": 0, "figures": {},
        "rules": [{"key": "size", "asked": "q", "found": "f", "outcome": "passes"}],
    }  # fmt: skip
    record_audits(own, [AuditFacts.model_validate(audit)])
    assert leukoscope("export", tmp_path / "run", "--out", tmp_path / "again").exit_code == 0
    made, facts = read_bundle(tmp_path / "again").facts, read_bundle(own).facts
    told = {"created", "version", "files"}
    assert made.model_dump(exclude=told) == facts.model_dump(exclude=told)
    assert [each.kind for each in made.audits] == ["shortcuts"]
    assert made.gate is not None
    # An audit of another graph says nothing of this one.
    kept = (
        read_bundle(own).with_facts(audits=[made.audits[0].model_copy(update={"graph": "1" * 64}), *made.audits]).facts
    )
    assert [each.graph for each in kept.audits] == [before.files["model.onnx"]]


def test_export_finds_a_bundle_that_stepped_aside_and_says_what_one_made_anew_lacks(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    before = read_bundle(run / "bundle").facts
    (tmp_path / "run" / "bundle").rename(tmp_path / "run" / ".bundle.abcdefgh.old")  # killed while it was replaced
    done = leukoscope("export", tmp_path / "run")
    assert done.exit_code == 0, done.output
    after = read_bundle(tmp_path / "run" / "bundle").facts
    assert (after.gate, after.decision, after.training, after.measured) == (
        before.gate, before.decision, before.training, before.measured,
    )  # fmt: skip
    shutil.rmtree(tmp_path / "run" / "bundle")
    done = leukoscope("export", tmp_path / "run")
    assert "the run had no bundle: this one has no gate and no band" in done.output


def test_two_trainings_of_one_run_do_not_mix(run: Path, cells: Path, tmp_path: Path) -> None:
    with exclusive(run, "trains into"):
        done = leukoscope("train", "--data", cells, "--out", run, "--cache", tmp_path, *SMALL)
    assert (done.exit_code, "another process trains into this folder" in done.output) == (2, True)


def test_unreadable_pictures_stop_training_with_their_names(cells: Path, tmp_path: Path) -> None:
    data = tmp_path / "cells"
    write_synthetic(data, count=24, seed=2, layout="folders", subjects=6)
    victim = sorted(data.rglob("*.png"))[3]
    victim.write_bytes(victim.read_bytes()[:100])
    done = leukoscope("train", "--data", data, "--out", tmp_path / "run", "--cache", tmp_path / "cache", *SMALL)
    assert done.exit_code == 2
    assert victim.name in done.output
    assert "Traceback" not in done.output


def test_limit_is_stamped_on_every_figure(cells: Path, tmp_path: Path) -> None:
    arguments = ("--limit", "48", "--protocol", "official", "--fold", "1")
    done = leukoscope("train", "--data", cells, "--out", tmp_path / "r", "--cache", tmp_path / "c", *SMALL, *arguments)
    assert done.exit_code == 0, done.output
    assert (
        "48 pictures only" in json.loads((tmp_path / "r/evaluation/metrics.json").read_text())["context"]["shortened"]
    )
    assert "48 pictures only" in (tmp_path / "r/evaluation/report.html").read_text()
    assert "48 pictures only" in (tmp_path / "r/bundle/README.md").read_text()


def test_sets_of_two_layouts_are_combined_with_their_patients_apart(cells: Path, tmp_path: Path) -> None:
    second = write_allidb2(tmp_path / "ALL_IDB2")
    Image.new("RGB", (96, 96), PLASMA).save(second / "img" / "Im259_0.tif")  # no cell in it
    given = ("--data", cells, "--data", second, "--out", tmp_path / "run", "--cache", tmp_path / "cache")
    done = leukoscope("train", *given, *SMALL, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert "12 cells were cut out of 13 pictures first, 1 gave none" in done.output
    assert "left out: img/Im259_0.tif: " in done.output
    made = Run.open(tmp_path / "run")
    manifest, split = made.dataset, made.split
    assert manifest.name == "allidb2+rendered"
    assert len(manifest) == 96 + 12
    groups = manifest.groups()
    homes = {group.removeprefix("picture:").replace("/", ":").partition(":")[0] for group in groups.tolist()}
    assert homes == {"allidb2", "rendered"}
    assert sum(group.startswith("rendered:") for group in set(groups.tolist())) == 12
    assert not split.crossing_groups(manifest)
    scores = Scores.read_csv(tmp_path / "run/evaluation/predictions.csv")
    told = json.loads((tmp_path / "run/evaluation/sets.json").read_text())
    for name in ("allidb2", "rendered"):
        mine = np.array([path.startswith(f"{name}/") for path in scores.path])
        assert 0 < mine.sum() == told[name]["counts"]["pictures"]
        right = (scores.probability >= told[name]["threshold"]) == scores.label
        assert told[name]["metrics"]["accuracy"]["value"] == pytest.approx(right[mine].mean())
        assert f"  {name}, {mine.sum()} pictures: " in done.output
    context = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())["context"]
    assert "No patient is named in allidb2" in context["caveats"]
    assert "12 cells were cut out" in context["caveats"]
    before = (tmp_path / "run/evaluation/sets.csv").read_bytes()
    again = leukoscope("evaluate", tmp_path / "run")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "run/evaluation/sets.csv").read_bytes() == before


def test_a_set_is_not_combined_with_itself_nor_one_class_with_itself(cells: Path, tmp_path: Path) -> None:
    twice = leukoscope("train", "--data", cells, "--data", cells, "--out", tmp_path / "run", "--cache", tmp_path)
    assert (twice.exit_code, "a data set is given twice" in twice.output) == (2, True)
    data = read_dataset(cells)
    blasts = [data.select(np.flatnonzero(data.labels() == 1)[part]) for part in (slice(0, 9), slice(9, 18))]
    given: list[object] = []
    for number, part in enumerate(blasts):
        part.write_csv(tmp_path / f"lab{number}.csv")
        given += ["--data", tmp_path / f"lab{number}.csv"]
    one_class = leukoscope("train", *given, "--out", tmp_path / "run", "--cache", tmp_path)
    assert (one_class.exit_code, " holds blast cells only" in one_class.output) == (2, True)
    assert not (tmp_path / "run").exists()


def test_an_unknown_network_is_said_at_once(cells: Path, tmp_path: Path) -> None:
    done = leukoscope("train", "--data", cells, "--model", "desnet201", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert done.output.startswith("error: no model is called 'desnet201'; use one of: densenet201, ")


def test_models() -> None:
    listed = leukoscope("models")
    assert listed.exit_code == 0
    assert "389,633 parameters" in listed.output
    assert "se_ratio = 16" in leukoscope("models", "crse_cnn").output
    unknown = leukoscope("models", "crse")
    assert unknown.exit_code == 2
    assert "use one of: crse_cnn" in unknown.output


@pytest.mark.data
@pytest.mark.slow
def test_real_cells(real_data: Path, tmp_path: Path) -> None:
    cells = real_data / "cnmc2019"
    if not cells.is_dir():
        pytest.skip(f"C-NMC 2019 not found at {cells}")
    done = leukoscope(
        "train", "--data", cells, "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--limit", "240", *SMALL
    )
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert metrics["counts"]["blast_only_groups"] > 1
    assert metrics["context"]["protocol"] == "group"


def test_training_pictures_are_known_by_their_pixels_under_any_name(run: Path, cells: Path, tmp_path: Path) -> None:
    manifest, split = Run.open(run).dataset, Run.open(run).split
    met = set(split.train.tolist()) | set(split.val.tolist())
    for number, record in enumerate(manifest.records):
        word = ("normal", "blast")[int(record.label or 0)]
        target = tmp_path / "elsewhere" / word / f"case{number}" / f"{number}.bmp"
        target.parent.mkdir(parents=True)
        Image.open(manifest.locate(record)).convert("RGB").save(target)  # another name, format and patient
    done = leukoscope(
        "evaluate", "--bundle", run / "bundle", "--data", tmp_path / "elsewhere", "--out", tmp_path / "out"
    )
    assert done.exit_code == 0, done.output
    assert f"{len(met)} pictures of groups that the bundle has seen are left out" in done.output
    assert f"note: {len(met)} pictures are copies, under other names, of what the bundle was trained on." in done.output
    found = Scores.read_csv(tmp_path / "out" / "predictions.csv")
    assert {int(Path(path).stem) for path in found.path} == set(range(len(manifest))) - met
    assert manifest.name == "rendered"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--set", "optimizer.learning_rate=1e9"), "training diverged in epoch"),
        (("--device", "mps"), "there is no device mps"),
        (("--device", "cuda:7"), "there is no device cuda:7"),
    ],
)
def test_what_cannot_be_trained_says_so_in_a_line(
    cells: Path, tmp_path: Path, given: tuple[str, ...], said: str
) -> None:
    start = ("train", "--data", cells, "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--model", "plain_cnn")
    for _ in range(2):  # and again, from what the first left
        done = leukoscope(*start, *SMALL, *given)
        assert done.exit_code == 2, done.output
        assert said in done.output
        assert not (tmp_path / "run" / "bundle").exists()
