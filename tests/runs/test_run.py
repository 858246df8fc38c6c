"""A run's folder read back: how far it came, whether it is the one asked for; and how often pictures are decoded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_runs import cells as drawn_cells
from drawn_runs import write_run

from leukoscope.cells.read import read_picture
from leukoscope.datasets import cache as frames
from leukoscope.datasets.digests import packed, pixel_digests
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.files import write_checked_json
from leukoscope.inference import cells as asked
from leukoscope.reports.wrong import MOST_SHOWN
from leukoscope.runs.finish import finish_run
from leukoscope.runs.run import Run, is_measured
from leukoscope.runs.train import train_run
from leukoscope.training.checkpoint import read_state
from leukoscope.training.recipe import Recipe, load_recipe
from leukoscope.training.runtime import Runtime

CPU = Runtime(torch.device("cpu"), torch.float32)
SMALL = ("epochs=1", "input.size=16", "model.name=plain_cnn", "model.arguments.widths=[4, 8]", "split.folds=3")
RECIPE = load_recipe("paper", SMALL)


def read_counts(monkeypatch: pytest.MonkeyPatch, module: object) -> dict[str, int]:
    """How often a module decodes each picture from now on."""
    counts: dict[str, int] = {}

    def counted(path: object, **options: object) -> object:
        counts[str(path)] = counts.get(str(path), 0) + 1
        return read_picture(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_picture", counted)
    return counts


def test_a_run_is_training_then_trained_then_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_synthetic(tmp_path / "cells", count=60, seed=5, layout="folders", subjects=12)
    data = read_dataset(tmp_path / "cells")
    framed = read_counts(monkeypatch, frames)
    run = train_run(data, RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    assert set(framed.values()) == {1}
    assert len(framed) == 60
    assert run.state == "trained"
    learned = run.dataset.select(np.concatenate([run.split.train, run.split.val]))
    assert run.training is not None
    assert run.training.pixels == packed(pixel_digests(learned.paths()))
    assert not (run.folder / "bundle").exists()
    answered = read_counts(monkeypatch, asked)
    done = finish_run(run, "small")
    assert len(answered) == 60  # the validation part too, which serves decision and gate
    confusion = done.measured.evaluation.confusion
    twice = [path for path, times in answered.items() if times == 2]  # the wrong ones again, for their heat maps
    assert len(twice) == min(confusion["fp"] + confusion["fn"], MOST_SHOWN)
    assert set(answered.values()) <= {1, 2}
    assert run.state == "measured"
    assert done.bundle.facts == run.bundle().facts
    assert run.bundle().facts.training == run.training
    assert is_measured(run.folder, RECIPE, data, None)
    assert not is_measured(run.folder, RECIPE, data, 30)
    assert not is_measured(run.folder, RECIPE.model_copy(update={"seed": 1}), data, None)
    assert not is_measured(run.folder, RECIPE, data.select(range(59)), None)
    assert not is_measured(tmp_path / "cells", RECIPE, data, None)
    # Figures enter the bundle with its one writing: a kill before it leaves none, and what is there says so.
    shutil.rmtree(run.folder / "bundle")
    assert run.state == "trained"
    (newest,) = (run.folder / "checkpoints").iterdir()
    state = read_state(newest)
    state["progress"]["finished"] = False
    write_checked_json(newest / "state.json", state, sorted(newest.glob("*.safetensors")))
    assert run.state == "training"


def test_what_the_reader_found_out_stays_with_the_run(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "cells", count=36, seed=5, layout="folders", subjects=12)
    first = min((tmp_path / "cells").rglob("*.png"))
    first.with_name("again.png").symlink_to(first.name)
    data = read_dataset(tmp_path / "cells")
    assert len(data.notes) == 1
    run = train_run(data, RECIPE, tmp_path / "run", CPU, cache_folder=tmp_path / "cache")
    assert Run.open(run.folder).dataset.notes == data.notes


def test_figures_of_a_run_are_those_of_its_files(tmp_path: Path) -> None:
    run = Run.open(write_run(tmp_path / "run", drawn_cells(), threshold=0.3, seconds=(30.0, 60.0)))
    assert (run.threshold, run.minutes, run.shortened) == (0.3, 1.5, "epochs=2 (recipe: 50)")
    assert [epoch["epoch"] for epoch in run.history] == [1, 2]
    assert run.scores().path == tuple(record.path for record in run.part("test").records)
    assert run.measured_bundle().facts.name == "by-hand"
    (run.folder / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert run.minutes is None


@pytest.mark.parametrize(
    "damage", ["[]", "{", '{"recipe": {}}', '{"recipe": 1, "data": "d", "fingerprint": "f", "limit": null}']
)
def test_a_folder_that_is_no_run_says_so(damage: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(damage)
    with pytest.raises(TrainingError, match=r"not a run folder.*give the folder that `leukoscope train` wrote"):
        _ = Run.open(tmp_path).recipe


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("evaluation/metrics.json", "[]", "not an evaluation"),
        ("evaluation/predictions.csv", "path\n", "predictions.csv"),
        ("split.json", "{}", "not a run folder"),
        ("manifest.csv", "path\n", "not a run folder"),
        ("bundle/model.onnx", "x", "is damaged or was altered"),
    ],
)
def test_damaged_parts_are_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    run = Run.open(write_run(tmp_path / "run", drawn_cells()))
    (run.folder / name).write_text(content)
    with pytest.raises(LeukoscopeError, match=said):
        run.measured_bundle()
    assert run.state == "training"


def test_a_recipe_key_that_came_later_changes_no_run(tmp_path: Path) -> None:
    run = Run.open(write_run(tmp_path / "run", drawn_cells()))
    facts = json.loads((run.folder / "run.json").read_text())
    del facts["recipe"]["label_smoothing"]
    (run.folder / "run.json").write_text(json.dumps(facts))
    assert Run.open(run.folder).recipe == run.recipe
    assert isinstance(run.recipe, Recipe)
    assert Run.open(run.folder).matches(run.recipe, drawn_cells(), None)
