"""What became of a row, and whether a folder already holds the row's finished run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import limit
from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.files import settle
from leukoscope.metrics.scores import Scores
from leukoscope.runs.measure import read_run
from leukoscope.runs.recipe_row import Row

if TYPE_CHECKING:
    from leukoscope.training.recipe import Recipe

Status = Literal["trained", "reused", "given", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row and its run folder.

    Attributes:
        row: what was asked for.
        status: trained now, reused from an earlier start, given as a finished folder, or failed.
        folder: of the run; of a failed row, where it would have been.
        reason: why it failed, None otherwise.
    """

    row: Row
    status: Status
    folder: Path
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the folder holds a measured bundle."""
        return self.status != "failed"

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.folder / "bundle"

    @property
    def predictions(self) -> Path:
        """Table of the answers on the test part; read it with ``Scores.read_csv``."""
        return self.folder / "evaluation" / "predictions.csv"

    @property
    def metrics(self) -> Path:
        """The evaluation as JSON."""
        return self.folder / "evaluation" / "metrics.json"

    def minutes(self) -> float | None:
        """How long its epochs took by the clock, validation included; None where its log of epochs is gone or damaged.

        Framing the pictures, calibration and the measuring of the test part are not in it.
        """
        try:
            lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            return sum(float(json.loads(line)["seconds"]) for line in lines) / 60 if lines else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def scores(self) -> Scores:
        """The answers on the test part.

        Raises:
            DataError: the table is missing or damaged.
        """
        return Scores.read_csv(self.predictions)

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {"row": self.row.to_json(), "status": self.status, "folder": str(self.folder), "reason": self.reason}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Outcome:
        """What ``to_json`` gave."""
        return cls(Row.from_json(value["row"]), value["status"], Path(value["folder"]), value["reason"])


def studied(manifest: Manifest, pictures: int | None, seed: int) -> tuple[Manifest, int | None]:
    """The labelled pictures that a run is given, and the limit that was in force, None if it cut nothing off."""
    data = manifest.labelled()
    if pictures is None or pictures >= len(data):
        return data, None
    return limit(data, pictures, seed), pictures


def is_finished(folder: Path, recipe: Recipe, manifest: Manifest, pictures: int | None) -> bool:
    """Whether ``folder`` holds this very run, finished: same recipe, same data, same limit, bundle and figures whole.

    A folder that is no run, or one that was killed, is not finished; one of another run is neither: training into it
    says what differs.
    """
    from leukoscope.training.recipe import Recipe as Checked  # noqa: PLC0415 - needs the extra `train`

    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        data, in_force = studied(manifest, pictures, recipe.seed)
        same = Checked.model_validate(found["recipe"]) == recipe
        if not same or found["fingerprint"] != data.fingerprint() or found["limit"] != in_force:
            return False
        return bool(finished_bundle(folder).facts.measured)  # they enter the bundle last
    except (OSError, ValueError, KeyError, TypeError, LeukoscopeError):
        return False


def finished_bundle(folder: Path) -> Bundle:
    """The bundle of a measured run, after checking that bundle, figures and table belong together.

    Raises:
        TrainingError: the run is not measured, or its parts do not belong together.
        LeukoscopeError: a part is damaged.
    """
    bundle = read_bundle(folder / "bundle")
    settle(folder / "evaluation")
    figures = folder / "evaluation" / "metrics.json"
    if bundle.facts.training is None or not figures.is_file():
        raise TrainingError("the run is not finished", path=folder, remedy="give its `leukoscope train` command again")
    _, manifest, split = read_run(folder)
    scores = Scores.read_csv(folder / "evaluation" / "predictions.csv")
    test = {manifest.records[index].path for index in split.test.tolist()}
    if not set(scores.path) <= test or len(scores) != measured_at(folder)[1]:
        raise TrainingError(
            "the table of answers is not about the run's test part",
            path=folder / "evaluation" / "predictions.csv",
            remedy="measure the run again: leukoscope evaluate RUN",
        )
    return bundle


def measured_at(folder: Path) -> tuple[float, int]:
    """The threshold that a run's table of answers was judged at, and the number of its rows.

    Raises:
        TrainingError: the evaluation is damaged.
    """
    path = folder / "evaluation" / "metrics.json"
    settle(path.parent)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return float(found["threshold"]), int(found["counts"]["pictures"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"not an evaluation ({error!r})", path=path, remedy="measure the run again: leukoscope evaluate RUN"
        ) from error


def given_run(folder: Path, entry: str | None = None) -> Outcome:
    """A run that was trained before, as a row.

    Args:
        folder: as `leukoscope train` wrote it.
        entry: what it is shown as; the network and the recipe otherwise.

    Raises:
        LeukoscopeError: it is no run, it is not finished, or a part of it is damaged.
    """
    finished_bundle(folder)
    facts, _, split = read_run(folder)
    recipe = facts["recipe"]
    row = Row(
        entry=entry or str(recipe["model"]["name"]),
        recipe=str(recipe["name"]),
        model=str(recipe["model"]["name"]),
        protocol=split.protocol,
        fold=split.fold,
        folds=split.folds,
        seed=int(recipe["seed"]),
        limit=facts["limit"],
    )
    return Outcome(row, "given", folder)
