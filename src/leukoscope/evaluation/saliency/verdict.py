"""The rules that heat maps are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leukoscope.evaluation.intervals import Estimate
from leukoscope.evaluation.rules import Rule, above, words
from leukoscope.evaluation.saliency.sanity import Likeness

LEAST_TJUR = 0.1  # mean probability of blasts above that of normal cells; a network without knowledge has 0
MOST_ALIKE = 0.5  # rank correlation: half of the order is shared
LEAST_TURN = 0.5

Figures = Mapping[str, Mapping[str, Estimate]]


def judge(
    figures: Figures,
    beyond: Figures,
    knows: Mapping[str, Estimate],
    randomised: Sequence[Likeness],
    shuffled: Likeness | None,
) -> tuple[Rule, ...]:
    """Apply the rules; "above" always means that the lower end of the 95 % interval over patient groups is above."""
    chance = figures["chance"]["cell"].value
    ours = figures["map"]
    return (
        Rule.of(
            "knows",
            f"There is something to explain: AUC above 0.5, and the mean probability of blasts more than {LEAST_TJUR} "
            "above that of normal cells.",
            f"AUC {words(knows['auc'])}, difference {words(knows['tjur'])}",
            _both(above(knows["auc"], 0.5), above(knows["tjur"], LEAST_TJUR)),
        ),
        Rule.of(
            "inside the cell",
            "The share of the map's energy inside the cell is above chance, the cell's share of the frame.",
            f"{words(ours['cell'])}, chance {chance:.3f}, difference {words(beyond['chance']['cell'])}",
            above(beyond["chance"]["cell"], 0),
        ),
        Rule.of(
            "faithful",
            "Removing what the map ranks first moves the answer more than removing what it ranks last (ROAD), and that "
            "difference is above those of a random map and of a centred disc.",
            f"{words(ours['road'])}; more than random by {words(beyond['random']['road'])}, than the disc by "
            f"{words(beyond['disc']['road'])}",
            _both(*(above(each, 0) for each in (ours["road"], beyond["random"]["road"], beyond["disc"]["road"]))),
        ),
        Rule.of(
            "turns with the cell",
            f"The map of a turned cell, turned back, correlates with the first by more than {LEAST_TURN}, "
            "and more than if it is not turned back.",
            f"{words(ours['turn'])}; more than not turned back by {words(beyond['fixed']['turn'])}",
            _both(above(ours["turn"], LEAST_TURN), above(beyond["fixed"]["turn"], 0)),
        ),
        _random_layers(randomised),
        Rule.of(
            "hangs on labels",
            f"Maps of a network trained on shuffled labels are other maps: rank correlation inside the cell below "
            f"{MOST_ALIKE}.",
            "no such network was given" if shuffled is None else words(shuffled.signed),
            None if shuffled is None else shuffled.signed.value < MOST_ALIKE,
        ),
    )


def _random_layers(randomised: Sequence[Likeness]) -> Rule:
    """Signed at the top: random weights of the last layer leave the features, so either sign is as likely."""
    asked = (
        "With the uppermost layer random, and with all layers random, the maps are other maps: rank correlation inside "
        f"the cell below {MOST_ALIKE}, and with all layers random its magnitude too."
    )
    if not randomised:
        return Rule.of("hangs on weights", asked, "no randomised network could be made", None)
    top, bottom = randomised[0], randomised[-1]
    holds = max(abs(top.signed.value), abs(bottom.signed.value), bottom.size.value) < MOST_ALIKE
    found = f"{words(top.signed)} and {words(bottom.signed)}; magnitude with all layers random {words(bottom.size)}"
    return Rule.of("hangs on weights", asked, found, holds)


def _both(*each: bool | None) -> bool | None:
    if any(one is False for one in each):
        return False
    return None if any(one is None for one in each) else True
