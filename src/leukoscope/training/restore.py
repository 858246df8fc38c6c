"""The network of a run, read back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from leukoscope.errors import TrainingError
from leukoscope.models import CellClassifier, create_model
from leukoscope.training.recipe import Recipe


def restore(folder: Path) -> tuple[Recipe, CellClassifier, int]:
    """Rebuild a run's network with its best weights so far.

    Returns:
        Recipe, network in evaluation mode on the CPU, number of finished epochs.

    Raises:
        TrainingError: the folder is no run, has no checkpoint yet, or is damaged.
    """
    checkpoints = sorted((folder / "checkpoints").glob("epoch-*"))
    if not checkpoints:
        raise TrainingError(
            "no checkpoint here", path=folder, remedy="give the folder of a run with at least one finished epoch"
        )
    try:
        recipe = Recipe.model_validate(json.loads((folder / "run.json").read_text(encoding="utf-8"))["recipe"])
        model = create_model(recipe.model.name, **recipe.model.arguments)
        model.load_state_dict(load_file(checkpoints[-1] / "best.safetensors"))
        epochs = int(json.loads((checkpoints[-1] / "state.json").read_text())["progress"]["epoch"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ValidationError, SafetensorError) as error:
        raise TrainingError(f"the run is damaged ({error})", path=folder, remedy="train it again") from error
    return recipe, model.eval(), epochs
