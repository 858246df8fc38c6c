"""The whole test of a bundle's heat maps: figures with intervals, beside maps that know nothing, and a verdict.

A map that is right where blasts are called and wrong where normal cells are would pass in the mean of both: so each
rule is asked of the cells of each decision, and holds where it holds for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leukoscope.bundle.audits import RuleFacts
from leukoscope.metrics import ranking
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from leukoscope.progress import SILENT, Progress
from leukoscope.studies.audits.heatmaps.cells import SIGN, Cells, Explain, Logits, only, side_of
from leukoscope.studies.audits.heatmaps.place import chance, disc_maps, place_figures, random_maps
from leukoscope.studies.audits.heatmaps.road import FRACTIONS, Road, road
from leukoscope.studies.audits.heatmaps.sanity import Likeness, likeness, maps_of
from leukoscope.studies.audits.heatmaps.stability import ANGLES, turning_figures
from leukoscope.studies.audits.rules import Audit, above, bracket, judged, mean_estimates

LEAST_TJUR = 0.1  # mean probability of blasts above that of normal cells; a network without knowledge has 0
MOST_ALIKE = 0.5  # rank correlation: half of the order is shared
LEAST_TURN = 0.5

Figures = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Decided:
    """Figures of the cells of one decision, and what the map has beyond each baseline on them; by map and figure."""

    cells: int
    figures: dict[str, dict[str, Estimate]]
    beyond: dict[str, dict[str, Estimate]]


def judge_maps(
    decided: Mapping[str, Decided],
    knows: Mapping[str, Estimate],
    randomised: Sequence[Likeness],
    shuffled: Likeness | None,
) -> tuple[RuleFacts, ...]:
    """Apply the rules; "above" always means that the lower end of the 95 % interval over patient groups is above.

    Args:
        decided: by decision.
        knows: ``auc`` and ``tjur``, of all cells.
        randomised: likeness to networks with random layers.
        shuffled: likeness to a network trained on shuffled labels.
    """

    def by_decision(key: str, asked: str, told: Callable[[Decided], tuple[str, bool | None]]) -> RuleFacts:
        parts = {name: told(each) if each.cells else ("no cell", None) for name, each in decided.items()}
        found = "; ".join(f"{name} ({decided[name].cells} cells): {words}" for name, (words, _) in parts.items())
        return judged(key, f"{asked} For each decision.", found, _both(*(holds for _, holds in parts.values())))

    def inside(each: Decided) -> tuple[str, bool | None]:
        ours, more = each.figures["map"], each.beyond["chance"]
        words = (
            f"{bracket(ours['cell_decided'])} of the evidence for it and {bracket(ours['cell'])} of all, chance "
            f"{each.figures['chance']['cell'].value:.3f}"
        )
        return words, _both(above(more["cell_decided"], 0), above(more["cell"], 0))

    def faithful(each: Decided) -> tuple[str, bool | None]:
        gap, random, disc = each.figures["map"]["road"], each.beyond["random"]["road"], each.beyond["disc"]["road"]
        words = f"{bracket(gap)}; more than random by {bracket(random)}, than the disc by {bracket(disc)}"
        return words, _both(*(above(one, 0) for one in (gap, random, disc)))

    def turning(each: Decided) -> tuple[str, bool | None]:
        turn, more = each.figures["map"]["turn"], each.beyond["fixed"]["turn"]
        return f"{bracket(turn)}; more than not turned back by {bracket(more)}", _both(
            above(turn, LEAST_TURN), above(more, 0)
        )

    return (
        judged(
            "knows",
            f"There is something to explain: AUC above 0.5, and the mean probability of blasts more than {LEAST_TJUR} "
            "above that of normal cells.",
            f"AUC {bracket(knows['auc'])}, difference {bracket(knows['tjur'])}",
            _both(above(knows["auc"], 0.5), above(knows["tjur"], LEAST_TJUR)),
        ),
        by_decision(
            "inside the cell",
            "The share inside the cell of the evidence for the decision, and of all evidence, is above chance, the "
            "cell's share of the frame.",
            inside,
        ),
        by_decision(
            "faithful",
            "Removing what the map ranks first moves the answer more than removing what it ranks last (ROAD), and that "
            "difference is above those of a random map and of a centred disc.",
            faithful,
        ),
        by_decision(
            "turns with the cell",
            f"The map of a turned cell, turned back, correlates with the first by more than {LEAST_TURN}, "
            "and more than if it is not turned back.",
            turning,
        ),
        _random_layers(randomised, decided),
        _random_labels(shuffled, decided),
    )


def _random_labels(shuffled: Likeness | None, decided: Mapping[str, Decided]) -> RuleFacts:
    asked = (
        f"Maps of a network trained on shuffled labels are other maps: rank correlation inside the cell below "
        f"{MOST_ALIKE}. For each decision."
    )
    if shuffled is None:
        return judged("hangs on labels", asked, "no such network was given", None)
    told = {name: shuffled.decided[name].signed for name, each in decided.items() if each.cells}
    found = "; ".join(f"{name}: {bracket(each)}" for name, each in told.items())
    return judged("hangs on labels", asked, found, all(each.value < MOST_ALIKE for each in told.values()))


def _random_layers(randomised: Sequence[Likeness], decided: Mapping[str, Decided]) -> RuleFacts:
    """Signed at the top: random weights of the last layer leave the features, so either sign is as likely."""
    asked = (
        "With the uppermost layer random, and with all layers random, the maps are other maps: rank correlation inside "
        f"the cell below {MOST_ALIKE}, and with all layers random its magnitude too. For each decision."
    )
    if not randomised:
        return judged("hangs on weights", asked, "no randomised network could be made", None)
    told, worst = [], 0.0
    for name in (name for name, each in decided.items() if each.cells):
        top, bottom = randomised[0].decided[name], randomised[-1].decided[name]
        worst = max(worst, abs(top.signed.value), abs(bottom.signed.value), bottom.size.value)
        told.append(f"{name}: {bracket(top.signed)} and {bracket(bottom.signed)}, magnitude {bracket(bottom.size)}")
    return judged("hangs on weights", asked, "; ".join(told), worst < MOST_ALIKE)


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
        decided: the same of the cells of each decision, which the rules are asked of.
        curves: probability of the decided class after removal, by map: ``most`` and ``least``, means at ``fractions``.
        knows: ``auc`` and ``tjur``: whether there is anything to explain.
        randomised: likeness to the network with its upper layers random, from the top down.
        shuffled: likeness to a network trained on shuffled labels, if one was given.
    """

    figures: dict[str, dict[str, Estimate]]
    beyond: dict[str, dict[str, Estimate]]
    decided: dict[str, Decided]
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
            "decided": {
                name: {
                    "cells": part.cells,
                    "figures": {key: _figures_json(each) for key, each in part.figures.items()},
                    "beyond": {key: _figures_json(each) for key, each in part.beyond.items()},
                }
                for name, part in self.decided.items()
            },
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
        likeness(f"top {each.layers} of {each.of} layers random", cells, maps, each.draws, plan, side,
                 layers=each.layers, of=each.of) for each in randomised
    )  # fmt: skip
    apart = None if shuffled is None else likeness("trained on shuffled labels", cells, maps, [shuffled], plan, side)
    columns["chance"] = chance(cells)
    apart_from = {
        name: {k: columns["map"][k] - v for k, v in each.items() if k in columns["map"]}
        for name, each in columns.items()
        if name != "map"
    } | {"fixed": {"turn": columns["map"]["turn"] - columns["map"]["turn_fixed"]}}
    figures = {name: mean_estimates(each, plan) for name, each in columns.items()}
    beyond = {name: mean_estimates(each, plan) for name, each in apart_from.items()}
    decided = {
        name: Decided(
            int((side == sign).sum()),
            {key: mean_estimates(only(each, side == sign), plan) for key, each in columns.items()},
            {key: mean_estimates(only(each, side == sign), plan) for key, each in apart_from.items()},
        )
        for name, sign in SIGN.items()
    }
    knows = _knows(cells, logits, plan)
    return Explanations(
        figures=figures,
        beyond=beyond,
        decided=decided,
        curves={name: _curve(each) for name, each in roads.items()},
        knows=knows,
        randomised=tests,
        shuffled=apart,
        rules=judge_maps(decided, knows, tests, apart),
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
