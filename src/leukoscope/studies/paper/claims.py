"""What the paper claims, as data, and the rule by which a measured figure decides about a claim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope.errors import DataError, missing_extra
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.metrics.glossary import BY_KEY

CUSTOM = ("crse_cnn", "plain_cnn")
RIVALS = ("vgg16", "resnetv2_101", "densenet201", "inception_v3", "wide_resnet50_2")
Verdict = Literal["holds", "does not hold", "cannot be checked"]
HOLDS: Final = "holds"
FAILS: Final = "does not hold"
OPEN: Final = "cannot be checked"
ROUNDING = 1e-9  # of floating point: 0.928 - 0.0005 is a little more than 0.9275
LIGHTER = 0.5  # "significantly lighter": at most this share of the rival's parameters
#: The rule, in the words of the report.
RULE = (
    "A claimed figure holds if the 95 % interval reaches it (to half its last digit: 97 % is 96.5 % or more; a figure "
    "of exactly 1.0 leaves no such room) and does not hold if the whole interval is lower. "
    "'Above' holds if the whole interval is above, does not hold if it is wholly below. 'Better' takes the paired "
    "difference in accuracy on the same cells: it holds if the whole interval is above 0, does not if it is wholly "
    f"below. 'Significantly lighter' is read as at most {LIGHTER:.0%} of the rival's parameters. 'Strong "
    "generalisation' does not hold if accuracy or AUC on the very same cells falls, by an interval that excludes 0, "
    "once the training has seen no other cell of their patients; it holds if both intervals of the fall stay below "
    "0.02. Whatever none of this settles cannot be checked, and the reason is given."
)
SMALL_FALL = 0.02

Share = Annotated[float, Field(ge=0, le=1)]


class Claim(BaseModel):
    """One claim; see ``claims.yaml`` for the kinds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    text: str
    place: str
    kind: Literal["figure", "better", "lighter", "part", "general", "arithmetic", "none"]
    models: tuple[str, ...] = CUSTOM
    figure: str | None = None
    claimed: Share | None = None
    above: Share | None = None
    rival: str | None = None
    part: Literal["train", "val"] | None = None
    accuracy: Share | None = None
    because: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {
            "figure": self.figure is not None and (self.claimed is None) != (self.above is None),
            "better": self.rival is not None,
            "lighter": self.rival is not None,
            "part": self.part is not None and self.claimed is not None,
            "general": True,
            "arithmetic": self.accuracy is not None,
            "none": self.because is not None,
        }
        if not needs[self.kind]:
            raise ValueError(f"the claim {self.id} lacks what its kind {self.kind} needs")
        return self

    @property
    def stated(self) -> str:
        """What is claimed, in short."""
        if self.claimed is not None:
            return f"{self.claimed:.3f}"
        if self.above is not None:
            return f"above {self.above:g}"
        return {"better": "better", "lighter": "lighter", "general": "strong"}.get(self.kind, "stated")


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict and, unless it holds, why."""

    verdict: Verdict
    reason: str = ""


def load_claims(path: str | Path | None = None) -> tuple[Claim, ...]:
    """The claims of the paper, or of another file of the same form.

    Raises:
        DataError: the file is no list of claims, or an id stands twice.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("reading claims", "train") from error
    place = resources.files("leukoscope.studies.paper") / "claims.yaml" if path is None else Path(path)
    try:
        tree = yaml.safe_load(place.read_text(encoding="utf-8"))
        claims = tuple(Claim.model_validate(each) for each in tree["claims"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise DataError(f"not a list of claims ({error})", path=str(place)) from error
    if len({claim.id for claim in claims}) != len(claims):
        raise DataError("two claims have one id", path=str(place))
    return claims


def rule_figure(claim: Claim, found: Estimate) -> Ruling:
    """Decide about a figure that is claimed to be reached, or to be passed.

    >>> claim = Claim(id="a", text="", place="", kind="figure", figure="accuracy", claimed=0.97)
    >>> rule_figure(claim, Estimate(0.95, 0.93, 0.966)).verdict, rule_figure(claim, Estimate(0.9, 0.88, 0.92)).verdict
    ('holds', 'does not hold')
    """
    if math.isnan(found.value):
        return Ruling(OPEN, "the figure is undefined on these cells")
    if math.isnan(found.low):
        return Ruling(OPEN, "no interval can be given: too few patient groups in the test part")
    if claim.above is not None:
        return _rule_above(claim.above, found)
    assert claim.claimed is not None
    if found.high >= claim.claimed - half_digit(claim.claimed) - ROUNDING:
        return Ruling(HOLDS)
    return Ruling(FAILS, f"the whole interval is below {claim.claimed:g}")


def _rule_above(bound: float, found: Estimate) -> Ruling:
    if found.low > bound:
        return Ruling(HOLDS)
    if found.high <= bound:
        return Ruling(FAILS, f"the whole interval is at or below {bound:g}")
    return Ruling(OPEN, f"the interval lies on both sides of {bound:g}: more patients are needed")


def half_digit(share: float) -> float:
    """Half of the last digit that a percentage is written with; 0 for 100 %, which leaves no room.

    >>> half_digit(0.97), half_digit(0.987), half_digit(1.0)
    (0.005, 0.0005, 0.0)
    """
    if share >= 1:
        return 0.0
    return 0.005 if math.isclose(100 * share, round(100 * share), abs_tol=1e-9) else 0.0005


def rule_better(difference: Estimate) -> Ruling:
    """Decide whether the first is better, from first minus second."""
    if math.isnan(difference.low):
        return Ruling(OPEN, "no interval can be given: too few patient groups in the test part")
    if difference.low > 0:
        return Ruling(HOLDS)
    if difference.high < 0:
        return Ruling(FAILS, "the rival is better, by an interval that excludes 0")
    return Ruling(OPEN, "the interval of the difference includes 0: these patients do not tell the two apart")


def rule_lighter(own: int, rival: int) -> Ruling:
    """Decide from the numbers of parameters.

    >>> rule_lighter(390_000, 18_000_000).verdict
    'holds'
    """
    if own <= LIGHTER * rival:
        return Ruling(HOLDS)
    return Ruling(FAILS, f"{own:,} parameters are more than {LIGHTER:.0%} of {rival:,}")


def rule_general(falls: dict[str, Estimate]) -> Ruling:
    """Decide from how much figures fall on the same cells once their patients are new: picture minus group split."""
    if any(math.isnan(fall.low) for fall in falls.values()):
        return Ruling(OPEN, "no interval can be given: too few patient groups in the test part")
    if any(fall.low > 0 for fall in falls.values()):
        named = " and ".join(BY_KEY[key].title for key, fall in falls.items() if fall.low > 0)
        return Ruling(FAILS, f"lower on the same cells once their patients are new: {named}")
    if all(fall.high < SMALL_FALL for fall in falls.values()):
        return Ruling(HOLDS)
    return Ruling(OPEN, f"the intervals of the fall include 0 and more than {SMALL_FALL}: more patients are needed")


def rule_arithmetic(accuracy: float) -> Ruling:
    """Precision and recall of 1 leave no wrong cell, and so an accuracy of 1."""
    if accuracy + half_digit(accuracy) >= 1:
        return Ruling(HOLDS)
    return Ruling(FAILS, "precision and recall of 1.0 mean that no cell was wrong, and so an accuracy of 1.0")
