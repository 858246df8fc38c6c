"""The runs that the reproduction of the paper needs: its protocol as stated, and what it should be held against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leukoscope.data.manifest import Manifest
from leukoscope.errors import LeukoscopeError
from leukoscope.studies.claims import CUSTOM, RIVALS
from leukoscope.studies.outcome import Outcome, given_run, studied
from leukoscope.studies.row import Row

INCEPTION_SIZE = 299
_CLAHE_OFF = "input.preparation.clahe=null"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of splitting and preparing.

    Attributes:
        key: short name.
        title: for tables.
        protocol: of the split.
        clahe_for_all: False equalises the pictures of the custom networks only, as the paper says.
    """

    key: str
    title: str
    protocol: str
    clahe_for_all: bool


ARMS = (
    Arm("stated", "As stated: pictures drawn 80:20, CLAHE for the custom networks", "picture", False),
    Arm("clahe", "Pictures drawn 80:20, CLAHE for all", "picture", True),
    Arm("subject", "Whole subjects held out, CLAHE for all", "subject", True),
    Arm("group", "Whole patient groups held out, CLAHE for all", "group", True),
)
BY_KEY = {arm.key: arm for arm in ARMS}


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides the runs.

    Attributes:
        models: networks to train; the other ones are not measured.
        folds: of the splits by subject and by group.
        epochs: at most; None: as in the recipe.
        limit: pictures; None for all.
        seed: of weights, order and augmentation.
        overrides: further changes of the recipe, ``KEY=VALUE``.
        weights: what the rivals start from; None: their default, pre-trained.
    """

    models: tuple[str, ...] = (*CUSTOM, *RIVALS)
    folds: int = 5
    epochs: int | None = None
    limit: int | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()
    weights: str | None = None

    def rows(self, arms: Sequence[Arm] = ARMS) -> list[Row]:
        """All runs, an entry ``arm/model`` each; those of two arms that are the same thing train once."""
        return [row for arm in arms for model in self.models for row in self._rows(arm, model)]

    def _rows(self, arm: Arm, model: str) -> list[Row]:
        told = list(self.overrides)
        if model not in CUSTOM and not arm.clahe_for_all:
            told.append(_CLAHE_OFF)
        if model == "inception_v3" and not any(each.startswith("input.size=") for each in told):
            told.append(f"input.size={INCEPTION_SIZE}")
        if self.epochs is not None:
            told.append(f"epochs={self.epochs}")
        row = Row(
            entry=f"{arm.key}/{model}",
            recipe="paper",
            model=model,
            overrides=tuple(told),
            protocol=arm.protocol,
            fold=0,
            folds=self.folds,
            seed=self.seed,
            limit=self.limit,
            weights=None if model in CUSTOM else self.weights,
        )
        return [replace(row, fold=fold) for fold in range(1 if arm.protocol == "picture" else self.folds)]


def find_given(rows: Sequence[Row], manifest: Manifest, folders: Sequence[Path]) -> dict[str, Outcome]:
    """Finished runs among ``folders`` that are the very runs wanted: slug to outcome.

    A folder may be a run or hold runs. Recipe, data and limit are compared; the folder's name does not count.
    """
    from leukoscope.training.recipe import Recipe  # noqa: PLC0415 - needs the extra `train`

    held: list[tuple[Path, Recipe, str, int | None]] = []
    for folder in folders:
        for file in sorted([*folder.glob("run.json"), *folder.glob("*/run.json")]):
            try:
                facts = json.loads(file.read_text(encoding="utf-8"))
                recipe = Recipe.model_validate(facts["recipe"])
                held.append((file.parent, recipe, str(facts["fingerprint"]), facts["limit"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
    found: dict[str, Outcome] = {}
    prints: dict[tuple[int | None, int], tuple[str, int | None]] = {}
    for row in rows:
        try:
            recipe = row.to_recipe()
        except LeukoscopeError:
            continue  # the grid says why
        key = (row.limit, recipe.seed)
        if key not in prints:
            data, in_force = studied(manifest, *key)
            prints[key] = (data.fingerprint(), in_force)
        for folder, other, fingerprint, in_force in held:
            if (other, fingerprint, in_force) != (recipe, *prints[key]):
                continue
            try:
                found[row.slug()] = replace(given_run(folder), row=row)
            except LeukoscopeError:
                continue
            break
    return found
