"""What `leukoscope adapt` gains in another laboratory, simulated: cells of unseen patients under other stain and light.

    python benchmarks/adapt.py runs/a-group0 --out docs/figures/adapt.json

The cells are of the test part of a run split by patient group, so that the network never saw their patients; at most
60 of each group are taken. The other laboratory: optical densities (Beer-Lambert, of 0 to 255 against white) are
multiplied by 1.25, 0.8 and 1.1 in red, green and blue, and the light by 0.92 (strong), or by the 0.4th power of these
(mild); the black surround stays black. Again and again, half of the patients of each class are local: of their cells
as many as stated are labelled, as many of each class as can be, and adapted to; figures are of all shifted cells of
the other half, which nothing was fitted on (`other patients`). Or half of the cells of all patients are local, and
figures are of the other half of their cells (`same patients`): what a laboratory gains that adapts to all patients
whom it will see, and nobody has such a laboratory. `told` is the after that the command itself reports, with patients
left out, for the same adaptation; `written` counts the adaptations that the command found worth a bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import auc, command_line, scores_of, spread, write_part
from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.cells.frame import prepare
from leukoscope.cells.read import read_picture
from leukoscope.errors import DataError
from leukoscope.fitting.decision import log_loss
from leukoscope.fitting.laboratory import LocalCells, changed_logits, fit_laboratory
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.runs.run import Run

DENSITY, LIGHT = np.array([1.25, 0.8, 1.1]), 0.92
SHIFTS = {"mild": 0.4, "strong": 1.0}
SIZES = (20, 50, 100, 200)
EACH = 60


def elsewhere(frame: NDArray[np.uint8], power: float) -> NDArray[np.uint8]:
    """The frame as the other laboratory would show it, uint8 [F, F, 3]."""
    inside = frame.max(axis=2, keepdims=True) > 0
    density = -np.log((np.maximum(frame, 1)) / 255)
    shown = 255 * LIGHT**power * np.exp(-density * DENSITY**power)
    return np.where(inside, np.clip(np.rint(shown), 1, 255), 0).astype(np.uint8)


def answers(run: Path, rng: np.random.Generator) -> list[LocalCells]:
    """Cells of the test part at home, and with each of ``SHIFTS``."""
    part = Run.open(run).part("test")
    groups = part.groups()
    rows = np.concatenate([rng.permutation(np.flatnonzero(groups == name))[:EACH] for name in np.unique(groups)])
    part = part.select(np.sort(rows))
    bundle = read_bundle(run / "bundle")
    classifier = Classifier(bundle, threads=1)
    both: list[list[tuple[float, NDArray[np.float32]]]] = [[] for _ in range(1 + len(SHIFTS))]
    for path in part.paths():
        frame = prepare(read_picture(path).rgb, bundle.facts.preparation)
        logit, _, embedding = classifier.predict_frames(
            np.stack([frame, *(elsewhere(frame, power) for power in SHIFTS.values())])
        )
        for k in range(len(both)):
            both[k].append((float(logit[k]), embedding[k]))
    told = []
    for each in both:
        logit = np.array([z for z, _ in each])
        scores = scores_of(part, logit, bundle.facts.decision)
        told.append(LocalCells(scores, np.array([e for _, e in each], dtype=np.float64)))
    return told


def figures(label: NDArray[np.int64], stated: NDArray[np.float64], threshold: float) -> dict[str, float]:
    """AUC, log loss and the two rates of cells of other patients."""
    called = stated >= threshold
    return {
        "auc": auc(label, stated),
        "log_loss": float(log_loss(label, stated).mean()),
        "sensitivity": float(called[label == 1].mean()),
        "specificity": float((~called)[label == 0].mean()),
    }


def local_rows(cells: LocalCells, half: NDArray[np.bool_], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """``size`` cells of the local half, as many of either class as can be."""
    label = cells.scores.label
    pools = [rng.permutation(np.flatnonzero(half & (label == k))) for k in (0, 1)]
    normal = min(len(pools[0]), max(size // 2, size - len(pools[1])))
    chosen = np.zeros(len(label), bool)
    chosen[pools[0][:normal]] = True
    chosen[pools[1][: size - normal]] = True
    return chosen


def study(
    home: LocalCells, away: LocalCells, rule: DecisionFacts, options: argparse.Namespace, *, same: bool
) -> dict[str, Any]:
    """Adapt to some of the cells from away, again and again, and measure on others."""
    rng = np.random.default_rng(options.seed)
    label, group = away.scores.label, away.scores.group
    names, first = np.unique(group, return_index=True)
    drawn: dict[int, dict[str, list[dict[str, float]]]] = {size: {} for size in SIZES}
    better = dict.fromkeys(SIZES, 0)
    for _ in range(options.repeats):
        chosen = np.concatenate(
            [rng.permutation(names[label[first] == k])[: -(-int((label[first] == k).sum()) // 2)] for k in (0, 1)]
        )
        half = rng.random(len(label)) < 0.5 if same else np.isin(group, chosen)
        test = away.take(~half)
        for size in SIZES:
            local = away.take(local_rows(away, half, size, rng))
            try:
                found = fit_laboratory(local, rule, data="elsewhere", seed=options.seed, replicates=100)
            except DataError:
                continue
            stated = probability_of(changed_logits(test, found.change, None), found.rule)
            truth = test.scores.label
            row = {
                "home": figures(truth, home.take(~half).scores.probability, rule.threshold),
                "before": figures(truth, test.scores.probability, rule.threshold),
                "after": figures(truth, stated, found.rule.threshold),
                "told": {key: found.after[key].value for key in ("auc", "log_loss", "sensitivity", "specificity")},
            }
            better[size] += found.better
            for kind, values in row.items():
                drawn[size].setdefault(kind, []).append(values)
    return {
        str(size): {kind: {key: spread([row[key] for row in rows]) for key in rows[0]} for kind, rows in kinds.items()}
        | {"adapted": len(kinds.get("home", [])), "written": better[size]}
        for size, kinds in drawn.items()
    }


def main() -> None:
    """Answer, adapt again and again, print, write."""
    options = command_line(__doc__, "run", repeats=10, seed=0, out=Path).parse_args()
    home, *others = answers(options.run, np.random.default_rng(options.seed))
    rule = read_bundle(options.run / "bundle").facts.decision
    value = {
        "run": options.run.name, "cells": len(home.scores), "groups": len(np.unique(home.scores.group)),
        "density": DENSITY.tolist(), "light": LIGHT, "shifts": SHIFTS, "repeats": options.repeats, "seed": options.seed,
        "machine": describe_machine(),
        "figures": {
            f"{name}, {'same' if same else 'other'} patients": study(home, away, rule, options, same=same)
            for name, away in zip(SHIFTS, others, strict=True)
            for same in (False, True)
        },
    }  # fmt: skip
    for shift, sizes in value["figures"].items():
        for size, kinds in sizes.items():
            for kind, row in kinds.items():
                shown = (
                    {key: [round(x, 3) for x in each] for key, each in row.items()} if isinstance(row, dict) else row
                )
                print(shift, size, kind, shown)
    write_part(options.out, options.run.name, value)


if __name__ == "__main__":
    main()
