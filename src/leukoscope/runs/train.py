"""A whole run in a folder: data split and cached, network trained, everything written that remakes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leukoscope import _version
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import Split, limit, make_split
from leukoscope.errors import TrainingError
from leukoscope.files import write_json, write_text
from leukoscope.machine import describe_machine
from leukoscope.models import CellClassifier, count_parameters, create_model
from leukoscope.models.ensemble import Ensemble
from leukoscope.models.eye import Eye
from leukoscope.models.weights import LoadedWeights, check_size, start_weights
from leukoscope.progress import SILENT, Progress
from leukoscope.reports.plots import draw_curves
from leukoscope.training.batches import FrameSource, seed_for
from leukoscope.training.frozen import LeftOut, fit_frozen, head_of
from leukoscope.training.loop import FitResult, Listener, fit
from leukoscope.training.members import fit_members, member_recipes
from leukoscope.training.recipe import Recipe, differences, load_recipe, recipe_names
from leukoscope.training.runtime import Runtime

#: From the data, the split and the recipe to the teachers' probability of blast for each picture of the training part.
Teaching = Callable[[Manifest, Split, Recipe], NDArray[np.float64]]

#: Changing these makes another experiment under the same recipe, not a shortened one.
_FREE = ("model.", "split.", "seed", "name", "precision", "threshold")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: where everything lies.
        recipe: as trained.
        manifest: the labelled pictures that the run was given, after ``--limit``.
        split: which of them trained, validated, and are left to test.
        model: holds the best weights, in evaluation mode, on the CPU.
        fit: figures by epoch.
        shortened: what was changed against the named recipe, in words, or None.
        machine: what trained it.
        weights: what the network started from.
        left_out: answers of the training pictures by heads that never saw their patient; None: a validation part did.
    """

    folder: Path
    recipe: Recipe
    manifest: Manifest
    split: Split
    model: CellClassifier
    fit: FitResult
    shortened: str | None
    machine: str
    weights: LoadedWeights
    left_out: LeftOut | None = None

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return count_parameters(self.model)


def describe_changes(recipe: Recipe, pictures: int | None) -> str | None:
    """What differs from the package's recipe of this name, and a limit on pictures, in words; None if nothing."""
    changes = []
    if recipe.name in recipe_names():
        changes = [
            f"{key}={here} (recipe: {there})"
            for key, (here, there) in differences(recipe, load_recipe(recipe.name)).items()
            if not key.startswith(_FREE)
        ]
    if recipe.split.train_share < 1:
        changes.append(f"{recipe.split.train_share:g} of the training patients only")
    if pictures is not None:
        changes.append(f"{pictures} pictures only")
    return ", ".join(changes) or None


def train_run(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    runtime: Runtime,
    *,
    cache_folder: Path,
    pictures: int | None = None,
    jobs: int | None = None,
    teach: Teaching | None = None,
    progress: Progress = SILENT,
    on_step: Listener | None = None,
    on_epoch: Listener | None = None,
) -> Run:
    """Train a recipe on a data set, or go on where a killed run stopped.

    Args:
        manifest: the data; pictures without a label are left out.
        recipe: how to train.
        folder: of the run; made, or resumed if it holds this very run.
        runtime: device, precision, processes.
        cache_folder: where prepared frames are kept.
        pictures: at most so many pictures, a stratified sample; None for all.
        jobs: threads for decoding.
        teach: asks the recipe's teachers; needed where the recipe names some.
        progress: shows how far pictures are prepared.
        on_step: called after each batch.
        on_epoch: called after each epoch.

    Raises:
        TrainingError: the folder holds another run, or the recipe names teachers that nobody asks.
        ModelError: the network cannot be built, its first weights cannot be had, or it takes no pictures of this size.
        DataError: the data cannot be split as asked, or pictures cannot be read.
    """
    data = manifest.labelled()
    if pictures is not None and pictures < len(data):
        data = limit(data, pictures, recipe.seed)
    else:
        pictures = None
    choice = recipe.split
    split = make_split(
        data,
        choice.protocol,
        fold=choice.fold,
        folds=choice.folds,
        seed=choice.seed,
        val_fraction=choice.val_fraction,
        train_share=choice.train_share,
    )
    if recipe.members:
        member_recipes(recipe)  # what does not fit is said before hours of training
    if recipe.head is not None or recipe.model.name == "eye":
        head_of(recipe)
        # Nothing is chosen on a validation part: calibration rests on answers that never saw their patient.
        split = replace(split, train=np.sort(np.concatenate([split.train, split.val])), val=split.val[:0])
    torch.manual_seed(seed_for("weights", recipe.seed))
    chosen = recipe.model
    model = create_model(chosen.name, **chosen.arguments)
    check_size(model, chosen.name, recipe.input.size)
    started = start_weights(model, chosen.name, chosen.weights, chosen.weights_sha256)
    open_frames = partial(open_cache, data, recipe.input.preparation, recipe.input.size, cache_folder, jobs=jobs)
    if runtime.is_main:
        _claim(folder, recipe, data, split, pictures, started)
        cache = open_frames(progress=progress)
    runtime.wait()  # one process builds the cache, the others find it there
    if not runtime.is_main:
        cache = open_frames()
    labels = data.labels()
    groups = data.groups()
    if isinstance(model, Eye):
        result, left_out = fit_frozen(
            model, recipe, cache.frames, labels, groups, split.train, folder, cache_folder,
            jobs=jobs, progress=progress, on_epoch=on_epoch,
        )  # fmt: skip
        machine = f"{describe_machine()}, torch {torch.__version__}, {runtime.describe()}"
        shortened = describe_changes(recipe, pictures)
        return Run(folder, recipe, data, split, model.eval(), result, shortened, machine, started, left_out)
    targets = _targets(data, split, recipe, teach, folder)
    train = FrameSource(cache.frames, labels, split.train, runtime.device, groups, targets)
    val = FrameSource(cache.frames, labels, split.val, runtime.device, groups)
    if isinstance(model, Ensemble) and recipe.members:
        result = fit_members(model, recipe, train, val, folder, runtime, on_step=on_step, on_epoch=on_epoch)
    else:
        result = fit(model, recipe, train, val, folder, runtime, on_step=on_step, on_epoch=on_epoch)
    shortened = describe_changes(recipe, pictures)
    if runtime.is_main:
        title = f"{recipe.model.name}, recipe {recipe.name}, {choice.protocol} fold {choice.fold}, seed {recipe.seed}"
        draw_curves(
            result.history,
            folder / "curves.png",
            title=title + (f"\nchanged: {shortened}" if shortened else ""),
            best_epoch=result.best_epoch,
        )
    machine = f"{describe_machine()}, torch {torch.__version__}, {runtime.describe()}"
    return Run(folder, recipe, data, split, model.cpu().eval(), result, shortened, machine, started)


def _targets(
    data: Manifest, split: Split, recipe: Recipe, teach: Teaching | None, folder: Path
) -> NDArray[np.float64] | None:
    """What is learned of each picture, float [N]: the label, drawn towards what the teachers say; None: the label."""
    if recipe.distillation is None:
        return None
    file = folder / "teachers.json"  # they are asked once in the life of a run
    if not file.exists():
        if teach is None:
            raise TrainingError("the recipe names teachers that nobody asks", remedy="use `leukoscope train`")
        write_json(file, teach(data, split, recipe).tolist())
    targets = data.labels().astype(float)
    share = recipe.distillation.weight
    targets[split.train] = (1 - share) * targets[split.train] + share * np.array(json.loads(file.read_text("utf-8")))
    return targets


def _claim(
    folder: Path, recipe: Recipe, data: Manifest, split: Split, pictures: int | None, weights: LoadedWeights
) -> None:
    identity: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "limit": pictures,
        "weights": weights.sha256,
    }
    path = folder / "run.json"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            # Keys that the recipe got since then had no effect, as they have none by default.
            found["recipe"] = Recipe.model_validate(found.get("recipe")).model_dump(mode="json")
            changed = [key for key in identity if found.get(key) != identity[key]]
        except (ValueError, AttributeError, TypeError) as error:
            raise TrainingError(f"not a run ({error})", path=path, remedy="train into a new folder") from error
        if changed:
            raise TrainingError(
                f"the folder holds another run (differs in: {', '.join(changed)})",
                path=folder,
                remedy="choose another --out or remove the folder",
            )
        return
    write_text(folder / "recipe.yaml", recipe.to_yaml())
    write_json(folder / "split.json", split.to_json(data))
    data.write_csv(folder / "manifest.csv")
    write_json(path, {**identity, "leukoscope": _version.__version__})
