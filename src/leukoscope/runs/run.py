"""A run's folder read back: what was asked for, how far it came, and what its bundle scored.

| file | what it holds |
|---|---|
| `run.json`, `recipe.yaml` | what was asked for: recipe, data, limit, first weights |
| `manifest.csv`, `split.json` | the pictures, and which of them train, validate and test |
| `checkpoints/`, `metrics.jsonl`, `curves.html` | the weights, and the figures by epoch, drawn while it trains |
| `training.json` | where the weights come from, once they are trained |
| `evaluation/` | figures and answers on the test part |
| `bundle/` | the bundle, written last |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import ValidationError

from leukoscope.bundle.decision import sigmoid
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.bundle.schema import TrainingFacts
from leukoscope.datasets.dataset import Manifest, read_manifest
from leukoscope.datasets.split import Split, limit
from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.files import settle
from leukoscope.metrics.scores import Scores

if TYPE_CHECKING:
    from leukoscope.models import CellClassifier
    from leukoscope.training.recipe import Recipe

RUN_FILE: Final = "run.json"
MANIFEST_FILE: Final = "manifest.csv"
SPLIT_FILE: Final = "split.json"
TRAINING_FILE: Final = "training.json"

State = Literal["training", "trained", "measured"]
Part = Literal["train", "val", "test"]

#: Changing these makes another experiment under the same recipe, not a shortened one.
_FREE = ("model.", "split.", "seed", "name", "precision", "threshold")
_AGAIN = "measure the run again: leukoscope evaluate RUN"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, eq=False)
class Run:
    """A folder that `leukoscope train` wrote; every part is read when it is asked for.

    Attributes:
        folder: where everything lies.
        asked: of `RUN_FILE`: ``recipe``, ``data`` and ``fingerprint`` of the data set, ``limit`` on pictures, and
            ``notes`` of the reader of the data.
    """

    folder: Path
    asked: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The run in a folder.

        Raises:
            TrainingError: it holds none.
        """
        try:
            asked = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
            return cls(folder, {**asked, **{key: asked[key] for key in ("recipe", "data", "fingerprint", "limit")}})
        except _DAMAGED as error:
            raise _no_run(folder, error) from error

    @cached_property
    def recipe(self) -> Recipe:
        """As it is trained; keys that recipes got since then have no effect, as they have none by default."""
        from leukoscope.training.recipe import Recipe  # noqa: PLC0415 - needs the extra `train`

        try:
            return Recipe.model_validate(self.asked["recipe"])
        except ValidationError as error:
            raise _no_run(self.folder, error) from error

    @cached_property
    def dataset(self) -> Manifest:
        """The labelled pictures that the run was given, after its limit."""
        try:
            found = read_manifest(self.folder / MANIFEST_FILE)
            return replace(found, name=str(self.asked["data"]), notes=tuple(self.asked.get("notes", ())))
        except (*_DAMAGED, LeukoscopeError) as error:
            raise _no_run(self.folder, error) from error

    @cached_property
    def split(self) -> Split:
        """Which of the pictures train, validate and test."""
        try:
            text = (self.folder / SPLIT_FILE).read_text(encoding="utf-8")
            return Split.from_json(json.loads(text), self.dataset)
        except (*_DAMAGED, LeukoscopeError) as error:
            raise _no_run(self.folder, error) from error

    def part(self, name: Part) -> Manifest:
        """The pictures of a part."""
        return self.dataset.select(getattr(self.split, name))

    @property
    def history(self) -> list[dict[str, float]]:
        """Figures by epoch, as far as it came; empty where the log is gone or damaged."""
        return read_history(self.folder)

    @property
    def minutes(self) -> float | None:
        """How long its epochs took by the clock, validation included; None where its log does not say.

        Framing the pictures, calibration and the measuring of the test part are not in it.
        """
        seconds = [epoch.get("seconds") for epoch in self.history]
        return sum(filter(None, seconds)) / 60 if seconds and None not in seconds else None

    @property
    def shortened(self) -> str | None:
        """What differs from the package's recipe of this name, and a limit on pictures, in words; None if nothing."""
        return describe_changes(self.recipe, self.asked["limit"])

    @property
    def training(self) -> TrainingFacts | None:
        """Where the weights come from; None before they are trained.

        Raises:
            TrainingError: the file that says so is damaged.
        """
        file = self.folder / TRAINING_FILE
        if not file.is_file():
            return None
        try:
            return TrainingFacts.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise TrainingError(
                f"not the facts of a training ({error})", path=file, remedy="give its `leukoscope train` command again"
            ) from error

    def network(self) -> tuple[CellClassifier, int]:
        """The network with its best weights so far, in evaluation mode on the CPU, and the number of finished epochs.

        Raises:
            TrainingError: the run has no checkpoint yet, or is damaged.
        """
        from leukoscope.training.checkpoint import best_network  # noqa: PLC0415 - needs torch

        return best_network(self.folder / "checkpoints", self.recipe)

    def left_out(self) -> Scores | None:
        """Answers on the training part by heads that never saw their patient; None: another part validated.

        Raises:
            TrainingError: the file that holds them is damaged.
        """
        from leukoscope.training.frozen import LEFT_OUT_FILE, read_left_out  # noqa: PLC0415 - needs torch

        try:
            found = read_left_out(self.folder)
            if found is None:
                return None
            part = self.dataset.select(found.rows)
            return Scores(
                path=tuple(record.path for record in part.records), label=part.labels(), logit=found.logits,
                probability=sigmoid(found.logits), subject=part.subjects(), group=part.groups(),
            )  # fmt: skip
        except (*_DAMAGED, LeukoscopeError) as error:
            file = self.folder / LEFT_OUT_FILE
            raise TrainingError(f"is damaged ({error!r})", path=file, remedy="train into a new folder") from error

    def bundle(self) -> Bundle:
        """The bundle.

        Raises:
            BundleError: there is none, or it is damaged.
        """
        return read_bundle(self.folder / "bundle")

    def scores(self) -> Scores:
        """The answers on the test part.

        Raises:
            DataError: the table is missing or damaged.
        """
        settle(self.folder / "evaluation")
        return Scores.read_csv(self.folder / "evaluation" / "predictions.csv")

    @property
    def threshold(self) -> float:
        """What the answers on the test part were judged at.

        Raises:
            TrainingError: the evaluation is missing or damaged.
        """
        return self._evaluated()[0]

    @property
    def state(self) -> State:
        """How far it came; `measured`: bundle, figures and table are there and belong together."""
        try:
            if self.measured_bundle().facts.measured:  # a bundle that was exported early has none
                return "measured"
        except LeukoscopeError:
            pass
        from leukoscope.training.checkpoint import read_state  # noqa: PLC0415 - needs torch

        states = sorted((self.folder / "checkpoints").glob("epoch-*/state.json"))
        try:
            done = bool(states) and bool(read_state(states[-1].parent)["progress"]["finished"])
        except _DAMAGED:
            done = False
        return "trained" if done else "training"

    def measured_bundle(self) -> Bundle:
        """The bundle of a measured run, after checking that bundle, figures and table belong together.

        Raises:
            TrainingError: the run is not measured, or its parts do not belong together.
            LeukoscopeError: a part is damaged.
        """
        bundle = self.bundle()
        settle(self.folder / "evaluation")
        if bundle.facts.training is None or not (self.folder / "evaluation" / "metrics.json").is_file():
            raise TrainingError(
                "the run is not finished", path=self.folder, remedy="give its `leukoscope train` command again"
            )
        scores = self.scores()
        test = {record.path for record in self.part("test").records}
        if not set(scores.path) <= test or len(scores) != self._evaluated()[1]:
            raise TrainingError(
                "the table of answers is not about the run's test part",
                path=self.folder / "evaluation" / "predictions.csv",
                remedy=_AGAIN,
            )
        return bundle

    def matches(self, recipe: Recipe, data: Manifest, pictures: int | None) -> bool:
        """Whether this is the run of a recipe on a data set of which at most so many pictures are used."""
        try:
            if self.recipe != recipe:
                return False
        except TrainingError:
            return False
        part, in_force = given_to(recipe, data, pictures)
        return bool((self.asked["fingerprint"], self.asked["limit"]) == (part.fingerprint(), in_force))

    def _evaluated(self) -> tuple[float, int]:
        """Threshold of the evaluation, and number of the pictures that it rests on."""
        path = self.folder / "evaluation" / "metrics.json"
        settle(path.parent)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return float(found["threshold"]), int(found["counts"]["pictures"])
        except _DAMAGED as error:
            raise TrainingError(f"not an evaluation ({error!r})", path=path, remedy=_AGAIN) from error


def read_history(folder: Path) -> list[dict[str, float]]:
    """Figures by epoch of the run in a folder; empty where the log is not there, or damaged."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [{str(key): float(value) for key, value in json.loads(line).items()} for line in lines]
    except _DAMAGED:
        return []


def describe_changes(recipe: Recipe, pictures: int | None) -> str | None:
    """What differs from the package's recipe of this name, and a limit on pictures, in words; None if nothing."""
    from leukoscope.training.recipe import differences, load_recipe, recipe_names  # noqa: PLC0415 - needs `train`

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


def is_measured(folder: Path, recipe: Recipe, data: Manifest, pictures: int | None) -> bool:
    """Whether a folder holds this very run, measured.

    A folder that is no run, or one that was killed, does not; one of another run neither: training into it says what
    differs.
    """
    try:
        run = Run.open(folder)
    except TrainingError:
        return False
    return run.matches(recipe, data, pictures) and run.state == "measured"


def given_to(recipe: Recipe, data: Manifest, pictures: int | None) -> tuple[Manifest, int | None]:
    """The labelled pictures that a run is given, and the limit that is in force, None if it cuts nothing off."""
    known = data.labelled()
    if pictures is None or pictures >= len(known):
        return known, None
    return limit(known, pictures, recipe.seed), pictures


def _no_run(folder: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"not a run folder ({error})", path=folder, remedy="give the folder that `leukoscope train` wrote"
    )
