"""One row of a study in plain data: what is trained, on which part, with which seed; and what became of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from leukoscope.errors import RecipeError
from leukoscope.runs.run import Run

if TYPE_CHECKING:
    from leukoscope.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Row:
    """One training run.

    Rows of one ``entry`` are folds and seeds of the same thing: a study pools them.

    Attributes:
        entry: what the row is a part of, as shown to people.
        recipe: name of a recipe, or a YAML file.
        model: network instead of the recipe's.
        overrides: dotted changes of the recipe, ``KEY=VALUE``; the attributes below are stronger.
        protocol: how the data are split; None: as the recipe says, as for the next two.
        fold: which fold is the test part.
        folds: how many there are.
        seed: of weights, order and augmentation. The split has its own, so that seeds share their test parts.
        limit: at most so many pictures; None for all.
        weights: what the network starts from, as its argument ``weights`` takes it; None: its default.
    """

    entry: str
    recipe: str = "paper"
    model: str | None = None
    overrides: tuple[str, ...] = ()
    protocol: str | None = None
    fold: int | None = None
    folds: int | None = None
    seed: int | None = None
    limit: int | None = None
    weights: str | None = None

    def to_recipe(self) -> Recipe:
        """The complete recipe of this row.

        Raises:
            RecipeError: unknown recipe, key or value.
        """
        from leukoscope.training.recipe import load_recipe  # noqa: PLC0415 - needs the extra `train`

        given = {
            "model.name": self.model,
            "model.arguments.weights": None if self.weights is None else json.dumps(self.weights),
            "split.protocol": self.protocol,
            "split.fold": self.fold,
            "split.folds": self.folds,
            "seed": self.seed,
        }
        return load_recipe(
            self.recipe, (*self.overrides, *(f"{key}={value}" for key, value in given.items() if value is not None))
        )

    def slug(self) -> str:
        """Name of the row's run folder: readable, and another one whenever anything of the recipe is another.

        Only what differs from the defaults counts, so that a key which a later version adds changes no name.
        """
        recipe = self.to_recipe()
        told = [recipe.model_dump(mode="json", exclude_defaults=True), self.limit]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        split = recipe.split
        words = f"{recipe.model.name}-{recipe.name}-{split.protocol}{split.fold}-seed{recipe.seed}-{digest}"
        return re.sub(r"[^\w.-]+", "_", words)

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return {**asdict(self), "overrides": list(self.overrides)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave; attributes may be left out.

        Raises:
            RecipeError: an attribute that there is not, or no entry.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown or "entry" not in value:
            what = f"a row has no {unknown[0]!r}" if unknown else "a row has no entry"
            raise RecipeError(what, remedy=f"a row holds: {', '.join(sorted(known))}")
        return cls(**{**value, "overrides": tuple(value.get("overrides") or ())})


Status = Literal["trained", "reused", "given", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row and its run.

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

    @classmethod
    def given(cls, folder: Path, entry: str | None = None) -> Self:
        """A run that was trained and measured before.

        Args:
            folder: as `leukoscope train` wrote it.
            entry: what it is shown as; the network otherwise.

        Raises:
            LeukoscopeError: it is no run, it is not measured, or a part of it is damaged.
        """
        run = Run.open(folder)
        run.measured_bundle()
        recipe, split = run.recipe, run.split
        row = Row(
            entry=entry or recipe.model.name,
            recipe=recipe.name,
            model=recipe.model.name,
            protocol=split.protocol,
            fold=split.fold,
            folds=split.folds,
            seed=recipe.seed,
            limit=run.asked["limit"],
        )
        return cls(row, "given", folder)

    @property
    def ok(self) -> bool:
        """Whether the folder holds a measured run."""
        return self.status != "failed"

    @property
    def run(self) -> Run:
        """The run.

        Raises:
            TrainingError: there is none.
        """
        return Run.open(self.folder)

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {"row": self.row.to_json(), "status": self.status, "folder": str(self.folder), "reason": self.reason}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        return cls(Row.from_json(value["row"]), value["status"], Path(value["folder"]), value["reason"])
