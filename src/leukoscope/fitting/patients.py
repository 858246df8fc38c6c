"""Fitting how the cells of a subject become one statement, and measuring its errors on patients left out of the fit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.patients import MIN_CELLS, Statement, exact_interval, state
from leukoscope.bundle.schema import RateFacts, SubjectErrorFacts, SubjectFacts
from leukoscope.errors import DataError
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array
from leukoscope.metrics.panel import measure
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores
from leukoscope.text import natural

ALARM_LEVEL = 0.2
MISSED_LEVEL = 0.1
DECIDED = 0.8  # share of patients left out that a rule is to decide
MOST_ALARMS = 0.5  # a rule that is wrong of more says nothing
FEWEST = 2  # patient groups of either kind: fewer show no difference between patients


@dataclass(frozen=True, slots=True, eq=False)
class PatientCounts:
    """What a network did on each patient group: cells and cells called blast, [G]; groups are of one class."""

    name: NDArray[np.str_]
    blast: NDArray[np.bool_]
    cells: NDArray[np.int64]
    called: NDArray[np.int64]
    part: NDArray[np.int64]

    @property
    def share(self) -> Array:
        """Share of cells called blast, [G]."""
        return self.called / self.cells

    def take(self, which: NDArray[np.bool_]) -> PatientCounts:
        """Some of the groups."""
        return PatientCounts(*(getattr(self, name)[which] for name in ("name", "blast", "cells", "called", "part")))


def patients_of(tables: Iterable[Scores], logit: float) -> PatientCounts:
    """Count the cells of each patient group; cells from ``logit`` upwards are called blast.

    Args:
        tables: answers on patients that the network had not seen; one table for each network, without shared groups.
        logit: where blast begins.

    Raises:
        DataError: a group stands in two tables, or holds cells of both classes.
    """
    rows: list[tuple[str, bool, int, int, int]] = []
    for part, scores in enumerate(tables):
        names, unit = np.unique(scores.group, return_inverse=True)
        cells = np.bincount(unit)
        blasts = np.bincount(unit, weights=scores.label)
        called = np.bincount(unit, weights=scores.logit >= logit).astype(int)
        for k, name in enumerate(names.tolist()):
            if 0 < blasts[k] < cells[k]:
                raise DataError(
                    f"patient group {name!r} holds both classes",
                    remedy="fit on patients whose cells are all blasts or all normal, as those of C-NMC 2019",
                )
            rows.append((name, bool(blasts[k]), int(cells[k]), int(called[k]), part))
    rows.sort(key=lambda row: natural(row[0]))
    twice = [a[0] for a, b in pairwise(rows) if a[0] == b[0]]
    if twice:
        raise DataError(f"patient group {twice[0]!r} was tested twice", remedy="give the folds of one split")
    columns = list(zip(*rows, strict=True))
    return PatientCounts(
        np.array(columns[0], dtype=np.str_), np.array(columns[1]), np.array(columns[2]), np.array(columns[3]),
        np.array(columns[4]),
    )  # fmt: skip


def fit_rates(cells: NDArray[np.int64], called: NDArray[np.int64]) -> RateFacts:
    """Mean and correlation of a rate over patients, beta-binomial, by moments (J. Kleinman: Proportions with extraneous
    variance, *JASA* 68, 1973; weights iterated to rest).

    Args:
        cells: of each patient [G].
        called: those called blast [G].
    """  # noqa: D205
    share, groups = called / cells, len(cells)
    correlation = 0.1
    weight = np.ones(groups) / groups
    for _ in range(200):
        weight = cells / (1 + (cells - 1) * correlation)
        weight = weight / weight.sum()
        mean = float(weight @ share)
        spread = float(weight @ (share - mean) ** 2)
        chance = float((weight * (1 - weight) / cells).sum())
        between = float((weight * (1 - weight)).sum())
        held = mean * (1 - mean)
        found = 0.0 if held <= 0 else (spread - held * chance) / (held * (between - chance))
        found = min(max(found, 1e-4), 0.999) if math.isfinite(found) else 1e-4
        if abs(found - correlation) < 1e-10:
            break
        correlation = found
    edge = 1 / (2 * groups + 2)  # no number of patients shows that a rate is 0 or 1
    return RateFacts(
        mean=min(max(float(weight @ share), edge), 1 - edge), correlation=correlation, groups=groups,
        cells=int(cells.sum()),
    )  # fmt: skip


def limits(
    share: Array, blast: NDArray[np.bool_], *, alarm_level: float, missed_level: float
) -> tuple[float | None, float | None]:
    """From which share of cells called blast to state blasts, and below which that none were seen; None: never.

    Each limit keeps its level on average over new patients: if n groups were drawn like the next one and m of them are
    on the wrong side, the next one is with a chance of at most (m + 1) / (n + 1) (conformal risk control, see
    ``conformal``). Where both limits overlap, the lower one moves down, so that fewer patients with blasts are missed.

    Args:
        share: of each patient group [G].
        blast: whether the group has blasts [G].
        alarm_level: of new patients without blasts stated to have them.
        missed_level: of new patients with blasts stated not to show them.
    """
    healthy, ill = np.sort(share[~blast])[::-1], np.sort(share[blast])
    wrong = math.floor(alarm_level * (len(healthy) + 1) + 1e-9) - 1
    likely = None if wrong < 0 else 0.0 if wrong >= len(healthy) else float(np.nextafter(healthy[wrong], 2))
    if likely is not None and likely > 1:
        likely = None
    wrong = math.floor(missed_level * (len(ill) + 1) + 1e-9) - 1
    unlikely = None if wrong < 0 else 1.0 if wrong >= len(ill) else float(ill[wrong])
    if likely is not None and unlikely is not None and unlikely > likely:
        unlikely = likely
    return likely, unlikely


def fit_subjects(
    patients: PatientCounts,
    *,
    data: str,
    protocol: str,
    logit: float,
    min_cells: int = MIN_CELLS,
    alarm_level: float = ALARM_LEVEL,
    missed_level: float = MISSED_LEVEL,
) -> SubjectFacts:
    """Fit the rule on patient groups with at least ``min_cells`` cells.

    The limits are those of ``limits``, but nobody is stated to show no blasts of whose cells more are called blast than
    of those of an average patient without any, nor to have blasts with fewer: the promises hold all the more.

    Raises:
        DataError: fewer than two such groups of either class, or levels outside 0 to 1.
    """
    if not (0 < alarm_level < 1 and 0 < missed_level < 1):
        raise DataError(f"levels {alarm_level} and {missed_level} must lie between 0 and 1")
    held = patients.take(patients.cells >= min_cells)
    for word, of_class in (("with blasts", held.blast), ("without blasts", ~held.blast)):
        if of_class.sum() < FEWEST:
            raise DataError(
                f"{of_class.sum()} patient groups {word} have {min_cells} cells or more: too few to fit a rule on",
                remedy="give the tests of more patients",
            )
    likely, unlikely = limits(held.share, held.blast, alarm_level=alarm_level, missed_level=missed_level)
    false = fit_rates(held.cells[~held.blast], held.called[~held.blast])
    # A statement must not contradict the corrected share: 0 up to the mean of false alarms, more above it.
    likely = None if likely is None else max(likely, false.mean)
    unlikely = None if unlikely is None else min(unlikely, false.mean)
    return SubjectFacts(
        data=data,
        protocol=protocol,
        groups_blast=held.name[held.blast].tolist(),
        groups_normal=held.name[~held.blast].tolist(),
        logit=logit,
        min_cells=min_cells,
        sensitivity=fit_rates(held.cells[held.blast], held.called[held.blast]),
        false_alarm=false,
        alarm_level=alarm_level,
        missed_level=missed_level,
        likely_from=likely,
        unlikely_below=unlikely,
    )


def fit_deciding(patients: PatientCounts, decided: float, **how: Any) -> SubjectFacts:
    """The rule of lowest alarm level that decides enough patients: each is stated by a rule fitted without it.

    The level is one that the number of people without blasts allows: from n of them, multiples of 1 / (n + 1). A rule
    that is wrong of one in two says nothing, so that levels end there.

    Args:
        patients: as `fit_subjects`.
        decided: share of the patients left out that are to be told `blasts likely` or `blasts not seen`, at least.
        how: the other arguments of `fit_subjects`.

    Raises:
        DataError: as `fit_subjects`; or no level decides so many.
    """
    least = how.get("min_cells", MIN_CELLS)
    healthy = int(((patients.cells >= least) & ~patients.blast).sum())
    share = 0.0
    for wrong in range(1, (healthy + 1) // 2 + 1):
        rule = fit_subjects(patients, **how, alarm_level=min(wrong / (healthy + 1), MOST_ALARMS))
        share = float(np.mean([told != "refer" for _, told in left_out(patients, rule)]))
        if share >= decided:
            return rule
    raise DataError(
        f"no rule decides {100 * decided:.0f} % of patients left out; at most {100 * share:.0f} %",
        remedy="state a level with --alarm-level, or ask for less with --decide",
    )


def left_out(
    patients: PatientCounts, rule: SubjectFacts, *, whole_parts: bool = False, decided: float | None = None
) -> list[tuple[str, Statement]]:
    """Name and statement of each group with enough cells, by a rule like ``rule`` fitted without it.

    Args:
        patients: all groups.
        rule: its levels and its smallest number of cells are taken.
        whole_parts: leave out all groups that the same network answered, as for a bundle of another network.
        decided: choose the alarm level, too, without the group: see `fit_deciding`. Where no level decides so many of
            the others, that of ``rule`` is taken.

    Raises:
        DataError: what is left is too little to fit on.
    """
    held = patients.take(patients.cells >= rule.min_cells)
    told: list[tuple[str, Statement]] = []
    for k, name in enumerate(held.name.tolist()):
        out = held.part == held.part[k] if whole_parts else held.name == name
        rest = held.take(~out)
        how: dict[str, Any] = {"data": rule.data, "protocol": rule.protocol, "logit": rule.logit,
                               "min_cells": rule.min_cells, "missed_level": rule.missed_level}  # fmt: skip
        fitted = fit_subjects(rest, **how, alarm_level=rule.alarm_level)
        if decided is not None:
            with suppress(DataError):
                fitted = fit_deciding(rest, decided, **how)
        told.append((name, state(fitted, float(held.share[k]), int(held.cells[k]))[0]))
    return told


def subject_errors(
    patients: PatientCounts,
    rule: SubjectFacts,
    *,
    whole_parts: bool = False,
    decided: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> SubjectErrorFacts:
    """Errors on groups left out of the fit: see ``left_out``. Intervals: exact binomial over groups; AUC: bootstrap."""
    held = patients.take(patients.cells >= rule.min_cells)
    statements = left_out(patients, rule, whole_parts=whole_parts, decided=decided)
    told = np.array([statement for _, statement in statements])
    plan = Resampling.by_group(held.blast.astype(int), held.name, replicates=replicates, seed=seed)
    ranking = Ranking.of(held.blast.astype(np.int64), held.share)

    def auc(weights: Array) -> Array:
        return roc_auc(ranking.sweep(weights))[..., None]

    return SubjectErrorFacts(
        protocol="networks left out one by one" if whole_parts else "patient groups left out one by one",
        auc=measure(auc, ("auc",), plan)["auc"],
        alarmed=_rate(told[~held.blast] == "blasts likely"),
        missed=_rate(told[held.blast] == "blasts not seen"),
        referred=_rate(told == "refer"),
        groups_blast=int(held.blast.sum()),
        groups_normal=int((~held.blast).sum()),
    )


def _rate(wrong: NDArray[np.bool_]) -> Estimate:
    return Estimate(float(wrong.mean()), *exact_interval(int(wrong.sum()), len(wrong)))
