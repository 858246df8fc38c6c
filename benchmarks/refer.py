"""What calibration and the band are worth on other patients: random halves of the patients that runs were tested on.

    python benchmarks/refer.py runs/a-group0 runs/a-group1 runs/a-group2 --out docs/figures/refer.json

The test parts of the runs, which must not share a picture, are pooled: each picture was answered by a network that had
not seen its patient. Then, again and again, the patient groups of each class are dealt into two halves; everything is
fitted on one and measured on the other. What is shown is the mean over the repeats and, in brackets, the 5 % and 95 %
quantiles: how it went for one set of patients to be calibrated on and another to be used on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from _common import command_line, pooled
from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.errors import DataError
from leukoscope.files import write_json
from leukoscope.fitting.band import groups_needed, limit_for_new_patients, limit_for_same_patients
from leukoscope.fitting.decision import choose_temperature, log_loss, temperature
from leukoscope.metrics import calibration
from leukoscope.metrics.coverage import Descent, band_figures
from leukoscope.metrics.glossary import BAND_KEYS
from leukoscope.metrics.scores import Scores

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2)
SHOWN = ("decided", "missed", "false_blast", "normal_decided")


def halves(scores: Scores, rng: np.random.Generator) -> np.ndarray:
    """Bool [N]: the pictures of a random half of the groups with blasts, and of those without."""
    names, unit = np.unique(scores.group, return_inverse=True)
    blasts = np.bincount(unit, weights=scores.label) > 0
    chosen = np.zeros(len(names), bool)
    for kind in (blasts, ~blasts):
        members = np.flatnonzero(kind)
        chosen[rng.permutation(members)[: (len(members) + int(rng.integers(2))) // 2]] = True
    return chosen[unit]


def voices(scores: Scores) -> np.ndarray:
    """Weights of pictures, sum 1: each patient of a class has one voice, each class its share of pictures."""
    weights = np.zeros(len(scores))
    for each in (0, 1):
        of_class = scores.label == each
        _, unit, size = np.unique(scores.group[of_class], return_inverse=True, return_counts=True)
        weights[of_class] = of_class.mean() / len(size) / size[unit]
    return weights


def calibration_errors(fit: Scores, test: Scores) -> dict[str, float]:
    """Adaptive calibration error and log loss on ``test`` of each temperature fitted on ``fit``."""
    rules: dict[str, DecisionFacts | None] = {"as trained": DecisionFacts()}
    z, y = fit.logit, fit.label.astype(float)
    rules["temperature"] = temperature(z, y, np.full(len(fit), 1 / len(fit)))
    rules["temperature, patients alike"] = temperature(z, y, voices(fit))
    rules["chosen"] = choose_temperature(fit).rule
    found = {}
    for name, rule in rules.items():
        if rule is None:
            continue
        p = probability_of(test.logit, rule)
        found[f"{name}: ece_adaptive"] = float(calibration.calibration_error(calibration.equal_mass(test.label, p)))
        found[f"{name}: log_loss"] = float(log_loss(test.label, p).mean())
    return found


def bands(fit: Scores, test: Scores) -> dict[str, float]:
    """What bands set on ``fit`` below a logit of 0 do on ``test``; `broken`: more blasts are missed than aimed at."""
    blast = fit.label == 1
    found: dict[str, float] = {}
    for level in LEVELS:
        limits = {
            "new patients": limit_for_new_patients(fit.logit[blast], fit.group[blast], level),
            "same patients": limit_for_same_patients(fit.logit[blast], level, 0.95),
        }
        for name, limit in limits.items():
            if limit is not None:
                low = float(probability_of(min(limit, 0.0), DecisionFacts()))
                p = probability_of(test.logit, DecisionFacts())
                figures = dict(zip(BAND_KEYS, band_figures(test.label, p, low, 0.5).tolist(), strict=True))
                found |= {f"{name} {level}: {key}": figures[key] for key in SHOWN}
                found[f"{name} {level}: broken"] = float(figures["missed"] > level)
    return found


def main() -> None:
    """Read, repeat, print, write."""
    options = command_line(__doc__, "runs+", repeats=200, seed=0, out=Path).parse_args()
    scores = pooled(options.runs)
    rng = np.random.default_rng(options.seed)
    drawn: dict[str, list[float]] = {}
    failed = 0
    for _ in range(options.repeats):
        half = halves(scores, rng)
        fit, test = scores.take(half), scores.take(~half)
        try:
            figures = calibration_errors(fit, test) | bands(fit, test)
        except DataError:
            failed += 1
            continue
        for key, value in figures.items():
            drawn.setdefault(key, []).append(value)
    blast_groups = len(np.unique(scores.group[scores.label == 1]))
    coverage = float(Descent.of(scores.label, scores.probability, 0.5).coverage_at(0.01))
    print(f"{len(scores):,} pictures, {blast_groups} groups with blasts, {len(np.unique(scores.group))} groups in all")
    print(
        f"coverage at 1 % missed, chosen on these very pictures: {coverage:.3f}; to promise it: {groups_needed(0.01)}"
    )
    rows = {}
    for key, values in drawn.items():
        low, high = np.quantile(values, [0.05, 0.95])
        rows[key] = {"mean": float(np.mean(values)), "q05": low, "q95": high, "repeats": len(values)}
        print(f"{key:<42} {np.mean(values):.3f} [{low:.3f}, {high:.3f}]  ({len(values)} repeats)")
    if options.out:
        facts = {"runs": [run.name for run in options.runs], "pictures": len(scores), "blast_groups": blast_groups}
        chosen = {"coverage_at_1_missed_in_hindsight": coverage, "failed": failed}
        write_json(options.out, {**facts, **chosen, "seed": options.seed, "figures": rows})


if __name__ == "__main__":
    main()
