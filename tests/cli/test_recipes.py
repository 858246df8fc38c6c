"""`leukoscope recipes` without PyTorch."""

from __future__ import annotations

import subprocess
import sys

from leukoscope.training.recipe import load_recipe, read_yaml, recipe_names

ALONE = "import sys; sys.modules.update(torch=None, yaml=None); from leukoscope.cli import main; main(sys.argv[1:])"


def recipes(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, "recipes", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_are_listed_and_one_is_printed_without_pytorch() -> None:
    listed = recipes()
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == recipe_names()
    assert read_yaml(recipes("champion").stdout)["model"]["name"] == load_recipe("champion").model.name


def test_a_name_that_is_not_known_is_answered_with_all() -> None:
    told = recipes("champon")
    assert told.returncode == 2
    assert "no recipe is called 'champon'; use one of champion, " in told.stderr
    assert all(name in told.stderr for name in recipe_names())
