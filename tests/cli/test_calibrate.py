"""From labelled cells to a bundle that states probabilities and refers, through the command line."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.bundle.seal import unsealed
from leukoscope.metrics.scores import Scores

# The bundle made by hand weighs red against green: a redder cell has a higher logit.
PATIENTS = {"blast": ("b1", "b2", "b3"), "normal": ("n1", "n2", "n3")}
TRAINING = {
    "model": "by-hand", "arguments": {}, "parameters": 3, "recipe": "none", "seed": 0, "data": "cells",
    "data_fingerprint": "f" * 64, "pictures": 1, "groups_trained": ["n3"], "groups_validated": [], "machine": "ours",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of six patients, 30 each; blasts are redder, but not all of them."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data") / "cells"
    for kind, people in PATIENTS.items():
        for person in people:
            (folder / kind / person).mkdir(parents=True)
            for number in range(30):
                red = int(np.clip(rng.normal(150 if kind == "blast" else 100, 40), 5, 250))
                picture = disc((red, 150, 5), radius=25)
                Image.fromarray(picture).save(folder / kind / person / f"{person}_{number}.png")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", training=TRAINING)


def test_calibrate_writes_what_it_fitted_and_on_whom(run, bundle: Path, data: Path, tmp_path: Path) -> None:
    result = run(
        "calibrate", bundle, "--data", data, "--level", "0.25", "--method", "temperature", "--out", tmp_path / "new"
    )
    assert result.exit_code == 0, result.output
    old, new = read_bundle(bundle), read_bundle(tmp_path / "new")
    assert new.graph == old.graph
    assert not old.facts.decision.calibrated
    rule = new.facts.decision
    assert rule.calibrated
    assert rule.calibration is not None
    assert rule.calibration.groups == ["b1", "b2", "b3", "n1", "n2"]  # n3 was trained on
    assert (rule.calibration.pictures, rule.calibration.chose_epoch) == (150, False)
    assert rule.refer is not None
    assert (rule.refer.guarantee, rule.refer.smallest_level) == ("new patients", 0.25)
    assert "On average over new patients" in result.output
    card = (tmp_path / "new/README.md").read_text()
    assert "fitted on 150 pictures of 5 patient groups of cells" in card
    assert "Refer where the probability is" in card


def test_too_few_patients_for_one_percent_are_told_so(run, bundle: Path, data: Path) -> None:
    result = run(
        "calibrate", bundle, "--data", data, "--method", "temperature"
    )  # in its place: 90 blasts of 3 patients
    assert result.exit_code == 0, result.output
    assert "No cell is referred: 90 blasts of 3 patient groups are too few" in result.output
    rule = read_bundle(bundle).facts.decision
    assert rule.calibrated
    assert rule.refer is None
    picture = next(data.rglob("*.png"))
    said = run("predict", picture, "--bundle", bundle)
    assert "No cell is referred: 90 blasts" in said.stderr
    assert "not calibrated" not in said.stderr
    loose = run("calibrate", bundle, "--data", data, "--level", "0.05")
    assert "nothing is promised" in loose.output
    assert "the best promise would be 25 %, and 5 % takes 19 groups" in loose.output


def test_cells_without_patients_claim_none(run, bundle: Path, data: Path, tmp_path: Path) -> None:
    for kind in PATIENTS:
        (tmp_path / "loose" / kind).mkdir(parents=True)
        for number, path in enumerate(sorted((data / kind).rglob("*.png"))):
            (tmp_path / "loose" / kind / f"{number}.png").write_bytes(path.read_bytes())
    loose = tmp_path / "loose"
    # 90 cells that were 90 patients would promise 2 % for new ones; these are 90 pictures of nobody knows whom.
    result = run(
        "calibrate", bundle, "--data", loose, "--level", "0.05", "--method", "temperature", "--out", tmp_path / "new"
    )
    assert result.exit_code == 0, result.output
    assert "fitted on 180 pictures of unknown patients of loose" in result.output
    assert "For new patients nothing is promised" in result.output
    assert "patient groups" not in result.output
    rule = read_bundle(tmp_path / "new").facts.decision
    assert rule.refer is not None
    assert (rule.refer.guarantee, rule.refer.groups) == ("same patients", 0)
    card = (tmp_path / "new/README.md").read_text()
    assert "Groups fitted on (0): 180 pictures of unknown patients" in card
    measured = run("evaluate", "--bundle", bundle, "--data", loose, "--out", tmp_path / "found")
    assert measured.exit_code == 0, measured.output
    assert "note: 180 pictures are of unknown patients, and each counts as a patient" in measured.output
    page = " ".join((tmp_path / "found/report.html").read_text().split())
    assert "180 pictures (90 blasts, 90 normal cells) of unknown patients." in page
    assert "<dt>Tested on</dt><dd>unknown patients: 180 pictures of unknown patients</dd>" in page


def test_predict_refers_in_every_format_with_the_reason(run, bundle: Path, data: Path, tmp_path: Path) -> None:
    assert run("calibrate", bundle, "--data", data, "--level", "0.05").exit_code == 0
    rule = read_bundle(bundle).facts.decision
    assert rule.refer is not None
    lines = run("predict", data, "--bundle", bundle, "--format", "jsonl").stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    for answer in answers:
        p = answer["probability"]
        assert p == pytest.approx(float(probability_of(answer["logit"], rule)))
        expected = "blast" if p >= rule.threshold else "refer" if p >= rule.refer.low else "normal"
        assert answer["decision"] == expected
        assert (answer["reason"] is not None) == (expected == "refer")
    said = [answer["decision"] for answer in answers]
    assert set(said) == {"blast", "normal", "refer"}
    rows = list(csv.DictReader(io.StringIO(run("predict", data, "--bundle", bundle, "--format", "csv").stdout)))
    assert [(row["decision"], row["reason"] or None) for row in rows] == [(a["decision"], a["reason"]) for a in answers]
    table = run("predict", data, "--bundle", bundle)
    assert [line.split()[2] for line in table.stdout.splitlines()[1:]] == said
    reason = next(answer["reason"] for answer in answers if answer["reason"])
    assert f"({reason})" in table.stdout
    assert reason.startswith("probability 0.")
    assert reason.endswith(f" lies in the band {rule.refer.low:.3f} to {rule.threshold:.3f}")
    counts = {kind: said.count(kind) for kind in ("blast", "normal", "refer")}
    words = f"{counts['blast']} blast, {counts['normal']} normal, {counts['refer']} refer, 0 unreadable"
    assert words in table.stderr
    assert f"refer from {rule.refer.low:.3g})" in table.stderr
    run("predict", data, "--bundle", bundle, "--out", tmp_path / "gallery")
    page = (tmp_path / "gallery/report.html").read_text(encoding="utf-8")
    assert page.count('<li class="refer"') == counts["refer"]
    assert f'data-show="refer" aria-pressed="false">refer {counts["refer"]}</button>' in page
    assert f"180 cells: {counts['blast']} blast, {counts['normal']} normal, {counts['refer']} to refer" in page
    assert page.count(reason) >= 1
    assert "that is the aim, and nothing is promised" in page


def test_evaluate_leaves_out_who_was_calibrated_on_and_shows_the_band(
    run, bundle: Path, data: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part" / "cells"  # the same data set by its name, fewer patients
    for kind, people in (("blast", "b1 b2"), ("normal", "n1 n2")):
        for person in people.split():
            (part / kind).mkdir(parents=True, exist_ok=True)
            (part / kind / person).symlink_to(data / kind / person)
    assert run("calibrate", bundle, "--data", part, "--level", "0.34", "--method", "temperature").exit_code == 0
    assert run("evaluate", "--bundle", bundle, "--data", data, "--out", tmp_path / "out").exit_code == 0
    assert set(Scores.read_csv(tmp_path / "out/predictions.csv").group) == {"b3"}  # n3 was trained on
    again = ["--out", tmp_path / "out", "--replace"]
    result = run("evaluate", "--bundle", bundle, "--data", data, *again, "--include-trained")
    assert result.exit_code == 0, result.output
    assert "missed" in result.output
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    scores = Scores.read_csv(tmp_path / "out/predictions.csv")
    rule = read_bundle(bundle).facts.decision
    assert rule.refer is not None
    below = scores.probability[scores.label == 1] < rule.refer.low
    assert metrics["referral"]["figures"]["missed"]["value"] == pytest.approx(below.mean())
    assert metrics["context"]["probabilities"].startswith("Probabilities are calibrated by temperature")
    page = (tmp_path / "out/report.html").read_text()
    assert "When the model refers" in page


def test_figures_of_the_old_probabilities_do_not_stay(run, data: Path, tmp_path: Path) -> None:
    measured = {
        "data": "cells", "protocol": "group", "fold": 0, "pictures": 9, "groups": ["x"],
        "metrics": {"auc": {"value": 0.9}, "ece": {"value": 0.2}, "brier": {"value": 0.1}, "missed": {"value": 0.0}},
    }  # fmt: skip
    bundle = make_bundle(tmp_path / "measured", training=TRAINING, measured=[measured])
    result = run("calibrate", bundle, "--data", data)
    assert "measure again" in result.output
    [kept] = read_bundle(bundle).facts.measured
    assert set(kept.metrics) == {"auc"}
    assert "0.900" in (bundle / "README.md").read_text()


def test_what_cannot_be_used_is_refused_and_the_bundle_stays(run, bundle: Path, data: Path, tmp_path: Path) -> None:
    before = (bundle / "bundle.json").read_bytes()
    names = [path.relative_to(data).as_posix() for path in sorted(data.rglob("*.png"))]
    rows = [(name, *name.split("/")[:2]) for name in names]
    cases = {
        "(19 pictures) is too small": rows[:10] + rows[-9:],
        "comes from one patient group": [(name, kind, "same") for name, kind, _ in rows],
    }
    for number, (words, chosen) in enumerate(cases.items()):
        table = data / f"{number}.csv"
        table.write_text("\n".join(["path,label,subject", *(",".join(row) for row in chosen)]))
        result = run("calibrate", bundle, "--data", table)
        assert result.exit_code == 2
        assert words in result.output
    assert run("calibrate", bundle).exit_code == 2
    assert run("calibrate", tmp_path / "nothing", "--data", data).exit_code == 2
    assert run("calibrate", bundle, "--data", data, "--level", "1").exit_code == 2
    assert (bundle / "bundle.json").read_bytes() == before


def test_an_old_bundle_without_fitted_numbers_reads_as_before(run, bundle: Path, data: Path) -> None:
    assert read_bundle(bundle).facts.decision == DecisionFacts()
    said = run("predict", data / "blast/b1", "--bundle", bundle)
    assert "Probabilities are not calibrated" in said.stderr
    assert "refer" not in said.stdout + said.stderr


def test_calibrate_fits_a_gate_where_asked_and_evaluate_says_what_it_turns_down(
    run, bundle: Path, data: Path, tmp_path: Path
) -> None:
    without = run("calibrate", bundle, "--data", data, "--out", tmp_path / "without")
    assert "Picture quality is not checked" in without.output
    assert read_bundle(tmp_path / "without").facts.gate is None
    result = run("calibrate", bundle, "--data", data, "--gate", "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    gate = read_bundle(tmp_path / "new").facts.gate
    assert gate is not None
    assert gate.groups == gate.groups_held_out == ["b1", "b2", "b3", "n1", "n2"]  # n3 was trained on
    assert (gate.pictures, gate.data) == (150, "cells")
    assert f"{100 * gate.turned_down:.1f} % of those are referred" in result.output
    Image.fromarray(disc((100, 150, 5), size=40, radius=9)).save(tmp_path / "small.png")
    said = json.loads(run("predict", tmp_path / "small.png", "--bundle", tmp_path / "new", "--format", "jsonl").stdout)
    assert (said["decision"], said["gate"]) == ("refer", "turned down")
    assert "too small for the scale" in said["reason"]
    measured = run(
        "evaluate", "--bundle", tmp_path / "new", "--data", data, "--include-trained", "--out", tmp_path / "e"
    )
    assert measured.exit_code == 0, measured.output
    context = json.loads((tmp_path / "e/metrics.json").read_text())["context"]
    assert re.match(r"\d+\.\d % \[.*\] of 180 pictures are referred by the gate", context["gate"])
    again = run("calibrate", tmp_path / "new", "--data", data)  # keeps the gate that it has
    assert again.exit_code == 0, again.output
    assert read_bundle(tmp_path / "new").facts.gate == gate


def test_a_gate_of_another_graph_can_be_fitted_anew(run, bundle: Path, data: Path, tmp_path: Path) -> None:
    assert run("calibrate", bundle, "--data", data, "--gate").exit_code == 0
    facts, _ = unsealed((bundle / "bundle.json").read_bytes())
    ones = {"shape": [4], "float32": "AACAPwAAgD8AAIA/AACAPw=="}
    facts["gate"]["embedding"] = {"mean": ones, "axes": {**ones, "shape": [1, 4]}, "variances": [1.0], "rest": 1.0}
    (bundle / "bundle.json").write_text(json.dumps(facts))
    refused = run("calibrate", bundle, "--data", data)
    assert refused.exit_code == 2
    assert "calibrate --gate" in refused.output
    assert run("calibrate", bundle, "--data", data, "--gate").exit_code == 0
