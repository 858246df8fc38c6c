"""What one statement per subject is worth: the rule of `leukoscope subjects` on patients left out of its fit.

    python benchmarks/subjects.py runs/a-group0 runs/a-group1 runs/a-group2 --out docs/figures/subjects.json

The runs are the folds of one split by patient group. Measured are: the errors of statements with patient groups, and
with whole networks, left out of the fit; how wide the interval of the share called blast is with fields and without,
and how often either holds the share of all cells when a quarter of the fields are drawn; and how often the interval of
the corrected share holds the truth, on made-up patients: cells of a patient with blasts and of a person without, both
of one fold and both left out of the fit, mixed in shares of 0, 10, 25, 50, 75, 90 and 100 %.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np

from _common import answers_of, command_line, write_part
from leukoscope.bundle.patients import corrected_share, share_of, state
from leukoscope.datasets.readers.cnmc import CellName
from leukoscope.errors import DataError
from leukoscope.fitting.patients import DECIDED, fit_deciding, fit_subjects, left_out, patients_of, subject_errors
from leukoscope.machine import describe_machine
from leukoscope.metrics.scores import Scores

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
MIXED_CELLS = 80
LOGIT = 0.0


def fields_of(scores: Scores) -> np.ndarray:
    """Field of each cell as C-NMC 2019 names it, with its subject: [N]."""
    parsed = [CellName.parse(PurePosixPath(path).name) for path in scores.path]
    return np.array(
        [f"{name.subject}/{name.field}" if name else path for name, path in zip(parsed, scores.path, strict=True)]
    )


def mean_or_none(values: list[float]) -> float | None:
    """Their mean; None of none."""
    return float(np.mean(values)) if values else None


def of_fields(scores: Scores, rng: np.random.Generator, repeats: int) -> dict[str, float | None]:
    """Coverage and width of the intervals when a quarter of a patient's fields are drawn, over groups of 40 or more."""
    field = fields_of(scores)
    held: dict[str, list[float]] = {"clustered": [], "binomial": []}
    width: dict[str, list[float]] = {"clustered": [], "binomial": []}
    for group in np.unique(scores.group):
        rows = np.flatnonzero(scores.group == group)
        names = np.unique(field[rows])
        if len(names) < 40:
            continue
        called = scores.logit >= LOGIT
        truth = called[rows].mean()
        for _ in range(repeats):
            drawn = rows[np.isin(field[rows], rng.choice(names, len(names) // 4, replace=False))]
            for name, share in (
                ("clustered", share_of(called[drawn], field[drawn].tolist())),
                ("binomial", share_of(called[drawn])),
            ):
                held[name].append(share.low <= truth <= share.high)
                width[name].append(share.high - share.low)
    found = {f"{name}: coverage": mean_or_none(each) for name, each in held.items()}
    return found | {f"{name}: width": mean_or_none(each) for name, each in width.items()}


def of_mixtures(tables: list[Scores], rng: np.random.Generator, repeats: int) -> list[dict[str, float]]:
    """How the corrected share and the statements do on mixtures of two left-out patients of one fold."""
    patients = patients_of(tables, LOGIT)
    held = patients.take(patients.cells >= 20)
    rows: list[dict[str, float]] = []
    for truth in SHARES:
        inside, width, error, told = [], [], [], []
        for _ in range(repeats):
            part = int(rng.integers(len(tables)))
            ill = rng.choice(held.name[held.blast & (held.part == part)])
            well = rng.choice(held.name[~held.blast & (held.part == part)])
            rule = fit_subjects(held.take((held.name != ill) & (held.name != well)), data="", protocol="", logit=LOGIT)
            scores = tables[part]
            blasts = round(truth * MIXED_CELLS)
            cells = [
                rng.choice(np.flatnonzero(scores.group == name), count)
                for name, count in ((ill, blasts), (well, MIXED_CELLS - blasts))
            ]
            share = share_of(scores.logit[np.concatenate(cells)] >= LOGIT)
            found = corrected_share(rule, share)
            inside.append(found.low <= truth <= found.high)
            width.append(found.high - found.low)
            error.append(abs(found.value - truth))
            told.append(state(rule, share.value, MIXED_CELLS)[0])
        rows.append(
            {"share of blasts": truth, "coverage": float(np.mean(inside)), "width": float(np.mean(width)),
             "mean absolute error": float(np.mean(error))}
            | {word: told.count(word) / repeats for word in ("blasts likely", "refer", "blasts not seen")}
        )  # fmt: skip
    return rows


def main() -> None:
    """Fit, leave out, mix, print, write."""
    options = command_line(__doc__, "runs+", data="cnmc2019", repeats=200, seed=0, out=Path).parse_args()
    tables = [answers_of(run) for run in options.runs]
    patients = patients_of(tables, LOGIT)
    rng = np.random.default_rng(options.seed)
    rules = {}
    told = {"data": options.data, "protocol": f"{len(tables)} group folds, pooled", "logit": LOGIT}
    chosen = {f"alarm level {alarm}": fit_subjects(patients, **told, alarm_level=alarm) for alarm in (0.1, 0.2)}
    with suppress(DataError):
        chosen["decides most"] = fit_deciding(patients, DECIDED, **told)
    for name, rule in chosen.items():
        decided = DECIDED if name == "decides most" else None
        rules[name] = {
            "rule": rule.model_dump(exclude={"errors"}),
            "groups left out": subject_errors(patients, rule, decided=decided).model_dump(),
            "networks left out": subject_errors(patients, rule, whole_parts=True, decided=decided).model_dump(),
            "statements": dict(left_out(patients, rule, decided=decided)),
        }
    held = patients.take(patients.cells >= 20)
    value = {
        "runs": [run.name for run in options.runs],
        "cells": sum(len(table) for table in tables),
        "groups": len(patients.name),
        "groups_with_20_cells": {"blast": int(held.blast.sum()), "normal": int((~held.blast).sum())},
        "called_blast": {
            n: [int(k), int(c)] for n, k, c in zip(held.name.tolist(), held.called, held.cells, strict=True)
        },
        "rules": rules,
        "fields": [of_fields(table, rng, options.repeats) for table in tables],
        "mixtures": of_mixtures(tables, rng, options.repeats),
        "mixture_cells": MIXED_CELLS,
        "repeats": options.repeats,
        "seed": options.seed,
        "machine": describe_machine(),
    }
    for name, each in rules.items():
        for left in ("groups left out", "networks left out"):
            print(name, left, {k: v for k, v in each[left].items() if k != "protocol"})
    for row in [*value["fields"], *value["mixtures"]]:
        print({key: None if number is None else round(number, 3) for key, number in row.items()})
    write_part(options.out, options.runs[0].name.rsplit("-", 1)[0], value)


if __name__ == "__main__":
    main()
