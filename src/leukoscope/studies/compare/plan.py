"""What a comparison compares, in one checked model: from a YAML file, from flags, or from both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from leukoscope.errors import RecipeError
from leukoscope.runs.recipe_row import Row

_AGAIN = "mend these keys; docs/comparison.md lists all of them"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedEntry(_Part):
    """One line of the table: a network to train in one way, runs that were trained before, or a bundle."""

    name: str | None = None
    model: str | None = None
    recipe: str = "paper"
    set: tuple[str, ...] = ()
    weights: str | None = None
    runs: tuple[Path, ...] = ()
    bundle: Path | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.model is not None) + bool(self.runs) + (self.bundle is not None) != 1:
            raise ValueError("an entry has either a model to train, or runs, or a bundle")
        return self


class Plan(_Part):
    """A comparison.

    ``models`` times ``recipes`` and ``entries`` are trained on each of ``fold`` with each of ``seeds``.
    """

    data: tuple[Path, ...] = ()
    groups: Path | None = None
    models: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ("paper",)
    entries: tuple[PlannedEntry, ...] = ()
    protocol: Literal["group", "subject", "official", "laboratory", "picture"] | None = None
    fold: tuple[Annotated[int, Field(ge=0)], ...] = (0,)  # of the protocol laboratory: all
    folds: Annotated[int, Field(ge=2)] | None = None
    seeds: tuple[int, ...] = (0,)
    limit: Annotated[int, Field(ge=20)] | None = None
    set: tuple[str, ...] = ()
    reference: str | None = None

    @field_validator("data", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _each_laboratory(self) -> Self:
        if self.protocol != "laboratory" or not any(each.model for each in self.lines.values()):
            return self
        if len(self.data) < 2:
            raise ValueError("the protocol laboratory leaves out one data set of several: give data for each")
        if "fold" in self.model_fields_set:
            return self
        return self.model_copy(update={"fold": tuple(range(len(self.data)))})

    @property
    def lines(self) -> dict[str, PlannedEntry]:
        """All entries by name, in the order of the table.

        Raises:
            RecipeError: two have one name.
        """
        several = len(self.recipes) > 1
        crossed = [
            PlannedEntry(name=f"{model}, {recipe}" if several else model, model=model, recipe=recipe)
            for recipe in self.recipes
            for model in self.models
        ]
        found: dict[str, PlannedEntry] = {}
        for entry in (*crossed, *self.entries):
            name = entry.name or entry.model or (entry.bundle or entry.runs[0]).name
            if name in found:
                raise RecipeError(f"two entries are called {name!r}", remedy="give each a name of its own")
            found[name] = entry
        return found

    def rows(self) -> tuple[Row, ...]:
        """The runs to train: fold by fold, so that a comparison that is cut off has compared something."""
        return tuple(
            Row(
                entry=name,
                recipe=entry.recipe,
                model=entry.model,
                overrides=(*self.set, *entry.set),
                protocol=self.protocol,
                fold=fold,
                folds=self.folds,
                seed=seed,
                limit=self.limit,
                weights=entry.weights,
            )
            for seed in self.seeds
            for fold in self.fold
            for name, entry in self.lines.items()
            if entry.model is not None
        )


def read_plan(path: Path | None, given: dict[str, Any]) -> Plan:
    """Read a plan from YAML and lay the flags that were given over it; entries add up.

    Args:
        path: the file; None: flags alone. Relative paths in it are relative to the file.
        given: keys of ``Plan`` with values; those that are None or empty leave the file's.

    Raises:
        RecipeError: unreadable YAML, an unknown key, a value out of range, or nothing to compare.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _yaml(path)
    added = (*(tree.get("entries") or ()), *given.get("entries", ()))
    tree |= {key: value for key, value in given.items() if value is not None and value != ()}
    if added:
        tree["entries"] = added
    try:
        plan = Plan.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'plan'}: {e['msg']}" for e in error.errors())
        raise RecipeError(faults, path=path, remedy=_AGAIN) from error
    if not plan.lines:
        raise RecipeError("nothing to compare", path=path, remedy="give --model, --run or --bundle, each twice or more")
    if plan.reference is not None and plan.reference not in plan.lines:
        raise RecipeError(
            f"the reference {plan.reference!r} is no entry", path=path, remedy=f"use one of: {', '.join(plan.lines)}"
        )
    return plan


def _yaml(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - an optional extra

    from leukoscope.training.recipe import read_yaml  # noqa: PLC0415

    try:
        tree = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot be read as YAML ({error})", path=path, remedy="mend the line it names") from error
    if not isinstance(tree, dict):
        raise RecipeError("not a plan: no keys at the top", path=path, remedy=_AGAIN)
    home = path.parent
    if isinstance(tree.get("groups"), str):
        tree["groups"] = home / tree["groups"]
    if isinstance(tree.get("data"), str | list):
        told = tree["data"]
        tree["data"] = tuple(home / str(each) for each in ([told] if isinstance(told, str) else told))
    entries = tree.get("entries")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("bundle"), str):
            entry["bundle"] = home / entry["bundle"]
        if isinstance(entry, dict) and isinstance(entry.get("runs"), list):
            entry["runs"] = [home / str(each) for each in entry["runs"]]
    return tree
