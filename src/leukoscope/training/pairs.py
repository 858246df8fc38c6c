"""Training a `pair`: its eye is fitted as by recipe `eye`, its compact network trained as by recipe `champion`.

The eye learns from the validation part too, where each cell is answered by a head without its patient. The compact
network does not, so that both have answers about the patients of that part who were new to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from leukoscope.errors import RecipeError
from leukoscope.models import create_model
from leukoscope.models.compact import CompactCNN
from leukoscope.models.eye import Eye
from leukoscope.models.pair import COMPACT_SIZE, CROP, EYE_SIZE, FRAME, Pair
from leukoscope.progress import SILENT, Progress
from leukoscope.training.batches import FrameSource, seed_for
from leukoscope.training.checkpoint import best_network
from leukoscope.training.frozen import LabelledFrames, LeftOut, fit_frozen, keep_fit, read_left_out
from leukoscope.training.loop import FitResult, Listener, fit, predict
from leukoscope.training.members import FOLDER
from leukoscope.training.recipe import Input, ModelChoice, Recipe
from leukoscope.training.runtime import Runtime


@dataclass(frozen=True, slots=True)
class PairRecipes:
    """How each half of a pair is trained, and on which frames.

    Attributes:
        eye: of an `eye`.
        compact: of a `compact_cnn`.
    """

    eye: Recipe
    compact: Recipe


def recipes_of_pair(recipe: Recipe) -> PairRecipes:
    """How the halves of a pair are trained: on frames from which the pair's graph makes the same pictures.

    Raises:
        RecipeError: there is no head, there are teachers, or the frames are no multiple of 85 px as they are.
    """
    if recipe.head is None or recipe.distillation is not None:
        raise RecipeError("a pair has a head and no teachers", remedy="use --recipe pair")
    shown, side = recipe.input.preparation, recipe.input.size
    if side != shown.frame_size or side * CROP % FRAME or side * COMPACT_SIZE % FRAME or shown.clahe is not None:
        raise RecipeError(
            f"a pair is shown frames of {FRAME} px as they are", remedy=f"use --set input.size={FRAME}, no clahe"
        )
    given = recipe.model.arguments
    eye = {key: given[key] for key in ("trunk", "stages") if key in given} | {"components": recipe.head.components}
    compact = {key: given[key] for key in ("widths",) if key in given}
    middle = shown.model_copy(update={"frame_size": side * CROP // FRAME})
    return PairRecipes(
        recipe.model_copy(update={
            "model": ModelChoice(name="eye", arguments=eye), "balance": "groups",
            "input": Input(size=side * EYE_SIZE // FRAME, preparation=middle),
        }),
        recipe.model_copy(update={
            "model": ModelChoice(name="compact_cnn", arguments=compact), "head": None,
            "input": Input(size=side * COMPACT_SIZE // FRAME, preparation=shown),
        }),
    )  # fmt: skip


def fit_pair(
    model: Pair,
    recipe: Recipe,
    whole: LabelledFrames,
    small: NDArray[np.uint8],
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    folder: Path,
    cache: Path,
    runtime: Runtime,
    *,
    jobs: int | None = None,
    progress: Progress = SILENT,
    on_step: Listener | None = None,
    on_epoch: Listener | None = None,
) -> FitResult:
    """Train both halves of a pair, each in a folder of its own under ``members/``, and join them in ``model``.

    Args:
        model: with the trunk's weights; gets the rest.
        recipe: of the pair.
        whole: what the eye is shown.
        small: what the compact network is shown of the same cells, uint8 [M, s, s, 3].
        train: rows to learn from.
        val: rows that the eye learns from too.
        folder: of the run; gets a checkpoint, ``metrics.jsonl`` and answers on ``val`` by halves that never saw the
            patient.
        cache: where statistics are kept.
        runtime: device and precision of the compact network.
        jobs: threads.
        progress: shows how far the statistics of the cells are.
        on_step: called after each batch of the compact network.
        on_epoch: called once for the eye, and after each epoch of the compact network.

    Raises:
        DataError: one class only, too few groups or too few cells.
        RecipeError: see :func:`recipes_of_pair`.
    """
    halves = recipes_of_pair(recipe)
    places = [folder / FOLDER / name for name in ("eye", "compact")]
    rows = np.sort(np.concatenate([train, val]))
    eye, left_out = _eye(model, halves.eye, whole, rows, places[0], cache, jobs, progress, on_epoch)
    torch.manual_seed(seed_for("weights", recipe.seed))
    compact = create_model(halves.compact.model.name, **halves.compact.model.arguments)
    assert isinstance(compact, CompactCNN)
    learned = FrameSource(small, whole.labels, train, runtime.device, whole.groups)
    new = FrameSource(small, whole.labels, val, runtime.device, whole.groups)
    found = fit(compact, halves.compact, learned, new, places[1], runtime, on_step=on_step, on_epoch=on_epoch)
    theirs = predict(compact, new, recipe.batch_size, runtime).numpy().astype(np.float64)
    logits = (left_out.logits[np.searchsorted(rows, val)] + theirs) / 2
    LeftOut(val, logits).write(folder)
    model.join({name: each.numpy() for name, each in eye.head_state().items()}, compact.cpu())
    known = whole.labels[val]
    figures = dict(found.history[found.best_epoch - 1]) | {
        "val_loss": float(log_loss(known, torch.from_numpy(logits).sigmoid().numpy(), labels=[0, 1])),
        "val_accuracy": float(((logits >= 0) == known).mean()),
        "val_auc": float(roc_auc_score(known, logits)),
        "seconds": round(sum(row["seconds"] for row in found.history), 2),
    }
    return keep_fit(folder, model, figures)


def _eye(
    model: Pair,
    recipe: Recipe,
    cells: LabelledFrames,
    rows: NDArray[np.int64],
    folder: Path,
    cache: Path,
    jobs: int | None,
    progress: Progress,
    on_epoch: Listener | None,
) -> tuple[Eye, LeftOut]:
    """The fitted eye, and its left-out answers on the rows; those of an earlier start where they are there."""
    kept = read_left_out(folder)
    if kept is not None and np.array_equal(kept.rows, rows) and (folder / "checkpoints").is_dir():
        found = best_network(folder / "checkpoints", recipe)[0]
        assert isinstance(found, Eye)
        return found, kept
    eye = create_model(recipe.model.name, **recipe.model.arguments)
    assert isinstance(eye, Eye)
    eye.trunk.load_state_dict(model.trunk.state_dict())
    _, left_out = fit_frozen(
        eye, recipe, cells, rows, folder, cache, jobs=jobs, progress=progress, on_epoch=on_epoch
    )  # fmt: skip
    return eye, left_out
