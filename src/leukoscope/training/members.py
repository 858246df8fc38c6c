"""An ensemble's members trained apart, one after the other, and joined."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from leukoscope.errors import RecipeError
from leukoscope.files import write_text
from leukoscope.models import CellClassifier, create_model, model_spec
from leukoscope.models.ensemble import Ensemble
from leukoscope.training.batches import FrameSource, seed_for
from leukoscope.training.checkpoint import TrainingState, save_finished
from leukoscope.training.loop import FitResult, Listener, fit, score
from leukoscope.training.recipe import ModelChoice, Recipe
from leukoscope.training.runtime import Runtime

FOLDER = "members"


def member_recipes(recipe: Recipe) -> list[Recipe]:
    """The recipe of each member: that of the ensemble, with the member's network and what it is trained otherwise by.

    Raises:
        RecipeError: the network is no ensemble or has another number of members, or starts from weights.
    """
    if recipe.model.name != "ensemble":
        raise RecipeError(f"{recipe.model.name} has no members", remedy="set model.name=ensemble, or members=[]")
    if recipe.model.weights not in {"auto", "none"}:
        raise RecipeError("members that are trained apart start from no common weights", remedy="set members=[]")
    given = recipe.model.arguments.get("members", model_spec(recipe.model.name).arguments["members"])
    if len(given) != len(recipe.members):
        raise RecipeError(
            f"the ensemble has {len(given)} members, the recipe trains {len(recipe.members)}",
            remedy="give as many `members` as model.arguments.members names",
        )
    return [
        recipe.model_copy(
            update={
                "model": ModelChoice.model_validate(network),
                "augment": how.augment or recipe.augment,
                "optimizer": how.optimizer or recipe.optimizer,
                "members": (),
            }
        )
        for network, how in zip(given, recipe.members, strict=True)
    ]


def fit_members(
    model: Ensemble,
    recipe: Recipe,
    train: FrameSource,
    val: FrameSource,
    folder: Path,
    runtime: Runtime,
    *,
    on_step: Listener | None = None,
    on_epoch: Listener | None = None,
) -> FitResult:
    """Train each member by its recipe and join them in ``model``.

    Arguments and errors as :func:`leukoscope.training.loop.fit`; each member has a folder of its own under
    ``members/``, so that a killed run goes on within the member that it was at. The result holds one row: the joined
    network on the validation part, with the members' mean training loss.
    """
    trained: list[CellClassifier] = []
    last: list[dict[str, float]] = []
    epochs, seconds = 0, 0.0
    for index, each in enumerate(member_recipes(recipe)):
        torch.manual_seed(seed_for("weights", recipe.seed))
        member = create_model(each.model.name, **each.model.arguments)
        told = _numbered(on_epoch, index)
        found = fit(member, each, train, val, folder / FOLDER / str(index), runtime, on_step=on_step, on_epoch=told)
        trained.append(member)
        last.append(found.history[found.best_epoch - 1])
        epochs += len(found.history)
        seconds += sum(row["seconds"] for row in found.history)
    model.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.join(trained)
    row = {"epoch": float(epochs)} | {
        key: sum(figures[key] for figures in last) / len(last) for key in ("loss", "learning_rate")
    }
    row |= {f"val_{k}": v for k, v in score(model, val, recipe.batch_size, runtime).items()}
    row["seconds"] = round(seconds, 2)
    progress = TrainingState(epoch=epochs, best_epoch=epochs, best_loss=row["val_loss"], history=[row], finished=True)
    if runtime.is_main:
        save_finished(folder / "checkpoints", model, progress)
        write_text(folder / "metrics.jsonl", json.dumps(row) + "\n")
    runtime.wait()
    return FitResult(progress.history, progress.best_epoch)


def _numbered(listener: Listener | None, index: int) -> Listener | None:
    """A listener that is told which member an epoch is of, counted from 1."""
    return listener and (lambda figures: listener({**figures, "member": float(index + 1)}))
