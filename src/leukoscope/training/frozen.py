"""Fitting an `eye`: statistics of the frozen trunk, a head on them, and answers of heads that never saw a patient."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from leukoscope.errors import RecipeError
from leukoscope.files import write_json, write_text
from leukoscope.models import CellClassifier
from leukoscope.models.eye import Eye
from leukoscope.progress import SILENT, Progress
from leukoscope.training.checkpoint import TrainingState, save_finished
from leukoscope.training.features import cell_statistics, shaken_statistics
from leukoscope.training.heads import HeadChoice, Shaken, balance_weights, fit_head, head_logits, left_out_logits
from leukoscope.training.loop import FitResult, Listener
from leukoscope.training.recipe import Recipe

LEFT_OUT_FILE = "left_out.json"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrames:
    """Prepared pictures of a data set, and what is known of them.

    Attributes:
        frames: uint8 [M, S, S, 3]; a memory map will do.
        labels: int64 [M], 0 normal, 1 blast.
        groups: patient group, str [M].
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Logits of pictures, each by a network that never saw its patient group.

    Attributes:
        rows: of the run's manifest, int64 [N].
        logits: float64 [N].
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float64]

    def write(self, folder: Path) -> None:
        """Keep them in the folder of a run."""
        write_json(folder / LEFT_OUT_FILE, {"rows": self.rows.tolist(), "logits": self.logits.tolist()})


def head_of(recipe: Recipe) -> HeadChoice:
    """The recipe's head.

    Raises:
        RecipeError: it has none.
    """
    if recipe.head is None:
        raise RecipeError(
            f"{recipe.model.name} has a head that is fitted, and the recipe says none", remedy="use --recipe eye"
        )
    return recipe.head


def fit_frozen(
    model: Eye,
    recipe: Recipe,
    cells: LabelledFrames,
    rows: NDArray[np.int64],
    folder: Path,
    cache: Path,
    *,
    jobs: int | None = None,
    progress: Progress = SILENT,
    on_epoch: Listener | None = None,
) -> tuple[FitResult, LeftOut]:
    """Fit the head of an `eye` whose trunk stays as it is.

    Args:
        model: with the trunk's weights; gets the head.
        recipe: with a head.
        cells: of all pictures.
        rows: which pictures to learn from, int64 [N].
        folder: of the run; gets a checkpoint, ``metrics.jsonl`` and `LEFT_OUT_FILE`.
        cache: where statistics are kept.
        jobs: threads.
        progress: shows how far the statistics of the cells are.
        on_epoch: called once, with the figures of the training pictures and of the left-out answers.

    Raises:
        DataError: one class only, too few groups or too few cells.
        RecipeError: see :func:`head_of`.
    """
    choice = head_of(recipe)
    started = time.perf_counter()
    statistics, shaken = _seen(model, choice, cells.frames, rows, cache, jobs=jobs, progress=progress)
    known, of = cells.labels[rows], cells.groups[rows]
    shaking = None if shaken is None else shaken.covariance(choice.steady.weights(), np.arange(len(rows)))
    weights = balance_weights(known, of, recipe.balance)
    head = fit_head(statistics, known, weights, choice, recipe.seed, shaking=shaking)
    left_out = left_out_logits(statistics, known, of, choice, recipe.balance, recipe.seed, shaken=shaken)
    scale = logit_scale(left_out, known)
    left_out *= scale
    head |= {name: head[name] * np.float32(scale) for name in ("head.weight", "head.bias")}
    model.take_head(head)
    stated = {"": head_logits(head, statistics), "val_": left_out}
    figures: dict[str, float] = {"epoch": 1, "learning_rate": 0.0}
    for part, logits in stated.items():
        figures[f"{part}loss"] = float(log_loss(known, 1 / (1 + np.exp(-np.clip(logits, -500, 500)))))
        figures[f"{part}auc"] = float(roc_auc_score(known, logits))
    figures["seconds"] = round(time.perf_counter() - started, 2)
    kept = LeftOut(rows, left_out)
    kept.write(folder)
    done = keep_fit(folder, model, figures)
    if on_epoch:
        on_epoch(figures)
    return done, kept


def keep_fit(folder: Path, model: CellClassifier, figures: dict[str, float]) -> FitResult:
    """Keep a network that was fitted at once as a run's finished one, with its one row of figures."""
    epoch = int(figures["epoch"])
    state = TrainingState(epoch, epoch, figures["val_loss"], [figures], finished=True)
    save_finished(folder / "checkpoints", model, state)
    write_text(folder / "metrics.jsonl", json.dumps(figures) + "\n")
    return FitResult([figures], epoch)


def read_left_out(folder: Path) -> LeftOut | None:
    """What was kept in a folder of left-out answers; None: nothing was.

    Raises:
        ValueError: the file is damaged; KeyError, TypeError as well.
    """
    file = folder / LEFT_OUT_FILE
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return LeftOut(np.array(found["rows"], dtype=np.int64), np.array(found["logits"], dtype=np.float64))


def _seen(
    model: Eye,
    choice: HeadChoice,
    frames: NDArray[np.uint8],
    rows: NDArray[np.int64],
    cache: Path,
    *,
    jobs: int | None,
    progress: Progress,
) -> tuple[NDArray[np.float32], Shaken | None]:
    """Statistics of the rows, and what changes do to some of them where the head is to be steadied."""
    # Of all pictures, so that every fold of the same data finds the same entry.
    whole = cell_statistics(frames, model.trunk.eval(), cache, jobs=jobs, progress=progress)
    kinds = choice.steady.weights()
    if not kinds:
        return whole[rows], None
    shaken = shaken_statistics(frames, whole, model.trunk, cache, kinds, jobs=jobs, progress=progress)
    return whole[rows], shaken.among(rows)


def logit_scale(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """By what a head's answers are multiplied so that they are logits: margins of a support vector machine are none.

    As Platt (1999), on answers of heads that never saw the patient, but without a shift: no cell changes its side.
    """
    found = float(LogisticRegression(C=1e4, fit_intercept=False).fit(logits[:, None], labels).coef_[0, 0])
    return found if found > 0 else 1.0
