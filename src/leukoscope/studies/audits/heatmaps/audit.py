"""The whole test of a bundle's heat maps: figures with intervals, beside maps that know nothing, and a verdict.

The rules that heat maps are judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leukoscope.bundle.audits import RuleFacts
from leukoscope.metrics import ranking
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from leukoscope.progress import SILENT, Progress
from leukoscope.studies.audits.heatmaps.cells import Cells, Explain, Logits, side_of
from leukoscope.studies.audits.heatmaps.place import chance, disc_maps, place_figures, random_maps
from leukoscope.studies.audits.heatmaps.road import FRACTIONS, Road, road
from leukoscope.studies.audits.heatmaps.sanity import Likeness, likeness, maps_of
from leukoscope.studies.audits.heatmaps.stability import ANGLES, turning_figures
from leukoscope.studies.audits.rules import Audit, above, bracket, judged, mean_estimates

LEAST_TJUR = 0.1  # mean probability of blasts above that of normal cells; a network without knowledge has 0
MOST_ALIKE = 0.5  # rank correlation: half of the order is shared
LEAST_TURN = 0.5

Figures = Mapping[str, Mapping[str, Estimate]]


def judge_maps(
    figures: Figures,
    beyond: Figures,
    knows: Mapping[str, Estimate],
    randomised: Sequence[Likeness],
    shuffled: Likeness | None,
) -> tuple[RuleFacts, ...]:
    """Apply the rules; "above" always means that the lower end of the 95 % interval over patient groups is above."""
    chance = figures["chance"]["cell"].value
    ours = figures["map"]
    return (
        judged(
            "knows",
            f"There is something to explain: AUC above 0.5, and the mean probability of blasts more than {LEAST_TJUR} "
            "above that of normal cells.",
            f"AUC {bracket(knows['auc'])}, difference {bracket(knows['tjur'])}",
            _both(above(knows["auc"], 0.5), above(knows["tjur"], LEAST_TJUR)),
        ),
        judged(
            "inside the cell",
            "The share of the map's energy inside the cell is above chance, the cell's share of the frame.",
            f"{bracket(ours['cell'])}, chance {chance:.3f}, difference {bracket(beyond['chance']['cell'])}",
            above(beyond["chance"]["cell"], 0),
        ),
        judged(
            "faithful",
            "Removing what the map ranks first moves the answer more than removing what it ranks last (ROAD), and that "
            "difference is above those of a random map and of a centred disc.",
            f"{bracket(ours['road'])}; more than random by {bracket(beyond['random']['road'])}, than the disc by "
            f"{bracket(beyond['disc']['road'])}",
            _both(*(above(each, 0) for each in (ours["road"], beyond["random"]["road"], beyond["disc"]["road"]))),
        ),
        judged(
            "turns with the cell",
            f"The map of a turned cell, turned back, correlates with the first by more than {LEAST_TURN}, "
            "and more than if it is not turned back.",
            f"{bracket(ours['turn'])}; more than not turned back by {bracket(beyond['fixed']['turn'])}",
            _both(above(ours["turn"], LEAST_TURN), above(beyond["fixed"]["turn"], 0)),
        ),
        _random_layers(randomised),
        judged(
            "hangs on labels",
            f"Maps of a network trained on shuffled labels are other maps: rank correlation inside the cell below "
            f"{MOST_ALIKE}.",
            "no such network was given" if shuffled is None else bracket(shuffled.signed),
            None if shuffled is None else shuffled.signed.value < MOST_ALIKE,
        ),
    )


def _random_layers(randomised: Sequence[Likeness]) -> RuleFacts:
    """Signed at the top: random weights of the last layer leave the features, so either sign is as likely."""
    asked = (
        "With the uppermost layer random, and with all layers random, the maps are other maps: rank correlation inside "
        f"the cell below {MOST_ALIKE}, and with all layers random its magnitude too."
    )
    if not randomised:
        return judged("hangs on weights", asked, "no randomised network could be made", None)
    top, bottom = randomised[0], randomised[-1]
    holds = max(abs(top.signed.value), abs(bottom.signed.value), bottom.size.value) < MOST_ALIKE
    signed = f"{bracket(top.signed)} and {bracket(bottom.signed)}"
    found = f"{signed}; magnitude with all layers random {bracket(bottom.size)}"
    return judged("hangs on weights", asked, found, holds)


def _both(*each: bool | None) -> bool | None:
    if any(one is False for one in each):
        return False
    return None if any(one is None for one in each) else True


@dataclass(frozen=True, slots=True)
class Randomised:
    """Draws of the bundle's network with its uppermost ``layers`` of ``of`` re-initialised."""

    layers: int
    of: int
    draws: tuple[Explain, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanations(Audit):
    """What came out; among ``counts`` the cells with a nucleus that can be told apart.

    Attributes:
        figures: by map (``map``, ``random``, ``disc``, ``chance``, perhaps more), then by figure.
        beyond: paired differences of ``map`` and each baseline, by baseline and figure.
        curves: probability of the decided class after removal, by map: ``most`` and ``least``, means at ``fractions``.
        knows: ``auc`` and ``tjur``: whether there is anything to explain.
        randomised: likeness to the network with its upper layers random, from the top down.
        shuffled: likeness to a network trained on shuffled labels, if one was given.
    """

    figures: dict[str, dict[str, Estimate]]
    beyond: dict[str, dict[str, Estimate]]
    curves: dict[str, dict[str, list[float]]]
    knows: dict[str, Estimate]
    randomised: tuple[Likeness, ...]
    shuffled: Likeness | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return Audit.to_json(self) | {
            "knows": _figures_json(self.knows),
            "figures": {name: _figures_json(each) for name, each in self.figures.items()},
            "beyond": {name: _figures_json(each) for name, each in self.beyond.items()},
            "fractions_removed": list(FRACTIONS),
            "curves": self.curves,
            "randomised": [each.to_json() for each in self.randomised],
            "shuffled": None if self.shuffled is None else self.shuffled.to_json(),
        }


def audit_explanations(
    cells: Cells,
    ask: Logits,
    explain: Explain,
    *,
    randomised: Sequence[Randomised] = (),
    shuffled: Explain | None = None,
    others: Mapping[str, Explain] | None = None,
    angles: tuple[float, ...] = ANGLES,
    replicates: int = REPLICATES,
    seed: int = 0,
    context: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Explanations:
    """Test the maps of a model.

    Args:
        cells: on patients that the model was not trained on.
        ask: the model's logits.
        explain: the model's signed maps.
        randomised: the same model with upper layers re-initialised, fewest first, all layers last.
        shuffled: maps of a network of the same kind trained on shuffled labels.
        others: further ways to explain the same model, measured beside it and not judged.
        angles: by which cells are turned.
        replicates: of the bootstrap over patient groups.
        seed: of baselines, noise and bootstrap.
        context: facts to show.
        progress: told each step.
    """
    plan = Resampling.by_group(cells.label, cells.group, replicates=replicates, seed=seed)
    progress.say("answers")
    logits = np.concatenate([ask(cells.frames[i : i + 8]) for i in range(0, len(cells), 8)]).astype(np.float64)
    side = side_of(logits)
    maps = maps_of(cells, explain)
    shape = (int(maps.shape[1]), int(maps.shape[2]))
    share = float(cells.outline.mean(dtype=np.float64))
    drawn: dict[str, tuple[Array, Explain | None]] = {
        "map": (maps, explain),
        "random": (random_maps(len(cells), shape, seed), None),
        "disc": (disc_maps(side, shape, share), None),
    }
    drawn |= {name: (maps_of(cells, each), each) for name, each in (others or {}).items()}
    columns: dict[str, dict[str, Array]] = {}
    roads: dict[str, Road] = {}
    for name, (each, maker) in drawn.items():
        progress.say(f"faithfulness of {name}")
        roads[name] = road(cells, each, logits, side, ask, seed=seed)
        columns[name] = place_figures(cells, each, side) | {"road": roads[name].gap}
        if maker is not None:
            progress.say(f"turning of {name}")
            columns[name] |= turning_figures(cells, each, maker, angles)
    progress.say("randomised layers")
    tests = tuple(
        likeness(f"top {each.layers} of {each.of} layers random", cells, maps, each.draws, plan, layers=each.layers,
                 of=each.of) for each in randomised
    )  # fmt: skip
    apart = None if shuffled is None else likeness("trained on shuffled labels", cells, maps, [shuffled], plan)
    figures = {name: mean_estimates(each, plan) for name, each in columns.items()}
    figures["chance"] = mean_estimates(chance(cells), plan)
    beyond = {
        name: mean_estimates({k: columns["map"][k] - v for k, v in columns[name].items() if k in columns["map"]}, plan)
        for name in columns
        if name != "map"
    }
    beyond["chance"] = mean_estimates({k: columns["map"][k] - v for k, v in chance(cells).items()}, plan)
    beyond["fixed"] = mean_estimates({"turn": columns["map"]["turn"] - columns["map"]["turn_fixed"]}, plan)
    knows = _knows(cells, logits, plan)
    return Explanations(
        figures=figures,
        beyond=beyond,
        curves={name: _curve(each) for name, each in roads.items()},
        knows=knows,
        randomised=tests,
        shuffled=apart,
        rules=judge_maps(figures, beyond, knows, tests, apart),
        counts={
            "cells": len(cells),
            "blasts": int(cells.label.sum()),
            **plan.counts,
            "nuclei": sum(mask is not None for mask in cells.nucleus),
        },
        notes=plan.notes,
        context={**(context or {}), "replicates": replicates, "seed": seed},
    )


def _knows(cells: Cells, logits: Array, plan: Resampling) -> dict[str, Estimate]:
    """AUC, and Tjur's coefficient of discrimination (2009): mean probability of blasts less that of normal cells."""
    order = ranking.Ranking.of(cells.label, logits)
    probability = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    blast = cells.label.astype(np.float64)

    def figures(weights: Array) -> Array:
        of_blasts = ratio(weights @ (probability * blast), weights @ blast)
        of_normals = ratio(weights @ (probability * (1 - blast)), weights @ (1 - blast))
        return np.stack([ranking.roc_auc(order.sweep(weights)), of_blasts - of_normals], axis=-1)

    return measure(figures, ("auc", "tjur"), plan)


def _curve(each: Road) -> dict[str, list[float]]:
    return {
        "intact": [float(each.intact.mean())],
        "most": each.most.mean(0).tolist(),
        "least": each.least.mean(0).tolist(),
    }


def _figures_json(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {key: each.to_json() for key, each in figures.items()}
