"""Many runs in one folder: reused, resumed after a kill, alone in their folder, and none stops another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leukoscope.bundle.seal import unsealed
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import LeukoscopeError, RecipeError, TrainingError
from leukoscope.files import exclusive
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import is_measured
from leukoscope.studies.compare import grid as child
from leukoscope.studies.compare.grid import STATE_FILE, run_grid

SMALL = ("input.size=24", "epochs=1", "input.preparation.frame_size=64", "precision=fp32")


def row(model: str = "plain_cnn", fold: int = 0, **more: Any) -> Row:
    return Row(model, model=model, overrides=(*SMALL, *more.pop("overrides", ())), fold=fold, folds=3, **more)


def table(outcome: Outcome) -> Path:
    return outcome.folder / "evaluation" / "predictions.csv"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=48, seed=1, layout="cnmc", subjects=12)
    return read_dataset(folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(cells: Manifest, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Outcome, ...]]:
    """A grid with a row that cannot be trained between two that can, and one that is the first under another name."""
    folder = tmp_path_factory.mktemp("runs")
    rows = (row(), row("plain_cn"), replace(row(), entry="again"), row(fold=7))
    return folder, run_grid(rows, cells, folder, cache_folder=cache, isolated=False)


def test_one_row_fails_and_the_others_finish(first: tuple[Path, tuple[Outcome, ...]]) -> None:
    folder, outcomes = first
    assert [each.status for each in outcomes] == ["trained", "failed", "trained", "failed"]
    assert "no model is called 'plain_cn'; use one of: plain_cnn" in str(outcomes[1].reason)
    assert "there is no fold 7 of 3" in str(outcomes[3].reason)
    assert outcomes[0].folder == outcomes[2].folder
    state = json.loads((folder / STATE_FILE).read_text())
    assert [Outcome.from_json(each) for each in state] == list(outcomes)


def test_finished_rows_are_reused_untouched(
    first: tuple[Path, tuple[Outcome, ...]], cells: Manifest, cache: Path
) -> None:
    folder, outcomes = first
    files = {path: path.stat().st_mtime_ns for path in outcomes[0].folder.rglob("*") if path.is_file()}
    again = run_grid([row()], cells, folder, cache_folder=cache, isolated=False)
    assert [(each.status, each.folder) for each in again] == [("reused", outcomes[0].folder)]
    assert files == {path: path.stat().st_mtime_ns for path in outcomes[0].folder.rglob("*") if path.is_file()}
    assert Outcome.given(outcomes[0].folder).row.fold == 0
    assert Outcome.given(outcomes[0].folder, "mine").row.entry == "mine"


def test_children_on_two_devices_learn_the_same_and_one_that_is_killed_resumes(
    first: tuple[Path, tuple[Outcome, ...]],
    cells: Manifest,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, outcomes = first
    started: dict[str, subprocess.Popen[str]] = {}

    class Spied(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started[options["stderr"].name] = self

    def kill_long(line: str) -> None:
        if "epoch   1" in line and "[1/2" in line:
            next(process for log, process in started.items() if long.slug() in log).kill()

    monkeypatch.setattr(child.subprocess, "Popen", Spied)
    long = row(overrides=("epochs=3",))
    devices = ("cpu", "cpu")
    found = run_grid((long, row()), cells, tmp_path, cache_folder=cache, devices=devices, say=kill_long)
    assert [each.status for each in found] == ["failed", "trained"]
    assert "was killed by signal 9" in str(found[0].reason)
    assert table(found[1]).read_bytes() == table(outcomes[0]).read_bytes()
    assert found[1].run.dataset.name == cells.name == "rendered"
    epochs = (found[0].folder / "metrics.jsonl").read_text()
    assert 0 < len(epochs.splitlines()) < 3
    resumed = run_grid((long,), cells, tmp_path, cache_folder=cache, isolated=False)
    assert resumed[0].status == "trained"
    assert (resumed[0].folder / "metrics.jsonl").read_text().startswith(epochs)
    # A bundle without its figures is what a kill during the evaluation leaves.
    recipe = long.to_recipe()
    assert is_measured(found[0].folder, recipe, cells, None)
    bundle = found[0].folder / "bundle" / "bundle.json"
    facts, _ = unsealed(bundle.read_bytes())
    bundle.write_text(json.dumps(facts | {"measured": []}))
    assert not is_measured(found[0].folder, recipe, cells, None)


_PARENT = """
import sys
from dataclasses import replace
from pathlib import Path
from leukoscope.datasets.readers import read_dataset
from leukoscope.studies.compare.grid import run_grid
from leukoscope.runs.recipe_row import Row
row = Row.from_json({row!r})
run_grid([row], read_dataset(Path({root!r})), Path({folder!r}), cache_folder=Path({cache!r}),
         devices=("cpu",), say=lambda line: print(line, flush=True))
"""


def test_a_killed_grid_leaves_no_child_behind_and_goes_on(cells: Manifest, cache: Path, tmp_path: Path) -> None:
    long = row(overrides=("epochs=200", "early_stopping=null"))
    where = tmp_path / long.slug()
    script = _PARENT.format(row=long.to_json(), root=str(cells.root), folder=str(tmp_path), cache=str(cache))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        for line in parent.stdout:
            if "epoch   1" in line:
                break
        with pytest.raises(LeukoscopeError, match="another process trains into this"), exclusive(where, "trains into"):
            pass
        os.kill(parent.pid, signal.SIGKILL)
    for _ in range(600):  # the child sees that its parent is gone
        try:
            with exclusive(where, "trains into"):
                break
        except LeukoscopeError:
            time.sleep(0.05)
    else:
        pytest.fail("the child lives on")
    done = len((where / "metrics.jsonl").read_text().splitlines())
    assert 1 <= done < 200


def test_a_row_that_another_process_works_on_says_so(cells: Manifest, cache: Path, tmp_path: Path) -> None:
    with exclusive(tmp_path / row().slug(), "trains into"):
        found = run_grid([row()], cells, tmp_path, cache_folder=cache, isolated=False)
    assert found[0].status == "failed"
    assert "another process trains into this folder" in str(found[0].reason)


def test_names_of_run_folders_follow_what_is_trained() -> None:
    assert row().slug() == row().slug()
    names = {row().slug(), row(fold=1).slug(), row(seed=1).slug(), row(limit=40).slug(), row("crse_cnn").slug()}
    names.add(row(overrides=("augment.zoom=0.3",)).slug())
    assert len(names) == 6
    assert all(name.startswith(("plain_cnn-paper-group", "crse_cnn-paper-group0-seed0-")) for name in names)
    assert Row.from_json(row(limit=40).to_json()) == row(limit=40)


def test_rows_that_are_none() -> None:
    with pytest.raises(RecipeError, match="a row has no 'modle'"):
        Row.from_json({"entry": "a", "modle": "crse_cnn"})
    with pytest.raises(RecipeError, match="a row has no entry"):
        Row.from_json({"model": "crse_cnn"})


def test_a_grid_is_not_started_by_torchrun(cells: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="not started by torchrun"):
        run_grid([row()], cells, tmp_path, cache_folder=tmp_path)
