"""`leukoscope compare` from the command line: trained, given and failing rows in one table; bad input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_runs import cells, write_run

from federation_sites import cells_of
from leukoscope.cli import main
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import make_split
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.files import exclusive
from leukoscope.runs.recipe_row import Outcome
from leukoscope.runs.run import Run
from leukoscope.studies.compare.ahead import check_ahead
from leukoscope.studies.compare.plan import read_plan

SMALL = ("--set", "input.size=24", "--set", "input.preparation.frame_size=64", "--set", "precision=fp32", "--folds", 3)


def leukoscope(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert "Traceback" not in done.output
    return done


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=48, seed=1, layout="cnmc", subjects=12)
    return folder


def test_one_row_trains_one_fails_one_is_given(pictures: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "models: [plain_cnn]\nreference: plain_cnn\n"
        "entries: [{name: odd, model: crse_cnn, set: [model.arguments.se_ratio=nothing]}, {name: gone, runs: [away]}]\n"
    )
    arguments = ("compare", plan, "--data", pictures, *SMALL, "--epochs", 1, "--out", tmp_path / "c", "--no-cost")
    arguments += ("--cache", tmp_path / "cache")
    done = leukoscope(*arguments)
    assert done.exit_code == 1, done.output
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert [each["name"] for each in found["entries"]] == ["plain_cnn", "odd", "gone"]
    assert found["entries"][0]["metrics"]["auc"]["value"] is not None
    assert "epochs=1 (recipe: 50)" in found["entries"][0]["runs"]["shortened"]
    assert all(each["fault"] for each in found["entries"][1:])
    assert "missing: gone: " in done.output
    page = (tmp_path / "c" / "comparison.html").read_text()
    assert "Rows that are missing" in page
    assert "SHORTENED RUN: epochs=1" in page
    drawing = (tmp_path / "c" / "roc.svg").read_text()
    assert "plain_cnn" in drawing
    assert "var(--" not in drawing  # colours of its own: it stands without the page


def ahead(*arguments: object) -> str:
    """What the verb says where it must refuse before any training; no run folder is left."""
    out = Path(str(arguments[-1]))
    done = leukoscope(*arguments[:-1], "--no-cost", "--epochs", 1, "--out", out, "--cache", out.parent / "cache")
    assert done.exit_code == 2, done.output
    assert not list(out.glob("runs/*"))
    return " ".join(done.output.split())


def test_what_cannot_be_compared_is_said_before_training(pictures: Path, tmp_path: Path) -> None:
    """The given run has its own test part, worked out here; another one must be refused, the same must pass."""
    two = ("compare", "--data", pictures, "--model", "plain_cnn", *SMALL)
    data = read_dataset(pictures)
    second = write_run(tmp_path / "second", data, fold=1)
    assert not {each.path for each in Run.open(second).part("test").records} & {
        data.records[at].path for at in make_split(data, fold=0, folds=3).test
    }
    told = ahead(*two, "--run", f"older={second}", tmp_path / "folds")
    assert "older: shares no test cell with the reference plain_cnn; nothing was trained" in told
    assert "--fold" in told

    other = write_run(tmp_path / "other", cells(name="elsewhere"))
    told = ahead(*two, "--run", f"theirs={other}", tmp_path / "data")
    assert "theirs: measured on other data (elsewhere)" in told
    told = ahead(*two, "--run", "gone=away", "--reference", "gone", tmp_path / "reference")
    assert "the reference 'gone' will have no figures; nothing was trained" in told
    told = ahead(*two, "--fold", 0, "--fold", 1, "--protocol", "picture", tmp_path / "twice")
    assert "test the same cells twice" in told
    told = ahead(*two, "--seed", 0, "--seed", 1, "--limit", 24, tmp_path / "drawn")
    assert "the seeds of plain_cnn would be tested on different cells; nothing was trained" in told
    assert "--limit" in told
    told = ahead(*two, "--fold", 3, tmp_path / "none")
    assert "there is no fold 3 of 3" in told
    own = ("crossval", "--data", pictures, "--model", "plain_cnn", "--folds", 3, "--seeds", 2, "--limit", 24)
    told = " ".join(leukoscope(*own, "--out", tmp_path / "crossval", "--cache", tmp_path / "cache").output.split())
    assert "would be tested on different cells; nothing was trained" in told

    same = write_run(tmp_path / "same", data, fold=0)
    rows = read_plan(None, {"models": ("plain_cnn",), "data": (pictures,), "folds": 3}).rows()
    check_ahead(rows, data, [Outcome.given(same, "older")])


def test_each_laboratory_is_left_out_in_turn(tmp_path: Path) -> None:
    homes = [tmp_path / f"{name}.csv" for name in ("aachen", "bergen")]
    for seed, home in enumerate(homes):
        cells_of(tmp_path / home.stem, home.stem, seed=seed, groups=8, each=4).write_csv(home)
    done = leukoscope(
        "compare", "--model", "plain_cnn", "--data", homes[0], "--data", homes[1], "--protocol", "laboratory",
        "--epochs", 1, *SMALL[:6], "--out", tmp_path / "c", "--no-cost", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    [entry] = json.loads((tmp_path / "c/comparison.json").read_text())["entries"]
    assert (entry["runs"]["protocol"], entry["runs"]["folds"]) == ("laboratory", [0, 1])
    assert set(entry["by_laboratory"]) == {"aachen", "bergen"}
    auc = entry["by_laboratory"]["bergen"]["auc"]
    assert auc["low"] <= auc["value"] == entry["by_fold"]["1"]["auc"] <= auc["high"]
    assert "bergen left out: AUC" in done.output
    assert "bergen:" in (tmp_path / "c/comparison.html").read_text()
    alone = leukoscope("compare", "--model", "plain_cnn", "--data", homes[0], "--protocol", "laboratory")
    assert "leaves out one data set of several" in alone.output
    assert alone.exit_code == 2


def test_given_runs_and_cost(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"{m}{f}", cells(), model=m, fold=f) for m in ("plain_cnn", "crse_cnn") for f in range(2)
    ]
    given = [each for run in runs for each in ("--run", run)]
    done = leukoscope("compare", *given, "--no-cost", "--out", tmp_path / "c")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert [(e["name"], e["runs"]["folds"]) for e in found["entries"]] == [("plain_cnn", [0, 1]), ("crse_cnn", [0, 1])]
    assert found["entries"][0]["minus_reference"] is None
    assert found["reference"] == "plain_cnn"


def test_cost_only_needs_no_data(tmp_path: Path) -> None:
    arguments = ("--set", "input.size=16", "--set", "input.preparation.frame_size=32", "--seconds", 0)
    done = leukoscope("compare", "--model", "plain_cnn", *arguments, "--cost-only", "--out", tmp_path / "c")
    assert done.exit_code == 0, done.output
    (found,) = json.loads((tmp_path / "c" / "comparison.json").read_text())["entries"]
    assert found["cost"]["parameters"] == 389_633
    settings = {(t["engine"], t["batch"]) for t in found["cost"]["ms_per_cell"]}
    assert settings == {(engine, batch) for engine in ("pytorch", "onnxruntime") for batch in (1, 32)}
    # Which is larger is test_cost's to show, with enough to tell: 32 cells of 16 pixels are lost in a process's noise.
    assert set(found["cost"]["peak_memory_mib"]) == {"1", "32"}
    assert all(20 < each < 2000 for each in found["cost"]["peak_memory_mib"].values())


def test_bad_input_is_one_line(pictures: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "c")
    unknown = leukoscope("compare", "--data", pictures, "--model", "crse", "--model", "plain_cnn", *out)
    assert (unknown.exit_code, "use one of: crse_cnn" in unknown.output) == (2, True)
    recipe = leukoscope("compare", "--data", pictures, "--model", "crse_cnn", "--recipe", "papr", *out)
    assert (recipe.exit_code, "no recipe is called 'papr'; use one of paper" in recipe.output) == (2, True)
    nothing = leukoscope("compare", *out)
    assert (nothing.exit_code, "nothing to compare" in nothing.output) == (2, True)
    no_data = leukoscope("compare", "--model", "crse_cnn", *out)
    assert (no_data.exit_code, "give --data" in no_data.output) == (2, True)
    one_class = tmp_path / "one.csv"
    data = read_dataset(pictures)
    data.select(data.labels() == 1).write_csv(one_class)
    single = leukoscope("compare", "--data", one_class, "--model", "crse_cnn", *out)
    assert (single.exit_code, "no pictures of the class normal" in single.output) == (2, True)
    no_run = leukoscope("compare", "--run", tmp_path, *out)
    assert no_run.exit_code == 2
    with exclusive(tmp_path / "c", "compares in"):
        rival = leukoscope("compare", "--model", "crse_cnn", "--cost-only", *out)
    assert (rival.exit_code, "another process compares in this folder" in rival.output) == (2, True)
    assert not list((tmp_path / "c").glob("comparison.*"))
