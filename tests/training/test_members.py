"""Members of an ensemble trained apart: each as if it were alone, and resumed where a run was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import RecipeError
from leukoscope.runs.run import Run
from leukoscope.runs.train import train_run
from leukoscope.training.members import member_recipes
from leukoscope.training.recipe import Recipe, load_recipe
from leukoscope.training.runtime import Runtime

CPU = Runtime(torch.device("cpu"), torch.float32)
BARE = ("epochs=2", "input.size=16", "split.folds=3", "optimizer.learning_rate=0.002")
ONE = "{name: compact_cnn, arguments: {widths: [4, 8]}}"
OTHER = "{name: compact_cnn, arguments: {widths: [4, 8], standardise: false}}"
BOTH = (
    *BARE,
    f"model={{name: ensemble, arguments: {{members: [{ONE}, {OTHER}]}}}}",
    "members=[{}, {augment: {flip_horizontal: true}, optimizer: {learning_rate: 0.01}}]",
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic(folder, count=36, seed=5, layout="folders", subjects=12)
    return folder


def run(cells: Path, folder: Path, recipe: Recipe, **listeners: object) -> Run:
    return train_run(
        read_dataset(cells),
        recipe,
        folder / "run",
        CPU,
        cache_folder=folder / "cache",
        **listeners,  # type: ignore[arg-type]
    )


def test_each_member_is_trained_as_if_it_were_alone(cells: Path, tmp_path: Path) -> None:
    heard: list[tuple[float, float]] = []
    both = run(
        cells,
        tmp_path / "both",
        load_recipe("paper", BOTH),
        on_epoch=lambda at: heard.append((at["member"], at["epoch"])),
    )
    assert heard == [(1, 1), (1, 2), (2, 1), (2, 2)]
    first = run(cells, tmp_path / "first", load_recipe("paper", (*BARE, f"model={ONE}")))
    second = run(
        cells,
        tmp_path / "second",
        load_recipe(
            "paper",
            (*BARE, f"model={OTHER}", "augment={flip_horizontal: true}", "optimizer={learning_rate: 0.01}"),
        ),
    )
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        apart = [each.network()[0](x) for each in (first, second)]
        torch.testing.assert_close(both.network()[0](x), torch.stack(apart).mean(0), rtol=0, atol=1e-6)
    assert (apart[0] - apart[1]).abs().max() > 1e-3
    (row,) = both.history
    assert row["epoch"] == 4
    assert json.loads((both.folder / "metrics.jsonl").read_text()) == row

    assert both.network()[1] == 4


class KilledError(Exception):
    """Ends a run between two epochs."""


def test_a_killed_run_goes_on_within_its_member(cells: Path, tmp_path: Path) -> None:
    recipe = load_recipe("paper", BOTH)
    whole = run(cells, tmp_path / "whole", recipe)

    def kill(at: dict[str, float]) -> None:
        if (at["member"], at["epoch"]) == (2, 1):
            raise KilledError

    with pytest.raises(KilledError):
        run(cells, tmp_path / "killed", recipe, on_epoch=kill)
    heard: list[tuple[float, float]] = []
    again = run(cells, tmp_path / "killed", recipe, on_epoch=lambda at: heard.append((at["member"], at["epoch"])))
    assert heard == [(2, 2)]
    resumed = again.network()[0].state_dict()
    for name, value in whole.network()[0].state_dict().items():
        assert torch.equal(value, resumed[name]), name


def test_members_that_do_not_fit_are_told_before_training(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the ensemble has 2 members, the recipe trains 1"):
        run(cells, tmp_path, load_recipe("paper", (*BOTH, "members=[{}]")))
    with pytest.raises(RecipeError, match="crse_cnn has no members"):
        run(cells, tmp_path, load_recipe("paper", (*BARE, "members=[{}, {}]")))
    with pytest.raises(RecipeError, match="start from no common weights"):
        run(cells, tmp_path, load_recipe("paper", (*BOTH, "model.weights=start.safetensors")))
    assert not (tmp_path / "run").exists()
    assert [each.model.arguments.get("standardise") for each in member_recipes(load_recipe("paper", BOTH))] == [
        None,
        False,
    ]


def test_two_views_are_the_champion_twice() -> None:
    champion, both = load_recipe("champion"), load_recipe("two_views")
    first, second = member_recipes(both)
    same = {"name", "model"}
    assert first.model_dump(exclude=same) == champion.model_dump(exclude=same)
    same |= {"augment", "optimizer"}
    assert second.model_dump(exclude=same) == champion.model_dump(exclude=same)
    assert second.optimizer.learning_rate < first.optimizer.learning_rate
    assert second.augment.stain == 0 < first.augment.stain
