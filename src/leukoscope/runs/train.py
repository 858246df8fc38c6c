"""Training a run: data split and cached, network trained, everything written that remakes it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leukoscope import _version
from leukoscope.bundle.schema import TrainingFacts, WeightsFacts
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.digests import Digests, packed
from leukoscope.datasets.split import Split, make_split
from leukoscope.errors import TrainingError
from leukoscope.files import write_json, write_text
from leukoscope.machine import describe_machine
from leukoscope.models import CellClassifier, count_parameters, create_model
from leukoscope.models.ensemble import Ensemble
from leukoscope.models.eye import Eye
from leukoscope.models.pair import Pair
from leukoscope.models.weights import LoadedWeights, check_size, start_weights
from leukoscope.progress import SILENT, Progress
from leukoscope.reports.plots import draw_curves
from leukoscope.runs.live import LivePage
from leukoscope.runs.run import MANIFEST_FILE, RUN_FILE, SPLIT_FILE, TRAINING_FILE, Run, given_to
from leukoscope.runs.teachers import teach
from leukoscope.training.batches import FrameSource, seed_for
from leukoscope.training.frozen import LabelledFrames, fit_frozen, head_of
from leukoscope.training.loop import Listener, fit
from leukoscope.training.members import fit_members, member_recipes
from leukoscope.training.pairs import fit_pair, recipes_of_pair
from leukoscope.training.recipe import Recipe
from leukoscope.training.runtime import Runtime


def train_run(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    runtime: Runtime,
    *,
    cache_folder: Path,
    pictures: int | None = None,
    jobs: int | None = None,
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
        progress: shows how far pictures are prepared.
        on_step: called after each batch.
        on_epoch: called after each epoch.

    Raises:
        TrainingError: the folder holds another run, or a teacher of the recipe knows patients that it must not know.
        ModelError: the network cannot be built, its first weights cannot be had, or it takes no pictures of this size.
        DataError: the data cannot be split as asked, or pictures cannot be read.
    """
    data, pictures = given_to(recipe, manifest, pictures)
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
    if _learns_from_validation(recipe):
        # Nothing is chosen on a validation part: calibration rests on answers that never saw their patient.
        split = replace(split, train=np.sort(np.concatenate([split.train, split.val])), val=split.val[:0])
    torch.manual_seed(seed_for("weights", recipe.seed))
    chosen = recipe.model
    model = create_model(chosen.name, **chosen.arguments)
    check_size(model, chosen.name, recipe.input.size)
    started = start_weights(model, chosen.name, chosen.weights, chosen.weights_sha256)
    seen = recipes_of_pair(recipe).eye.input if isinstance(model, Pair) else recipe.input
    open_frames = partial(open_cache, data, seen.preparation, seen.size, cache_folder, jobs=jobs)
    if runtime.is_main:
        _begin(folder, recipe, data, split, pictures, started)
        cache = open_frames(progress=progress)
    runtime.wait()  # one process builds the cache, the others find it there
    if not runtime.is_main:
        cache = open_frames()
    cells = LabelledFrames(cache.frames, data.labels(), data.groups())
    title = f"{chosen.name}, recipe {recipe.name}, {choice.protocol} fold {choice.fold}, seed {recipe.seed}"
    live = LivePage(folder, {folder.name: folder}, title)

    def after_epoch(figures: dict[str, float]) -> None:
        if runtime.is_main:
            live.draw()
        if on_epoch:
            on_epoch(figures)

    listeners: dict[str, Any] = {"on_step": on_step, "on_epoch": after_epoch}
    shown: dict[str, Any] = {"jobs": jobs, "progress": progress}
    if isinstance(model, Pair):
        seen = recipes_of_pair(recipe).compact.input
        small = open_cache(data, seen.preparation, seen.size, cache_folder, **shown).frames
        fit_pair(
            model, recipe, cells, small, split.train, split.val, folder, cache_folder, runtime, **shown, **listeners
        )  # fmt: skip
    elif isinstance(model, Eye):
        fit_frozen(model, recipe, cells, split.train, folder, cache_folder, on_epoch=after_epoch, **shown)
    else:
        targets = _targets(data, split, recipe, folder)
        train = FrameSource(cells.frames, cells.labels, split.train, runtime.device, cells.groups, targets)
        val = FrameSource(cells.frames, cells.labels, split.val, runtime.device, cells.groups)
        if isinstance(model, Ensemble) and recipe.members:
            result = fit_members(model, recipe, train, val, folder, runtime, **listeners)
        else:
            result = fit(model, recipe, train, val, folder, runtime, **listeners)
    run = Run.open(folder)
    if runtime.is_main:
        live.draw(finished=True)
        if not isinstance(model, Eye):
            draw_curves(
                result.history, folder / "curves.png", best_epoch=result.best_epoch,
                title=title + (f"\nchanged: {run.shortened}" if run.shortened else ""),
            )  # fmt: skip
        facts = _training_facts(run, model, started, cache.pixels(jobs=jobs), runtime)
        write_json(folder / TRAINING_FILE, facts.model_dump(mode="json"))
    return run


def _learns_from_validation(recipe: Recipe) -> bool:
    """Whether the validation part joins the training part; what does not fit is said before hours of training.

    Raises:
        RecipeError: head, members or teachers are not those of the network.
    """
    if recipe.members:
        member_recipes(recipe)
    if recipe.model.name == "pair":
        recipes_of_pair(recipe)
    elif recipe.head is not None or recipe.model.name == "eye":
        head_of(recipe)
        return True
    return False


def _training_facts(
    run: Run, model: CellClassifier, start: LoadedWeights, pixels: Digests, runtime: Runtime
) -> TrainingFacts:
    """Where the weights of a trained network come from; ``pixels`` uint64 [N] of all pictures of the run."""
    recipe, split, groups = run.recipe, run.split, run.dataset.groups()
    weights = None
    if start.sha256 is not None:
        weights = WeightsFacts(source=start.source, sha256=start.sha256, licence=start.licence)
    return TrainingFacts(
        model=recipe.model.name,
        arguments=recipe.model.arguments,
        parameters=count_parameters(model),
        recipe=recipe.name,
        seed=recipe.seed,
        data=run.dataset.name,
        data_fingerprint=run.dataset.fingerprint(),
        pictures=len(split.train),
        groups_trained=sorted(set(groups[split.train].tolist())),
        groups_validated=sorted(set(groups[split.val].tolist())),
        shortened=run.shortened,
        weights=weights,
        pixels=packed(pixels[np.concatenate([split.train, split.val])]),
        machine=f"{describe_machine()}, torch {torch.__version__}, {runtime.describe()}",
    )


def _targets(data: Manifest, split: Split, recipe: Recipe, folder: Path) -> NDArray[np.float64] | None:
    """What is learned of each picture, float [N]: the label, drawn towards what the teachers say; None: the label."""
    if recipe.distillation is None:
        return None
    file = folder / "teachers.json"  # they are asked once in the life of a run
    if not file.exists():
        write_json(file, teach(data, split, recipe).tolist())
    targets = data.labels().astype(float)
    share = recipe.distillation.weight
    targets[split.train] = (1 - share) * targets[split.train] + share * np.array(json.loads(file.read_text("utf-8")))
    return targets


def _begin(
    folder: Path, recipe: Recipe, data: Manifest, split: Split, pictures: int | None, weights: LoadedWeights
) -> None:
    """Write down what is asked for; where a run lies there already, it must be this very one."""
    asked: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "limit": pictures,
        "weights": weights.sha256,
    }
    if (folder / RUN_FILE).exists():
        try:
            found = Run.open(folder)
            held = {**found.asked, "recipe": found.recipe.model_dump(mode="json")}
        except TrainingError as error:
            raise TrainingError(error.what, path=folder / RUN_FILE, remedy="train into a new folder") from error
        changed = [key for key, value in asked.items() if held.get(key) != value]
        if changed:
            raise TrainingError(
                f"the folder holds another run (differs in: {', '.join(changed)})",
                path=folder,
                remedy="choose another --out or remove the folder",
            )
        return
    write_text(folder / "recipe.yaml", recipe.to_yaml())
    write_json(folder / SPLIT_FILE, split.to_json(data))
    data.write_csv(folder / MANIFEST_FILE)
    write_json(folder / RUN_FILE, {**asked, "notes": list(data.notes), "leukoscope": _version.__version__})
