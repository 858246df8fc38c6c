"""A training recipe: one checked model, YAML on disk, dotted overrides on the command line."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope.cells.frame import Preparation
from leukoscope.errors import RecipeError
from leukoscope.text import nearest_first
from leukoscope.training.heads import HeadChoice

_MOST_YAML, _MOST_BRACKETS = 200_000, 500  # of a recipe or plan; the package's own have 2,000 and 60


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelChoice(_Part):
    """Which network, with which arguments."""

    name: str
    arguments: dict[str, Any] = {}
    weights: str = "auto"  # what it starts from: none, hub, a file; auto: hub for networks that have published weights
    weights_sha256: str | None = None  # what the file must have

    @model_validator(mode="before")
    @classmethod
    def _weights_are_no_argument(cls, value: Any) -> Any:
        # They may be written among the arguments, since that is where they are looked for.
        if isinstance(value, dict) and isinstance(value.get("arguments"), dict) and "weights" in value["arguments"]:
            rest = {k: v for k, v in value["arguments"].items() if k != "weights"}
            return {**value, "arguments": rest, "weights": value["arguments"]["weights"]}
        return value


class Input(_Part):
    """What the network sees: the prepared frame, resized to ``size`` pixels."""

    size: Annotated[int, Field(ge=16, le=512)] = 224
    preparation: Preparation = Preparation()


class SplitChoice(_Part):
    """Which pictures train, validate and test."""

    protocol: Literal["picture", "laboratory", "official", "subject", "group"] = "group"
    fold: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] = 5
    seed: int = 0
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the training patients, to see what more would bring


class Augmentation(_Part):
    """Ranges of the random draws, one draw per picture and epoch."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0  # uniform in +- this
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0  # log-uniform between 1/(1+zoom) and 1+zoom
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0  # factor uniform in 1 +- this
    channels: Annotated[float, Field(ge=0, lt=1)] = 0.0  # factor of each colour, uniform in 1 +- this
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0  # exponent, log-uniform between 1/(1+gamma) and 1+gamma
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0  # factor of the distance from grey, uniform in 1 +- this
    sharpness: Annotated[float, Field(ge=0, le=2)] = 0.0  # factor of the fine detail, uniform in 1 +- this
    stain: Annotated[float, Field(ge=0, le=0.3)] = 0.0  # share of another colour's optical density, uniform in +- this
    outline: Annotated[float, Field(ge=0, le=8)] = 0.0  # half of the outlines move, uniform in +- so many pixels
    scraps: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of cells with a scrap of a red cell or a bite missing
    compression: Annotated[float, Field(ge=0, lt=100)] = 0.0  # half become JPEG, quality from 100 - this


class Optimizer(_Part):
    """Gradient descent."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Stages(_Part):
    """How a network that starts from learned features is trained: the head first, then all of it."""

    frozen_epochs: Annotated[int, Field(ge=0)] = 0  # so many epochs only the head learns
    features_rate: Annotated[float, Field(gt=0, le=1)] = 1.0  # factor of the learning rate for all but the head
    batch_norm: Literal["train", "frozen"] = "train"  # frozen: keeps its statistics


class Plateau(_Part):
    """Multiply the learning rate by ``factor`` after ``patience`` epochs without a better validation loss."""

    name: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Annotated[int, Field(ge=0)] = 3


class OneCycle(_Part):
    """Warm up to the learning rate, then anneal by a cosine (Smith & Topin 2019), stepped per batch."""

    name: Literal["one_cycle"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.25


class EarlyStopping(_Part):
    """Stop after ``patience`` epochs without a better validation loss."""

    patience: Annotated[int, Field(ge=1)] = 5


class Distillation(_Part):
    """Learning from other networks' answers beside the labels (Hinton et al. 2015)."""

    # Bundles; {fold} and {seed} stand for the run's own.
    teachers: Annotated[tuple[str, ...], Field(min_length=1)]
    # Share of the target that is the teachers' mean probability. At most a half: the label keeps the last word.
    weight: Annotated[float, Field(gt=0, le=0.5)] = 0.5


class Member(_Part):
    """How one member of an ensemble is trained, where that differs from the recipe."""

    augment: Augmentation | None = None
    optimizer: Optimizer | None = None


class Recipe(_Part):
    """All that decides a training run, apart from the data."""

    name: str
    model: ModelChoice
    input: Input = Input()
    split: SplitChoice = SplitChoice()
    augment: Augmentation = Augmentation()
    balance: Literal["loss", "sample", "groups", "none"] = "loss"
    optimizer: Optimizer = Optimizer()
    stages: Stages = Stages()
    schedule: Annotated[Plateau | OneCycle, Field(discriminator="name")] = Plateau()
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 50
    early_stopping: EarlyStopping | None = EarlyStopping()
    keep: Literal["best", "last"] = "best"  # the epoch of the lowest validation loss, or the last one
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay by step of a running mean of the weights; 0: none
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    distillation: Distillation | None = None
    head: HeadChoice | None = None  # of a frozen trunk, fitted on its statistics instead of by gradient descent
    members: tuple[Member, ...] = ()  # of an ensemble, each trained apart; none: the network is trained as a whole
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _the_network_has_the_head(cls, value: Any) -> Any:
        # A fitted head says of what kind and size it is; the network is built for it.
        if not isinstance(value, dict) or not isinstance(value.get("head"), dict):
            return value
        model, head = value.get("model"), HeadChoice.model_validate(value["head"])
        if not isinstance(model, dict) or model.get("name") not in {"eye", "pair"}:
            raise ValueError("a head is fitted on the network `eye` alone: set model.name=eye, or leave head out")
        own: dict[str, Any] = {"components": head.components}
        if model["name"] == "eye":
            own["kind"] = head.kind
        elif head.kind != "radial":
            raise ValueError("the head of a pair is radial: leave head.kind out")
        if head.kind == "mlp":
            own["units"] = head.hidden
        given = model.get("arguments") or {}
        for key in own.keys() & given.keys():
            if given[key] != own[key]:
                raise ValueError(f"model.arguments.{key} is {given[key]!r}, the head has {own[key]!r}: leave it out")
        return {**value, "model": {**model, "arguments": {**given, **own}}}

    @property
    def steered_by_validation(self) -> bool:
        """Whether the validation part decides about the weights: their epoch, the learning rate, or when to stop."""
        return self.keep == "best" or self.schedule.name == "plateau" or self.early_stopping is not None

    def to_yaml(self) -> str:
        """The recipe as YAML, complete with all defaults."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("leukoscope.training") / "recipes"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by name or file and apply dotted overrides such as ``optimizer.learning_rate=3e-4``.

    Raises:
        RecipeError: unknown name, unreadable YAML, unknown key or value out of range.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise RecipeError("no such recipe file", path=path, remedy=f"or name one of: {', '.join(recipe_names())}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"not text in UTF-8 ({error})", path=path, remedy="save it as UTF-8") from error
    else:
        if name_or_path not in recipe_names():
            near = nearest_first(name_or_path, recipe_names())
            raise RecipeError(
                f"no recipe is called {name_or_path!r}", remedy=f"use one of {', '.join(near)}, or a .yaml file"
            )
        text = (resources.files("leukoscope.training") / "recipes" / f"{name_or_path}.yaml").read_text("utf-8")
    try:
        tree = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"not valid YAML ({error})", path=path, remedy="mend the line it names") from error
    if not isinstance(tree, dict):
        raise RecipeError("not a recipe: no keys at the top", path=path, remedy="start from a recipe of the package")
    for override in overrides:
        _apply(tree, override)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(faults, path=name_or_path, remedy="mend these keys of the recipe or of --set") from error


def read_yaml(text: str) -> Any:
    """What YAML says, if it is of the size and depth of what people write.

    Raises:
        yaml.YAMLError: it is no YAML, or larger, or deeper: to read that would take minutes.
    """
    if len(text) > _MOST_YAML or text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise yaml.YAMLError(f"more than {_MOST_YAML:,} characters or {_MOST_BRACKETS} brackets")
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override!r} is not KEY=VALUE", remedy="write, for instance, --set epochs=12")
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override!r}: {parent!r} holds no keys", remedy="look at the recipe's YAML")
        node = child
    node[last] = _scalar(text)


def _scalar(text: str) -> Any:
    # YAML 1.1 reads 3e-4 as a string; people do not.
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set ...={text[:40]!r} is not valid YAML ({error})", remedy="mend it") from error
    if isinstance(value, str) and text[:1] not in {'"', "'"}:  # what stands in quotes is meant as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def differences(recipe: Recipe, reference: Recipe) -> dict[str, tuple[Any, Any]]:
    """What differs, as dotted key -> (here, there)."""
    here, there = _flat(recipe.model_dump(mode="json")), _flat(reference.model_dump(mode="json"))
    return {k: (here.get(k), there.get(k)) for k in sorted({*here, *there}) if here.get(k) != there.get(k)}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
