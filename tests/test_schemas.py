"""JSON Schemas of what is written, for programs of others: made from the types; what verbs write keeps to them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from drawn_runs import cells, write_run
from PIL import Image

from bundle_factory import disc
from leukoscope import __version__
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.cli import main
from leukoscope.datasets.rendered_field import render_field
from leukoscope.inference.schemas import SCHEMAS
from leukoscope.runs.recipe_row import Outcome
from leukoscope.studies.compare.crossval import cross_validate
from leukoscope.studies.compare.schemas import STUDY_SCHEMAS

DOCS = Path(__file__).parents[1] / "docs"
TYPES = SCHEMAS | STUDY_SCHEMAS


def check(name: str, value: Any) -> None:
    """By the file in docs/, with a validator that is not ours."""
    schema = json.loads((DOCS / f"{name}.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)] == []
    assert list(validator.iter_errors({**value, "unknown": 1})), "an unknown key passes"
    for key in schema["required"]:
        assert list(validator.iter_errors({k: v for k, v in value.items() if k != key})), f"{key} may be left out"


@pytest.mark.parametrize("name", list(TYPES))
def test_the_schemas_are_those_of_the_types(name: str) -> None:
    """Written anew with LEUKOSCOPE_GOLDEN=write."""
    file = DOCS / f"{name}.schema.json"
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TYPES[name].model_json_schema()}
    text = json.dumps(made, indent=1) + "\n"
    if os.environ.get("LEUKOSCOPE_GOLDEN") == "write":
        file.write_text(text)
    assert file.read_text() == text


def leukoscope(*arguments: object) -> None:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code in {0, 1}, done.output


def test_answers_of_predict_and_field_keep_to_them(tmp_path: Path) -> None:
    home = tmp_path / "one"
    home.mkdir()
    Image.fromarray(render_field(3, ["blast", "normal"], height=900, width=1200)[0]).save(home / "field.png")
    Image.fromarray(disc((150, 40, 120))).save(home / "cell.png")
    (home / "broken.png").write_bytes(b"no picture")
    own = ["--by", "patient", "--patients", "folder", "--threads", 1]
    leukoscope("field", home, *own, "--out", tmp_path / "fields")
    leukoscope("predict", home, "--format", "jsonl", "--morphology", "--out", tmp_path / "rows")
    bundle = read_bundle(default_bundle())
    origin = {"bundle": bundle.digest, "threshold": bundle.facts.decision.threshold, "software": __version__}

    records = [json.loads(file.read_text()) for file in sorted((tmp_path / "fields" / "fields").glob("*.json"))]
    assert sorted(record["error"] is None for record in records) == [False, True, True]
    patients = json.loads((tmp_path / "fields" / "patients.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "rows" / "predictions.jsonl").read_text().splitlines()]
    for name, values in {"field": records, "patients": [patients], "prediction": rows}.items():
        for value in values:
            check(name, value)
            assert {key: value[key] for key in origin} == origin
    for folder in ("fields", "rows"):
        check("summary", json.loads((tmp_path / folder / "summary.json").read_text()))


def test_what_studies_write_keeps_to_them(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"{fold}", cells(), fold=fold, seconds=(2.0,)) for fold in range(3)]
    given = [word for run in runs for word in ("--run", run)]
    leukoscope("compare", *given, "--no-cost", "--out", tmp_path / "c")
    value = json.loads((tmp_path / "c" / "comparison.json").read_text())
    check("comparison", value)
    digests = [read_bundle(run / "bundle").digest for run in runs]
    assert [each["bundle"] for each in value["entries"][0]["runs"]["bundles"]] == digests
    crossval = cross_validate([Outcome.given(run) for run in runs], replicates=200).to_json()
    check("crossval", json.loads(json.dumps(crossval, allow_nan=False)))
    assert [run["bundle"] for run in crossval["runs"]] == digests


def test_an_evaluation_keeps_to_it(tmp_path: Path) -> None:
    for kind, red in {"blast": 180, "normal": 60}.items():
        for person in range(2):
            for number in range(6):
                file = tmp_path / "cells" / kind / f"{kind[0]}{person}" / f"{kind[0]}{person}_{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(disc((red + number, 100, 90))).save(file)
    leukoscope("evaluate", "--data", tmp_path / "cells", "--out", tmp_path / "out")
    value = json.loads((tmp_path / "out" / "metrics.json").read_text())
    check("evaluation", value)
    graph = read_bundle(default_bundle()).facts.files["model.onnx"]
    assert (value["context"]["graph"], value["context"]["software"]) == (graph, __version__)
    assert list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
