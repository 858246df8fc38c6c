"""Training a `pair`: its eye is fitted, its compact network half taught by heads that never saw the cell's patient.

Both learn from the training part alone, so that the validation part is new to the pair as a whole.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from leukoscope.errors import RecipeError
from leukoscope.models import create_model
from leukoscope.models.compact import CompactCNN
from leukoscope.models.eye import Eye
from leukoscope.models.pair import Pair
from leukoscope.progress import SILENT, Progress
from leukoscope.training.batches import FrameSource, seed_for
from leukoscope.training.checkpoint import best_network
from leukoscope.training.features import cell_statistics
from leukoscope.training.frozen import fit_frozen, keep_fit, logit_scale, read_left_out
from leukoscope.training.heads import head_logits
from leukoscope.training.loop import FitResult, Listener, fit, predict
from leukoscope.training.members import FOLDER
from leukoscope.training.recipe import ModelChoice, Recipe
from leukoscope.training.runtime import Runtime

OWN_EYE = "eye"  # as the teacher of a pair's compact network


def recipes_of_pair(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """How the eye and how the compact network of a pair are trained.

    Raises:
        RecipeError: there is no head, or another teacher than the pair's own eye.
    """
    taught = recipe.distillation
    if recipe.head is None or (taught is not None and taught.teachers != (OWN_EYE,)):
        raise RecipeError(
            "a pair has a head, and its compact network no teacher but its own eye",
            remedy=f"use --recipe pair, or set distillation.teachers=[{OWN_EYE}]",
        )
    given = recipe.model.arguments
    eye = {key: given[key] for key in ("trunk", "stages") if key in given}
    compact: dict[str, object] = {"inside": True} | {key: given[key] for key in ("widths",) if key in given}
    return (
        recipe.model_copy(update={
            "model": ModelChoice(name="eye", arguments=eye | {"components": recipe.head.components}),
            "balance": "groups", "distillation": None,
        }),
        recipe.model_copy(update={"model": ModelChoice(name="compact_cnn", arguments=compact), "head": None}),
    )  # fmt: skip


def fit_pair(
    model: Pair,
    recipe: Recipe,
    frames: NDArray[np.uint8],
    small: NDArray[np.uint8],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
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

    Each half's logit is scaled on answers about patients that were new to it, and the mean of both is the pair's.

    Args:
        model: with the trunk's weights.
        recipe: with a head.
        frames: uint8 [M, S, S, 3] of all pictures, for the eye.
        small: the same at a third of the size, for the compact network.
        labels: int64 [M].
        groups: str [M].
        train: rows to learn from.
        val: rows that scale the compact network's logit.
        folder: of the run; gets a checkpoint and ``metrics.jsonl``.
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
    first, second = recipes_of_pair(recipe)
    places = [folder / FOLDER / name for name in ("eye", "compact")]
    eye, known = _eye(model, first, frames, labels, groups, train, places[0], cache, jobs, progress, on_epoch)
    targets = labels.astype(float)
    if recipe.distillation is not None:
        share = recipe.distillation.weight
        targets[train] = (1 - share) * targets[train] + share * _chance(known)
    torch.manual_seed(seed_for("weights", recipe.seed))
    compact = create_model(second.model.name, **second.model.arguments)
    assert isinstance(compact, CompactCNN)
    learned = FrameSource(small, labels, train, runtime.device, groups, targets)
    new = FrameSource(small, labels, val, runtime.device, groups)
    found = fit(compact, second, learned, new, places[1], runtime, on_step=on_step, on_epoch=on_epoch)
    theirs = predict(compact, new, recipe.batch_size, runtime).numpy().astype(np.float64)
    scale = logit_scale(theirs, labels[val])
    head = {name: each.numpy() for name, each in eye.state_dict().items() if not name.startswith("features.")}
    seen = cell_statistics(frames, model.trunk.eval(), cache, jobs=jobs, progress=progress)[val]
    logits = (head_logits(head, seen) + theirs * scale) / 2
    model.join(head, compact.cpu(), (0.5, 0.5 * scale))
    figures = dict(found.history[found.best_epoch - 1]) | {
        "val_loss": float(log_loss(labels[val], _chance(logits), labels=[0, 1])),
        "val_accuracy": float(((logits >= 0) == labels[val]).mean()),
        "val_auc": float(roc_auc_score(labels[val], logits)),
        "seconds": round(sum(row["seconds"] for row in found.history), 2),
    }
    return keep_fit(folder, model, figures)


def _eye(
    model: Pair,
    recipe: Recipe,
    frames: NDArray[np.uint8],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    rows: NDArray[np.int64],
    folder: Path,
    cache: Path,
    jobs: int | None,
    progress: Progress,
    on_epoch: Listener | None,
) -> tuple[Eye, NDArray[np.float64]]:
    """The fitted eye, and its left-out answers on the rows; those of an earlier start where they are there."""
    kept = read_left_out(folder)
    if kept is not None and np.array_equal(kept.rows, rows) and (folder / "checkpoints").is_dir():
        found = best_network(folder / "checkpoints", recipe)[0]
        assert isinstance(found, Eye)
        return found, kept.logits
    eye = create_model(recipe.model.name, **recipe.model.arguments)
    assert isinstance(eye, Eye)
    eye.trunk.load_state_dict(model.trunk.state_dict())
    _, left_out = fit_frozen(
        eye, recipe, frames, labels, groups, rows, folder, cache, jobs=jobs, progress=progress, on_epoch=on_epoch
    )
    return eye, left_out.logits


def _chance(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits."""
    return np.asarray(torch.from_numpy(logits).sigmoid().numpy())
